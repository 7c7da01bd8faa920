"""Random variations of how a digit is written and photographed, each picture of a batch drawn on its own.

Pictures are (B, 1, 28, 28) float32 ink 0..255, bright on dark; every function returns the same.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

SIDE_PX = 28
# This share of a batch, the first in it, stays as MNIST's writers might have written it, undamaged.
MILD_SHARE = 0.5
# Of the others, this share stays within how people write; the rest is turned, shrunk and sheared further.
TAME_SHARE = 0.8
ROTATION_DEG = (12.0, 35.0)
SHEAR = (0.25, 0.6)
SCALE = ((0.85, 1.2), (0.6, 1.3))
SHIFT_PX = (1.5, 6.0)
# Stretched to fill the picture, as some scanners store a digit, or squeezed, as some people write.
STRETCH_SHARE, SQUEEZE_SHARE = 0.12, 0.12
NARROWEST = 0.5
WIDEST_PX = 22.0
ELASTIC_PX = 1.6
ELASTIC_GRID = 5
# How much of a point's neighbourhood strokes take on (wider) or lose (thinner).
WIDER, THINNER = 1.0, 0.5
CONTRAST = (0.6, 1.3)
# A picture in which nothing is brighter than this is blank.
LEAST_INK = 80.0
# How much of each kind's share in damage() is drawn.
DAMAGE_SHARE = 0.9


def augment(
    pixels: Tensor, digits: Tensor, generator: torch.Generator, without: frozenset[str] = frozenset()
) -> Tensor:
    """Vary (B, 1, 28, 28) uint8 pixels of (B,) int64 digits; return floats 0..255 of the same shape.

    without names ingredients to leave out: "styles", "geometry", "elastic", "strokes", "damage".
    """
    ink = pixels.float()
    if "styles" not in without:
        ink = restyle(ink, digits, generator)
    mild = round(MILD_SHARE * len(ink))
    ink = torch.cat([bend(ink[:mild], generator, without, mild=True), bend(ink[mild:], generator, without)])
    if "strokes" not in without:
        ink = vary_strokes(ink, generator)
    if "damage" not in without:
        ink = torch.cat([ink[:mild], damage(ink[mild:], generator)])
    return ink


def uniform(low: float, high: float, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Return float32 numbers of a shape between low and high."""
    return torch.empty(shape, device=like.device).uniform_(low, high, generator=generator)


def restyle(ink: Tensor, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Give some ones an upstroke or a foot, strike through some zeros and cross some sevens.

    Many people write so; the Americans who wrote MNIST hardly did.
    """
    for digit, share, add in ((1, 0.4, add_upstroke), (1, 0.08, add_foot), (0, 0.12, strike), (7, 0.15, cross)):
        drawn = torch.rand(len(ink), device=ink.device, generator=generator) < share
        chosen = (drawn & (digits == digit)).nonzero()[:, 0]
        if len(chosen):
            ink = ink.index_copy(0, chosen, torch.maximum(ink[chosen], add(ink[chosen], generator)))
    return ink


def box(ink: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the first and last row and column, each (B,) float, of the ink in (B, 1, 28, 28)."""
    place = torch.arange(SIDE_PX, device=ink.device) + 0.0
    sides = []
    for axis in (3, 2):
        covered = ink.amax((1, axis)) > 100
        sides += [torch.where(covered, place, 99.0).amin(1), torch.where(covered, place, -99.0).amax(1)]
    return sides[0], sides[1], sides[2], sides[3]


def ink_at(ink: Tensor, row: Tensor) -> Tensor:
    """Return the mean column (B,) of the ink in and around a row (B,) of each picture."""
    place = torch.arange(SIDE_PX, device=ink.device) + 0.0
    near = ((place[None] - row[:, None]).abs() <= 1).float()
    weights = (ink[:, 0] * near[:, :, None]).sum(1) + 1e-3
    return (weights * place).sum(1) / weights.sum(1)


def draw(points: Tensor, width: Tensor) -> Tensor:
    """Return (B, 1, 28, 28) ink of one quadratic curve each, by (B, 2, 3) points (x, y) and (B,) widths in pixels."""
    along = torch.linspace(0, 1, 24, device=points.device)
    curve = points @ torch.stack([(1 - along) ** 2, 2 * along * (1 - along), along**2])
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=points.device) + 0.0] * 2, indexing="ij")
    place = torch.stack([x.reshape(-1), y.reshape(-1)], 1).expand(len(points), -1, -1)
    distance = torch.cdist(place, curve.transpose(1, 2)).amin(2).view(-1, 1, SIDE_PX, SIDE_PX)
    return (width[:, None, None, None] / 2 + 0.5 - distance).clamp(0, 1) * 255


