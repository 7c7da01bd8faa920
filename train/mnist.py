"""MNIST as tensors in memory, read from the four canonical files in data/MNIST/raw."""

from pathlib import Path

import torch
from torch import Tensor

DATA = Path(__file__).parent.parent / "data"
VALIDATION_PICTURES = 5_000
# Of the held-out pictures, and of the sheets that InkNet is measured on: the same whatever the seed of a run.
FIXED_SEED = 20_241_001


def split() -> tuple[Tensor, Tensor]:
    """Return the indices of the 55,000 pictures to learn from and of the 5,000 held out for validation."""
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(FIXED_SEED))
    return order[VALIDATION_PICTURES:], order[:VALIDATION_PICTURES]


def read_mnist(train: bool) -> tuple[Tensor, Tensor]:
    """Return the 60,000 training or the 10,000 test pictures (n, 1, 28, 28) uint8 and their digits (n,) int64.

    The committed .gz files are unpacked unless that is done (no network).
    """
    # Here, so that commands print their help at once.
    from torchvision.datasets import MNIST

    mnist = MNIST(str(DATA), train=train, download=True)
    return mnist.data[:, None].contiguous(), mnist.targets
