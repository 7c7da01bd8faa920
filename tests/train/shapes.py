"""Plain shapes instead of digits, and measures of ink."""

import torch
from torch import Tensor

COPIES = 200


def box(top: int, bottom: int, left: int, right: int) -> Tensor:
    """Return (28, 28) float ink, full inside a box and none outside."""
    ink = torch.zeros(28, 28)
    ink[top:bottom, left:right] = 255
    return ink


def ring(radius: float, width: float) -> Tensor:
    """Return (28, 28) float ink of a ring about the middle, its sizes in pixels."""
    offset = torch.arange(28) - 13.5
    distance = (offset[:, None] ** 2 + offset**2).sqrt()
    return ((distance - radius).abs() < width / 2).float() * 255


BLANK, GREY, SQUARE = torch.zeros(28, 28), torch.full((28, 28), 128.0), box(8, 20, 8, 20)
CHECKS = torch.tensor([[255.0, 0], [0, 255]]).repeat_interleave(2, 0).repeat_interleave(2, 1).repeat(7, 7)
ONE, ZERO = box(4, 24, 12, 15), ring(7, 3)
SEVEN = torch.maximum(box(4, 6, 6, 19), box(4, 24, 16, 19))


def copies(ink: Tensor) -> Tensor:
    """Return a batch (COPIES, 1, 28, 28) of one (28, 28) picture."""
    return ink.expand(COPIES, 1, 28, 28).clone()


def seeded(seed: int = 0) -> torch.Generator:
    """Return a generator of random numbers."""
    return torch.Generator().manual_seed(seed)


def amount(ink: Tensor) -> Tensor:
    """Return how much ink (B,) there is in each picture."""
    return ink.sum((1, 2, 3))


def centre(ink: Tensor) -> Tensor:
    """Return the row and the column (B, 2) of the centre of mass of each picture."""
    position = torch.arange(28.0)
    return torch.stack([ink.sum((1, 3)) @ position, ink.sum((1, 2)) @ position], 1) / amount(ink)[:, None]


def tilt(ink: Tensor) -> Tensor:
    """Return by how many degrees (B,) the principal axis of each picture is turned from the vertical."""
    offset = torch.arange(28.0) - centre(ink)[:, :, None]
    y, x = offset[:, 0, :, None], offset[:, 1, None, :]
    yy, xx, xy = ((ink[:, 0] * product).sum((1, 2)) for product in (y * y, x * x, x * y))
    return torch.rad2deg(torch.atan2(2 * xy, yy - xx) / 2)