def add_upstroke(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Return the upstroke that leads to the top of each one: 23 to 66 degrees from the vertical, a little bent."""
    count = (len(ink),)
    top, bottom, _, _ = box(ink)
    x = ink_at(ink, top + 0.5)
    angle = uniform(23, 66, count, ink, generator) * (math.pi / 180)
    length = (bottom - top) * uniform(0.25, 0.95, count, ink, generator)
    length = torch.minimum(length, (x - 1).clamp(min=3) / angle.sin())
    end_x, end_y = x - length * angle.sin(), top + 0.5 + length * angle.cos()
    sag = length * uniform(-0.2, 0.2, count, ink, generator)
    middle_x, middle_y = (x + end_x) / 2 + sag * angle.cos(), (top + 0.5 + end_y) / 2 + sag * angle.sin()
    points = torch.stack([torch.stack([x, middle_x, end_x], 1), torch.stack([top + 0.5, middle_y, end_y], 1)], 1)
    own = ink.sum((1, 2, 3)) / 255 / (bottom - top + 1)
    return draw(points, (own * uniform(0.6, 1.0, count, ink, generator)).clamp(1.2, 4))


def line(x: Tensor, y: Tensor, half: Tensor, angle: Tensor, width: Tensor) -> Tensor:
    """Draw straight lines through (B,) x and y, half as long as (B,) half, at an angle (radians) to the row."""
    reach = half[:, None] * torch.tensor([-1.0, 0.0, 1.0], device=x.device)
    points = torch.stack([x[:, None] + reach * angle.cos()[:, None], y[:, None] - reach * angle.sin()[:, None]], 1)
    return draw(points, width)


def add_foot(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Return the line under each one."""
    count = (len(ink),)
    _, bottom, _, _ = box(ink)
    half, angle = uniform(2.5, 5.5, count, ink, generator), uniform(-0.15, 0.15, count, ink, generator)
    return line(ink_at(ink, bottom), bottom, half, angle, uniform(1.5, 2.5, count, ink, generator))


def strike(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Return the stroke through each zero, upright or leaning to the right, often beyond its rim."""
    count = (len(ink),)
    top, bottom, left, right = box(ink)
    angle = uniform(30, 105, count, ink, generator) * (math.pi / 180)
    half = (bottom - top) / 2 * uniform(0.75, 1.3, count, ink, generator)
    x = (left + right) / 2 + uniform(-1, 1, count, ink, generator)
    return line(x, (top + bottom) / 2, half, angle, uniform(1.2, 2.5, count, ink, generator))


def cross(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Return the bar through the stem of each seven."""
    count = (len(ink),)
    top, bottom, _, _ = box(ink)
    y = top + (bottom - top) * uniform(0.4, 0.65, count, ink, generator)
    half, angle = uniform(2.5, 5.0, count, ink, generator), uniform(-0.2, 0.3, count, ink, generator)
    return line(ink_at(ink, y), y, half, angle, uniform(1.2, 2.5, count, ink, generator))


def bend(ink: Tensor, generator: torch.Generator, without: frozenset[str] = frozenset(), mild: bool = False) -> Tensor:
    """Turn, shear, scale, shift and bend ink in one resampling (affine and elastic: Simard et al. 2003).

    mild stays within what MNIST's writers might have written.
    The elastic displacement is a coarse random grid, interpolated bicubically: smooth without a Gaussian blur.
    """
    count = len(ink)
    grid = torch.zeros(count, SIDE_PX, SIDE_PX, 2, device=ink.device)
    if "geometry" in without:
        still = torch.eye(2, 3, device=ink.device).expand(count, 2, 3)
        grid = functional.affine_grid(still, [count, 1, SIDE_PX, SIDE_PX], align_corners=False)
    else:
        grid = functional.affine_grid(affine(ink, generator, mild), [count, 1, SIDE_PX, SIDE_PX], align_corners=False)
    if "elastic" not in without:
        reach = ELASTIC_PX * 2 / SIDE_PX
        coarse = uniform(-reach, reach, (count, 2, ELASTIC_GRID, ELASTIC_GRID), ink, generator)
        smooth = functional.interpolate(coarse, size=(SIDE_PX, SIDE_PX), mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(ink, grid, align_corners=False).clamp(0, 255)


def affine(ink: Tensor, generator: torch.Generator, mild: bool) -> Tensor:
    """Return (B, 2, 3) random maps from the points of the output to those of the input."""
    count = len(ink)

    def both(tame: Tensor, ranges: tuple[float, float]) -> Tensor:
        reach = torch.where(tame, *ranges)
        return reach * uniform(-1, 1, (count,), ink, generator)

    tame = uniform(0, 1, (count,), ink, generator) < (1 if mild else TAME_SHARE)
    angle = both(tame, ROTATION_DEG) * (math.pi / 180)
    shear = both(tame, SHEAR)
    shift_x, shift_y = (both(tame, SHIFT_PX) * 2 / SIDE_PX for _ in range(2))
    low = torch.where(tame, SCALE[0][0], SCALE[1][0])
    high = torch.where(tame, SCALE[0][1], SCALE[1][1])
    size = low + (high - low) * uniform(0, 1, (count,), ink, generator)
    # grid_sample maps the output to the input, hence the inverse of the scale.
    aspect = uniform(-0.12, 0.12, (count,), ink, generator).exp()
    wide, tall = 1 / (size * aspect), aspect / size
    _, _, left, right = box(ink)
    width = right - left + 1
    fill = (WIDEST_PX / width.clamp(min=4)).clamp(1, 4) ** uniform(0, 1, (count,), ink, generator)
    squeeze = uniform(NARROWEST, 1, (count,), ink, generator)
    kind = uniform(0, 1, (count,), ink, generator)
    if not mild:
        wide = torch.where(kind < STRETCH_SHARE, wide / fill, wide)
        wide = torch.where(kind > 1 - SQUEEZE_SHARE, wide / squeeze, wide)
    cos, sin = angle.cos(), angle.sin()
    # What was added to a digit moved its centre of mass: bring it back to the middle.
    place = (torch.arange(SIDE_PX, device=ink.device) - 13.5) * 2 / SIDE_PX
    total = ink.sum((1, 2, 3)) + 1e-3
    mass_x, mass_y = (ink.sum((1, 2)) * place).sum(1) / total, (ink.sum((1, 3)) * place).sum(1) / total
    return torch.stack(
        [
            *(wide * cos, wide * (shear * cos - sin), shift_x + mass_x),
            *(tall * sin, tall * (shear * sin + cos), shift_y + mass_y),
        ],
        1,
    ).view(count, 2, 3)


def vary_strokes(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Write with a wider or a finer pen: each point takes a share of its neighbourhood's maximum or minimum.

    Two pictures in five keep their strokes.
    """
    pen = uniform(-1, 1, (len(ink), 1, 1, 1), ink, generator)
    for chosen, vary in ((pen[:, 0, 0, 0] > 0.4, widen), (pen[:, 0, 0, 0] < -0.4, thin)):
        index = chosen.nonzero()[:, 0]
        if len(index):
            ink = ink.index_copy(0, index, vary(ink[index], uniform(0, 1, (len(index), 1, 1, 1), ink, generator)))
    return ink


def widen(ink: Tensor, share: Tensor) -> Tensor:
    """Widen strokes by up to a pixel on each side, some by two."""
    once = functional.max_pool2d(ink, 3, 1, 1)
    index = (share[:, 0, 0, 0] > 0.75).nonzero()[:, 0]
    twice = once.index_copy(0, index, functional.max_pool2d(once[index], 3, 1, 1)) if len(index) else once
    return ink + WIDER * share * (twice - ink)


def thin(ink: Tensor, share: Tensor) -> Tensor:
    """Thin strokes by up to half a pixel on each side."""
    return ink + THINNER * share * (-functional.max_pool2d(-ink, 3, 1, 1) - ink)


def damage(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, break, cover and shade some pictures as cameras, scanners, paper and other people's lines do."""
    for share, harm in (
        (0.10, blur),
        (0.09, shake),
        (0.10, coarsen),
        (0.05, outline),
        (0.08, fade),
        (0.13, draw_lines),
        (0.04, splash),
        (0.08, lift),
        (0.09, invert_part),
        (0.14, add_noise),
    ):
        chosen = (torch.rand(len(ink), device=ink.device, generator=generator) < DAMAGE_SHARE * share).nonzero()[:, 0]
        if len(chosen):
            harmed = harm(ink[chosen], generator).clamp(0, 255)
            # What is left of a fine digit may be nothing: then it stays as it was.
            gone = harmed.amax((1, 2, 3), keepdim=True) < LEAST_INK
            ink = ink.index_copy(0, chosen, torch.where(gone, ink[chosen], harmed))
    return ink * uniform(*CONTRAST, (len(ink), 1, 1, 1), ink, generator).clamp(max=1.0)


def blur(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Blur with a Gaussian of any direction: out of focus, or moved."""
    count, reach = len(ink), 4
    angle = uniform(0, math.pi, (count, 1, 1), ink, generator)
    along, across = uniform(0.5, 2.8, (count, 1, 1), ink, generator), uniform(0.4, 1.0, (count, 1, 1), ink, generator)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0, device=ink.device)] * 2, indexing="ij")
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    kernel = torch.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    blurred = functional.conv2d(ink.transpose(0, 1), kernel[:, None], padding=reach, groups=count).transpose(0, 1)
    # A camera's exposure brings some of the contrast back.
    gain = (255 / blurred.amax((1, 2, 3), keepdim=True).clamp(min=50)) ** uniform(
        0, 1, (count, 1, 1, 1), ink, generator
    )
    return blurred * gain


def shake(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Move every point by itself, as through uneven glass or on rough paper."""
    count = len(ink)
    still = torch.eye(2, 3, device=ink.device).expand(count, 2, 3)
    grid = functional.affine_grid(still, [count, 1, SIDE_PX, SIDE_PX], align_corners=False)
    reach = uniform(0.5, 2.0, (count, 1, 1, 1), ink, generator) * 2 / SIDE_PX
    moves = reach * uniform(-1, 1, (count, SIDE_PX, SIDE_PX, 2), ink, generator)
    return functional.grid_sample(ink, grid + moves, align_corners=False)


def coarsen(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Pass through fewer points, and half of the time through black and white."""
    count = len(ink)
    side = int(torch.randint(9, 21, (), generator=generator, device=ink.device))
    small = functional.interpolate(ink, size=(side, side), mode="area")
    level = uniform(60, 150, (count, 1, 1, 1), ink, generator)
    black_white = uniform(0, 1, (count, 1, 1, 1), ink, generator) < 0.5
    small = torch.where(black_white, (small > level).float() * 255, small)
    return functional.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)


def outline(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Keep the edge of the strokes, inside or outside."""
    inside = ink + functional.max_pool2d(-ink, 3, 1, 1)
    outside = functional.max_pool2d(ink, 3, 1, 1) - ink
    edge = torch.where(uniform(0, 1, (len(ink), 1, 1, 1), ink, generator) < 0.5, inside, outside)
    hard = (edge > 100).float() * 255
    return torch.where(uniform(0, 1, (len(ink), 1, 1, 1), ink, generator) < 0.5, edge, hard)


def field(points: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, 1, 28, 28) smooth random numbers of about -1..1, a hill or valley every 28 / points pixels."""
    coarse = uniform(-1, 1, (len(like), 1, points, points), like, generator)
    return functional.interpolate(coarse, size=(SIDE_PX, SIDE_PX), mode="bicubic", align_corners=True)


def fade(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Let the ink get fainter in places, until strokes break."""
    return ink * (1 - uniform(0.4, 1.1, (len(ink), 1, 1, 1), ink, generator) * field(6, ink, generator).clamp(0, 1))


def draw_lines(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one or two lines across: straight, dotted or zigzag; ruling, a crossing-out, a margin."""
    count = len(ink)
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=ink.device) - 13.5] * 2, indexing="ij")

    def number(low: float, high: float) -> Tensor:
        return uniform(low, high, (count, 1, 1, 1), ink, generator)

    for _ in range(2):
        angle = number(0, math.pi)
        along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        wave = number(4, 12)
        zigzag = torch.where(number(0, 1) < 0.4, number(1, 5), 0.0)
        swing = zigzag * (4 * ((along / wave) % 1 - 0.5).abs() - 1)
        line = (number(0.6, 1.5) - (across - number(-9, 9) + swing).abs()).clamp(0, 1)
        dotted = (number(0, 1) < 0.35) & ((along / number(2, 5)) % 1 > 0.5)
        drawn = (line * number(120, 255)).masked_fill(dotted, 0)
        ink = torch.maximum(ink, torch.where(number(0, 1) < 0.6, drawn, 0.0))
    return ink


def splash(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Drop blots on it."""
    level = uniform(0.55, 0.9, (len(ink), 1, 1, 1), ink, generator)
    blots = ((field(9, ink, generator) - level) * 8).clamp(0, 1)
    return torch.maximum(ink, blots * uniform(120, 255, (len(ink), 1, 1, 1), ink, generator))


def lift(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Brighten the background, evenly or in clouds, so that less of the contrast is left."""
    shape = (len(ink), 1, 1, 1)
    haze = uniform(0, 0.7, shape, ink, generator) + uniform(0, 0.5, shape, ink, generator) * field(4, ink, generator)
    return ink + haze.clamp(0, 0.8) * (255 - ink)


def invert_part(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Swap ink and background in a band or beyond an edge."""
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=ink.device) - 13.5] * 2, indexing="ij")

    def number(low: float, high: float) -> Tensor:
        return uniform(low, high, (len(ink), 1, 1, 1), ink, generator)

    angle = torch.where(number(0, 1) < 0.5, 0.0, math.pi / 2) + number(-0.1, 0.1)
    across = y * angle.cos() - x * angle.sin() - number(-7, 7)
    inside = (across.abs() < number(3, 8)) ^ (number(0, 1) < 0.5)
    return torch.where(inside, 255 - ink, ink)


def add_noise(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Add grain: Gaussian, in proportion to the brightness, or single black and white points."""
    shape = (len(ink), 1, 1, 1)
    normal = torch.empty(ink.shape, device=ink.device).normal_(generator=generator)
    kind = uniform(0, 3, shape, ink, generator)
    gaussian = ink + uniform(10, 70, shape, ink, generator) * normal
    shot = ink + uniform(2, 8, shape, ink, generator) * (ink + 2).sqrt() * normal
    chance = uniform(0, 1, ink.shape, ink, generator)
    points = uniform(0.02, 0.25, shape, ink, generator)
    single = torch.where(chance < points / 2, 255.0, torch.where(chance < points, 0.0, ink))
    return torch.where(kind < 1, gaussian, torch.where(kind < 2, shot, single))
