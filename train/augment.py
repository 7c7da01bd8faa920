"""Random variations of how a digit is written, each picture of a batch drawn on its own."""

import math

import torch
from torch import Tensor
from torch.nn import functional

ROTATION_DEG = 15.0
SHEAR = 0.25
SCALE = (0.80, 1.15)
SHIFT_PX = 2.0
ELASTIC_PX = 1.6
ELASTIC_GRID = 5
CONTRAST = (0.6, 1.3)
SIDE_PX = 28


def augment(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Bend, turn, stretch and shade (B, 1, 28, 28) uint8 pixels; return floats 0..255 of the same shape.

    The affine and the elastic part (Simard et al. 2003) are one resampling. The elastic displacement is
    a coarse random grid, interpolated bicubically, which is smooth without a Gaussian blur.
    """
    count, device = len(pixels), pixels.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(count, *shape, device=device).uniform_(low, high, generator=generator)

    angle = uniform(-math.radians(ROTATION_DEG), math.radians(ROTATION_DEG))
    shear = uniform(-SHEAR, SHEAR)
    # grid_sample maps the output to the input, hence the inverse of the scale.
    wide, high = 1 / uniform(*SCALE), 1 / uniform(*SCALE)
    shift_x, shift_y = (uniform(-SHIFT_PX, SHIFT_PX) * 2 / SIDE_PX for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack(
        [wide * cos, wide * (shear * cos - sin), shift_x, high * sin, high * (shear * sin + cos), shift_y], 1
    )
    grid = functional.affine_grid(rows.view(count, 2, 3), [count, 1, SIDE_PX, SIDE_PX], align_corners=False)
    coarse = uniform(-ELASTIC_PX * 2 / SIDE_PX, ELASTIC_PX * 2 / SIDE_PX, 2, ELASTIC_GRID, ELASTIC_GRID)
    bend = functional.interpolate(coarse, size=(SIDE_PX, SIDE_PX), mode="bicubic", align_corners=True)
    bent = functional.grid_sample(pixels.float(), grid + bend.permute(0, 2, 3, 1), align_corners=False)
    return (bent * uniform(*CONTRAST, 1, 1, 1)).clamp(0, 255)
