"""MNIST as tensors in memory, read from the four canonical files in data/MNIST/raw."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import MNIST

DATA = Path(__file__).parent.parent / "data"
VALIDATION_PICTURES = 5_000
# Which training pictures are held out depends on this alone, not on the seed of a training run.
SPLIT_SEED = 20_241_001


def read_training() -> tuple[Tensor, Tensor]:
    """Return all 60,000 training pictures (60000, 1, 28, 28) uint8 and their digits (60000,) int64."""
    return read_files(train=True)


def read_test() -> tuple[Tensor, Tensor]:
    """Return the 10,000 test pictures (10000, 1, 28, 28) uint8 and their digits (10000,) int64."""
    return read_files(train=False)


def split() -> tuple[Tensor, Tensor]:
    """Return the indices of the 55,000 pictures to learn from and of the 5,000 held out for validation."""
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(SPLIT_SEED))
    return order[VALIDATION_PICTURES:], order[:VALIDATION_PICTURES]


def read_files(train: bool) -> tuple[Tensor, Tensor]:
    """Return pixels and digits, after unpacking the committed .gz files unless that is done (no network)."""
    mnist = MNIST(str(DATA), train=train, download=True)
    return mnist.data[:, None].contiguous(), mnist.targets
