"""Outliers: shapes that are not one digit, made of digits, lines and blocks, which teach the net to doubt."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from model.geometry import SIDE_PX
from train.augment import draw, field, to_grid, uniform

# Digits whose mirror image or upside-down image is no digit.
MIRROR = (2, 3, 4, 5, 6, 7, 9)
TURN = (3, 4, 7)
QUARTER_TURN = (2, 3, 4, 5, 7)
# The fewest and the most strokes of a scribble.
STROKES = (2, 9)
# This share of solid shapes is dark on a bright ground.
NEGATIVE_SHARE = 0.3


def make_outliers(ink: Tensor, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Return one outlier of a random kind for each picture of (B, 1, 28, 28) ink with its digits (B,)."""
    order = torch.randint(len(KINDS), (len(ink),), generator=generator, device=ink.device)
    made = torch.empty_like(ink)
    for number, kind in enumerate(KINDS):
        chosen = (order == number).nonzero()[:, 0]
        if len(chosen):
            made[chosen] = kind(ink[chosen], digits[chosen], generator)
    return made


def place(ink: Tensor, wide: Tensor, tall: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Scale each picture by (B,) wide and tall, and move it (B,) x to the right and y down, in pixels."""
    none = torch.zeros_like(wide)
    maps = torch.stack([1 / wide, none, -x / wide * 2 / SIDE_PX, none, 1 / tall, -y / tall * 2 / SIDE_PX], 1)
    return functional.grid_sample(ink, to_grid(maps.view(-1, 2, 3)), align_corners=False)


def pairs(ink: Tensor, _digits: Tensor, generator: torch.Generator) -> Tensor:
    """Put two digits side by side, narrowed and shrunk until both fit."""
    count = len(ink)
    other = ink[torch.randperm(count, generator=generator, device=ink.device)]
    tall = uniform(0.5, 1.0, (count,), ink, generator)
    wide = tall * uniform(0.55, 1.0, (count,), ink, generator)
    apart = (wide * uniform(6.0, 10.0, (count,), ink, generator)).clamp(max=7)
    step = uniform(-1.5, 1.5, (count,), ink, generator)
    lines = torch.maximum(place(ink, wide, tall, -apart, step), place(other, wide, tall, apart, -step))
    return functional.max_pool2d(lines, 3, 1, 1) * 0.4 + lines * 0.6


def halves(ink: Tensor, _digits: Tensor, generator: torch.Generator) -> Tensor:
    """Join the upper half of one digit to half of another that is transposed or upside down."""
    count = len(ink)
    other = ink[torch.randperm(count, generator=generator, device=ink.device)]
    other = torch.where(uniform(0, 1, (count, 1, 1, 1), ink, generator) < 0.5, other.transpose(2, 3), other.flip(2))
    upper = torch.cat([ink[:, :, :14], other[:, :, 14:]], 2)
    return torch.where(uniform(0, 1, (count, 1, 1, 1), ink, generator) < 0.5, upper, upper.transpose(2, 3))


def turned(ink: Tensor, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror a digit, or turn it upside down or by a quarter; draw a scribble where that might still be a digit."""

    def among(chosen: tuple[int, ...]) -> Tensor:
        return torch.isin(digits, torch.tensor(chosen, device=digits.device))[:, None, None, None]

    made = scribbles(ink, digits, generator)
    kind = uniform(0, 3, (len(ink), 1, 1, 1), ink, generator)
    made = torch.where(among(MIRROR), ink.flip(3), made)
    made = torch.where(among(TURN) & (kind > 2), ink.flip(2, 3), made)
    quarter = torch.where(kind < 0.5, ink.transpose(2, 3), ink.transpose(2, 3).flip(2))
    return torch.where(among(QUARTER_TURN) & (kind < 1), quarter, made)


def scribbles(ink: Tensor, _digits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a few random strokes, each a quadratic curve or a straight line."""
    count = len(ink)
    made = torch.zeros_like(ink)
    strokes = torch.randint(STROKES[0], STROKES[1] + 1, (count, 1, 1, 1), generator=generator, device=ink.device)
    width = uniform(1.5, 4.0, (count,), ink, generator)
    start = uniform(4, 24, (count, 2, 1), ink, generator)
    for number in range(STROKES[1]):
        ends = uniform(4, 24, (count, 2, 2), ink, generator)
        # Three strokes in four start where the last one ended.
        continues = uniform(0, 1, (count, 1, 1), ink, generator) < 0.75
        points = torch.cat([torch.where(continues, start, uniform(4, 24, (count, 2, 1), ink, generator)), ends], 2)
        straight = uniform(0, 1, (count, 1), ink, generator) < 0.4
        points[:, :, 1] = torch.where(straight, (points[:, :, 0] + points[:, :, 2]) / 2, points[:, :, 1])
        start = points[:, :, 2:]
        made = torch.maximum(made, torch.where(number < strokes, draw(points, width), 0.0))
    return made


def fill(ink: Tensor, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Widen a digit into a silhouette, plain or shaded; make a blob for a one, which would stay a one."""
    wide = functional.max_pool2d(ink, 5, 1, 2)
    wider = functional.max_pool2d(wide, 5, 1, 2)
    shape = (len(ink), 1, 1, 1)
    solid = torch.where(uniform(0, 1, shape, ink, generator) < 0.3, wide, wider)
    shaded = solid * (1 - uniform(0, 0.9, shape, ink, generator) * field(6, ink, generator).clamp(0, 1))
    return torch.where((digits == 1)[:, None, None, None], blobs(ink, digits, generator), shaded)


def blobs(ink: Tensor, _digits: Tensor, generator: torch.Generator) -> Tensor:
    """Make patches, clouds and grain, as a picture without writing has."""
    shape = (len(ink), 1, 1, 1)
    fine = torch.where(uniform(0, 1, shape, ink, generator) < 0.5, field(7, ink, generator), field(4, ink, generator))
    grain = torch.empty(ink.shape, device=ink.device).normal_(generator=generator)
    made = fine + grain * torch.where(uniform(0, 1, shape, ink, generator) < 0.3, 1.0, 0.1)
    made = (made - uniform(-0.3, 0.5, shape, ink, generator)) * uniform(1, 8, shape, ink, generator)
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=ink.device) - 13.5] * 2, indexing="ij")
    half = uniform(5, 14, (*shape, 2), ink, generator)
    inside = (x.abs() < half[..., 0]) & (y.abs() < half[..., 1])
    return made.clamp(0, 1) * 255 * inside


