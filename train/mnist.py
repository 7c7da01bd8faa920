"""MNIST as tensors in memory, read from the four canonical files in data/MNIST/raw."""

import gzip
from pathlib import Path

import torch
from torch import Tensor

RAW = Path(__file__).parent.parent / "data" / "MNIST" / "raw"
VALIDATION_PICTURES = 5_000
# Of what never depends on the seed of a run: the pictures that are held out, the sheets that InkNet is measured on.
FIXED_SEED = 20_241_001


def read_training() -> tuple[Tensor, Tensor]:
    """Return all 60,000 training pictures (60000, 1, 28, 28) uint8 and their digits (60000,) int64."""
    return read_files("train")


def read_test() -> tuple[Tensor, Tensor]:
    """Return the 10,000 test pictures (10000, 1, 28, 28) uint8 and their digits (10000,) int64."""
    return read_files("t10k")


def split() -> tuple[Tensor, Tensor]:
    """Return the indices of the 55,000 pictures to learn from and of the 5,000 held out for validation."""
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(FIXED_SEED))
    return order[VALIDATION_PICTURES:], order[:VALIDATION_PICTURES]


def read_files(part: str) -> tuple[Tensor, Tensor]:
    """Return the pixels and the digits of the files that begin with part."""
    pixels, digits = read_bytes(f"{part}-images-idx3-ubyte.gz", 16), read_bytes(f"{part}-labels-idx1-ubyte.gz", 8)
    return pixels.view(-1, 1, 28, 28), digits.long()


def read_bytes(name: str, header: int) -> Tensor:
    """Return the bytes of a file after its header, (n,) uint8."""
    return torch.frombuffer(bytearray(gzip.decompress((RAW / name).read_bytes())), dtype=torch.uint8, offset=header)