def solids(ink: Tensor, _digits: Tensor, generator: torch.Generator) -> Tensor:
    """Fill one to three blocks that widen or taper, half of the time mirrored: the silhouette of a thing."""
    number = partial(uniform, shape=(len(ink), 1, 1, 1), like=ink, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=ink.device) - 13.5] * 2, indexing="ij")
    made = torch.zeros_like(ink)
    for block in range(3):
        tall = number(3, 13)
        down = (y - number(-6, 6)) / tall
        wide = number(3.5, 10) + down * number(-3, 3)
        inside = torch.minimum((1 - down.abs()) * tall, wide - (x - number(-5, 5)).abs())
        drawn = (inside + 0.5).clamp(0, 1)
        made = torch.maximum(made, drawn if block == 0 else torch.where(number(0, 1) < 0.5, drawn, 0.0))
    made = torch.where(number(0, 1) < 0.5, torch.maximum(made, made.flip(3)), made)
    texture = torch.where(number(0, 1) < 0.5, field(5, ink, generator), field(12, ink, generator)).abs()
    shaded = made * (1 - number(0, 0.9) * texture).clamp(0, 1) * 255
    return torch.where(number(0, 1) < NEGATIVE_SHARE, 255 - shaded, shaded)


# Each is as likely as it is listed often.
KINDS = (pairs, halves) * 2 + (turned,) * 3 + (solids,) * 4 + (scribbles,) * 5 + (fill, blobs)
