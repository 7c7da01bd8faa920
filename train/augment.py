"""Random variations of how a digit is written and photographed, drawn separately for each picture of a batch.

Ink is (B, 1, 28, 28) float32, 0..255, bright on dark, here and in outliers.py. Coordinates are pixels: x is the
column, y the row, both 0..27. Unless a docstring says otherwise, functions take and return ink.
"""

import math
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from model.geometry import SIDE_PX

# This share of a batch, the first pictures in it, stays within what MNIST's writers might have written, uncorrupted.
MILD_SHARE = 0.6
# This share of the others stays within how people write; the rest is turned, sheared, scaled and shifted further.
# Where a constant has two values, the second is that of the rest.
TAME_SHARE = 0.8
ROTATION_DEG = (12.0, 35.0)
SHEAR = (0.25, 0.6)
SCALE = ((0.85, 1.2), (0.6, 1.3))
SHIFT_PX = (1.5, 6.0)
# Stretched to fill the picture, as some scanners store digits, or squeezed, as some people write them.
STRETCH_SHARE, SQUEEZE_SHARE = 0.12, 0.12
NARROWEST = 0.5
WIDEST_PX = 22.0
ELASTIC_PX = 1.6
ELASTIC_GRID = 5
# How far at most a pixel goes towards the minimum of its neighbourhood when strokes are thinned.
THINNER = 0.5
CONTRAST = (0.6, 1.3)
# A picture whose brightest pixel is darker than this is blank.
LEAST_INK = 80.0


def augment(
    pixels: Tensor,
    digits: Tensor,
    generator: torch.Generator,
    without: frozenset[str] = frozenset(),
    mild_share: float = MILD_SHARE,
) -> Tensor:
    """Return (B, 1, 28, 28) uint8 pixels of (B,) int64 digits as varied ink.

    without names ingredients to leave out: "styles", "geometry", "elastic", "strokes", "corruptions".
    """
    ink = pixels.float()
    if "styles" not in without:
        ink = restyle(ink, digits, generator)
    mild = round(mild_share * len(ink))
    parts = [(ink[:mild], True), (ink[mild:], False)]
    ink = torch.cat([bend(part, generator, without, is_mild) for part, is_mild in parts if len(part)])
    if "strokes" not in without:
        ink = vary_strokes(ink, generator)
    if "corruptions" not in without:
        ink = torch.cat([ink[:mild], corrupt(ink[mild:], generator)])
    return ink


def uniform(low: float, high: float, shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Return float32 random numbers between low and high, on the device of like."""
    return torch.empty(shape, device=like.device).uniform_(low, high, generator=generator)


def restyle(ink: Tensor, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Give some ones an upstroke or a foot, strike through some zeros and cross some sevens; digits are (B,).

    Many people write this way, but few of the Americans who wrote MNIST.
    """
    for digit, share, add in ((1, 0.4, add_upstroke), (1, 0.08, add_foot), (0, 0.12, strike), (7, 0.15, cross)):
        drawn = torch.rand(len(ink), device=ink.device, generator=generator) < share
        chosen = (drawn & (digits == digit)).nonzero()[:, 0]
        if len(chosen):
            ink = ink.index_copy(0, chosen, torch.maximum(ink[chosen], add(ink[chosen], generator)))
    return ink


def box(ink: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the top, bottom, left and right edge of each picture's ink, (B,) float pixels each."""
    position = torch.arange(SIDE_PX, device=ink.device) + 0.0
    sides = []
    for axis in (3, 2):
        covered = ink.amax((1, axis)) > 100
        sides += [torch.where(covered, position, 99.0).amin(1), torch.where(covered, position, -99.0).amax(1)]
    return sides[0], sides[1], sides[2], sides[3]


def ink_at(ink: Tensor, row: Tensor) -> Tensor:
    """Return the mean column (B,) of the ink within a pixel of a row (B,) of each picture."""
    position = torch.arange(SIDE_PX, device=ink.device) + 0.0
    near = ((position[None] - row[:, None]).abs() <= 1).float()
    weights = (ink[:, 0] * near[:, :, None]).sum(1) + 1e-3
    return (weights * position).sum(1) / weights.sum(1)


def draw(points: Tensor, width: Tensor) -> Tensor:
    """Draw a quadratic Bezier curve in each picture: (B, 2, 3) control points (x, y), (B,) widths in pixels."""
    along = torch.linspace(0, 1, 24, device=points.device)
    curve = points @ torch.stack([(1 - along) ** 2, 2 * along * (1 - along), along**2])
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=points.device) + 0.0] * 2, indexing="ij")
    pixels = torch.stack([x.reshape(-1), y.reshape(-1)], 1).expand(len(points), -1, -1)
    distance = torch.cdist(pixels, curve.transpose(1, 2)).amin(2).view(-1, 1, SIDE_PX, SIDE_PX)
    return (width[:, None, None, None] / 2 + 0.5 - distance).clamp(0, 1) * 255


def add_upstroke(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a slightly curved upstroke to the top of each one, 23 to 66 degrees from the vertical."""
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
    """Draw a straight line about each (B,) x and y, half of it (B,) half long, at (B,) angles in radians to the row."""
    reach = half[:, None] * torch.tensor([-1.0, 0.0, 1.0], device=x.device)
    points = torch.stack([x[:, None] + reach * angle.cos()[:, None], y[:, None] - reach * angle.sin()[:, None]], 1)
    return draw(points, width)


def add_foot(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a line under each one."""
    count = (len(ink),)
    _, bottom, _, _ = box(ink)
    half, angle = uniform(2.5, 5.5, count, ink, generator), uniform(-0.15, 0.15, count, ink, generator)
    return line(ink_at(ink, bottom), bottom, half, angle, uniform(1.5, 2.5, count, ink, generator))


def strike(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a stroke through each zero, upright or leaning to the right, often past its edge."""
    count = (len(ink),)
    top, bottom, left, right = box(ink)
    angle = uniform(30, 105, count, ink, generator) * (math.pi / 180)
    half = (bottom - top) / 2 * uniform(0.75, 1.3, count, ink, generator)
    x = (left + right) / 2 + uniform(-1, 1, count, ink, generator)
    return line(x, (top + bottom) / 2, half, angle, uniform(1.2, 2.5, count, ink, generator))


def cross(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a bar through the stem of each seven."""
    count = (len(ink),)
    top, bottom, _, _ = box(ink)
    y = top + (bottom - top) * uniform(0.4, 0.65, count, ink, generator)
    half, angle = uniform(2.5, 5.0, count, ink, generator), uniform(-0.2, 0.3, count, ink, generator)
    return line(ink_at(ink, y), y, half, angle, uniform(1.2, 2.5, count, ink, generator))


def bend(ink: Tensor, generator: torch.Generator, without: frozenset[str] = frozenset(), mild: bool = False) -> Tensor:
    """Turn, shear, scale, shift and bend ink in one resampling (affine and elastic: Simard et al. 2003).

    mild stays within what MNIST's writers might have written; without may name "geometry" and "elastic".
    The elastic displacement is a coarse random grid, interpolated bicubically: smooth without a Gaussian blur.
    """
    count = len(ink)
    grid = still_grid(ink) if "geometry" in without else to_grid(affine(ink, generator, mild))
    if "elastic" not in without:
        reach = ELASTIC_PX * 2 / SIDE_PX
        coarse = uniform(-reach, reach, (count, 2, ELASTIC_GRID, ELASTIC_GRID), ink, generator)
        smooth = functional.interpolate(coarse, size=(SIDE_PX, SIDE_PX), mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    return functional.grid_sample(ink, grid, align_corners=False).clamp(0, 255)


def to_grid(maps: Tensor) -> Tensor:
    """Return where grid_sample finds each pixel by (B, 2, 3) affine maps: (B, 28, 28, 2), coordinates of -1..1."""
    return functional.affine_grid(maps, [len(maps), 1, SIDE_PX, SIDE_PX], align_corners=False)


def still_grid(ink: Tensor) -> Tensor:
    """Return the grid (B, 28, 28, 2) that moves no pixel."""
    return to_grid(torch.eye(2, 3, device=ink.device).expand(len(ink), 2, 3))


def affine(ink: Tensor, generator: torch.Generator, mild: bool) -> Tensor:
    """Return random affine maps (B, 2, 3) from output to input, in the coordinates of affine_grid: -1..1 each way."""
    count = len(ink)

    def either_way(reaches: tuple[float, float]) -> Tensor:
        return torch.where(tame, *reaches) * uniform(-1, 1, (count,), ink, generator)

    tame = uniform(0, 1, (count,), ink, generator) < (1 if mild else TAME_SHARE)
    angle = either_way(ROTATION_DEG) * (math.pi / 180)
    shear = either_way(SHEAR)
    shift_x, shift_y = (either_way(SHIFT_PX) * 2 / SIDE_PX for _ in range(2))
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
    # Strokes added to a digit moved its centre of mass: bring it back to the middle.
    position = (torch.arange(SIDE_PX, device=ink.device) - 13.5) * 2 / SIDE_PX
    total = ink.sum((1, 2, 3)) + 1e-3
    mass_x, mass_y = (ink.sum((1, 2)) * position).sum(1) / total, (ink.sum((1, 3)) * position).sum(1) / total
    return torch.stack(
        [
            *(wide * cos, wide * (shear * cos - sin), shift_x + mass_x),
            *(tall * sin, tall * (shear * sin + cos), shift_y + mass_y),
        ],
        1,
    ).view(count, 2, 3)


def vary_strokes(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Widen the strokes of three pictures in ten and thin those of another three."""
    pen = uniform(-1, 1, (len(ink), 1, 1, 1), ink, generator)
    for chosen, vary in ((pen[:, 0, 0, 0] > 0.4, widen), (pen[:, 0, 0, 0] < -0.4, thin)):
        index = chosen.nonzero()[:, 0]
        if len(index):
            ink = ink.index_copy(0, index, vary(ink[index], uniform(0, 1, (len(index), 1, 1, 1), ink, generator)))
    return ink


def widen(ink: Tensor, share: Tensor) -> Tensor:
    """Widen strokes by (B, 1, 1, 1) share 0..1 of a pixel on each side, or of two pixels above 0.75."""
    once = functional.max_pool2d(ink, 3, 1, 1)
    index = (share[:, 0, 0, 0] > 0.75).nonzero()[:, 0]
    twice = once.index_copy(0, index, functional.max_pool2d(once[index], 3, 1, 1)) if len(index) else once
    return ink + share * (twice - ink)


def thin(ink: Tensor, share: Tensor) -> Tensor:
    """Thin strokes by (B, 1, 1, 1) share 0..1 of half a pixel on each side."""
    return ink + THINNER * share * (-functional.max_pool2d(-ink, 3, 1, 1) - ink)


def corrupt(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, break, cover and shade some pictures as cameras, scanners and paper do, and lower the contrast of most."""
    for corruption, share in CORRUPTIONS.items():
        chosen = (torch.rand(len(ink), device=ink.device, generator=generator) < share).nonzero()[:, 0]
        if len(chosen):
            corrupted = corruption(ink[chosen], generator).clamp(0, 255)
            # A fine digit may vanish: then it stays as it was.
            gone = corrupted.amax((1, 2, 3), keepdim=True) < LEAST_INK
            ink = ink.index_copy(0, chosen, torch.where(gone, ink[chosen], corrupted))
    return ink * uniform(*CONTRAST, (len(ink), 1, 1, 1), ink, generator).clamp(max=1.0)


def blur(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Blur with an elongated Gaussian in a random direction, as poor focus or a moving camera does."""
    count, reach = len(ink), 4
    angle = uniform(0, math.pi, (count, 1, 1), ink, generator)
    along, across = uniform(0.5, 2.8, (count, 1, 1), ink, generator), uniform(0.4, 1.0, (count, 1, 1), ink, generator)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0, device=ink.device)] * 2, indexing="ij")
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    kernel = torch.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    kernel = kernel / kernel.sum((1, 2), keepdim=True)
    blurred = functional.conv2d(ink.transpose(0, 1), kernel[:, None], padding=reach, groups=count).transpose(0, 1)
    # A camera's exposure brings some of the contrast back.
    gain = 255 / blurred.amax((1, 2, 3), keepdim=True).clamp(min=50)
    return blurred * gain ** uniform(0, 1, (count, 1, 1, 1), ink, generator)


def shake(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Displace every pixel on its own, as uneven glass or rough paper does."""
    count = len(ink)
    reach = uniform(0.5, 2.0, (count, 1, 1, 1), ink, generator) * 2 / SIDE_PX
    moves = reach * uniform(-1, 1, (count, SIDE_PX, SIDE_PX, 2), ink, generator)
    return functional.grid_sample(ink, still_grid(ink) + moves, align_corners=False)


def coarsen(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Reduce to 9 to 20 pixels a side, half of the time to black and white, and enlarge again."""
    count = len(ink)
    side = int(torch.randint(9, 21, (), generator=generator, device=ink.device))
    small = functional.interpolate(ink, size=(side, side), mode="area")
    level = uniform(60, 150, (count, 1, 1, 1), ink, generator)
    black_white = uniform(0, 1, (count, 1, 1, 1), ink, generator) < 0.5
    small = torch.where(black_white, (small > level).float() * 255, small)
    return functional.interpolate(small, size=(SIDE_PX, SIDE_PX), mode="bilinear", align_corners=False)


def outline(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Keep only the edge of the strokes, inside or outside, soft or in black and white."""
    inside = ink + functional.max_pool2d(-ink, 3, 1, 1)
    outside = functional.max_pool2d(ink, 3, 1, 1) - ink
    edge = torch.where(uniform(0, 1, (len(ink), 1, 1, 1), ink, generator) < 0.5, inside, outside)
    hard = (edge > 100).float() * 255
    return torch.where(uniform(0, 1, (len(ink), 1, 1, 1), ink, generator) < 0.5, edge, hard)


def field(nodes: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return (B, 1, 28, 28) smooth random numbers of about -1..1 through a grid of nodes x nodes random ones."""
    coarse = uniform(-1, 1, (len(like), 1, nodes, nodes), like, generator)
    return functional.interpolate(coarse, size=(SIDE_PX, SIDE_PX), mode="bicubic", align_corners=True)


def fade(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Make the ink fainter in places, until strokes break."""
    return ink * (1 - uniform(0.4, 1.1, (len(ink), 1, 1, 1), ink, generator) * field(6, ink, generator).clamp(0, 1))


def draw_lines(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Draw up to two lines across, straight, dotted or zigzag, like ruling, a margin or a crossing-out."""
    number = partial(uniform, shape=(len(ink), 1, 1, 1), like=ink, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=ink.device) - 13.5] * 2, indexing="ij")
    for _ in range(2):
        angle = number(0, math.pi)
        along, across = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
        wave = number(3, 12)
        zigzag = torch.where(number(0, 1) < 0.5, number(1, 5), 0.0)
        swing = zigzag * (4 * ((along / wave) % 1 - 0.5).abs() - 1)
        line = (number(0.6, 1.5) - (across - number(-9, 9) + swing).abs()).clamp(0, 1)
        dotted = (number(0, 1) < 0.35) & ((along / number(2, 5)) % 1 > 0.5)
        drawn = (line * number(120, 255)).masked_fill(dotted, 0)
        ink = torch.maximum(ink, torch.where(number(0, 1) < 0.6, drawn, 0.0))
    return ink


def splash(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Drop blots on the picture."""
    level = uniform(0.55, 0.9, (len(ink), 1, 1, 1), ink, generator)
    blots = ((field(9, ink, generator) - level) * 8).clamp(0, 1)
    return torch.maximum(ink, blots * uniform(120, 255, (len(ink), 1, 1, 1), ink, generator))


def lift(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Brighten the background, evenly or in clouds, which lowers the contrast."""
    shape = (len(ink), 1, 1, 1)
    haze = uniform(0, 0.7, shape, ink, generator) + uniform(0, 0.5, shape, ink, generator) * field(4, ink, generator)
    return ink + haze.clamp(0, 0.8) * (255 - ink)


def invert_part(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Invert a band of the picture, or both sides of it."""
    number = partial(uniform, shape=(len(ink), 1, 1, 1), like=ink, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(SIDE_PX, device=ink.device) - 13.5] * 2, indexing="ij")
    angle = torch.where(number(0, 1) < 0.5, 0.0, math.pi / 2) + number(-0.1, 0.1)
    across = y * angle.cos() - x * angle.sin() - number(-7, 7)
    inside = (across.abs() < number(3, 8)) ^ (number(0, 1) < 0.5)
    return torch.where(inside, 255 - ink, ink)


def add_noise(ink: Tensor, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise, shot noise (stronger where it is brighter), or black and white pixels."""
    shape = (len(ink), 1, 1, 1)
    normal = torch.empty(ink.shape, device=ink.device).normal_(generator=generator)
    kind = uniform(0, 3, shape, ink, generator)
    gaussian = ink + uniform(10, 70, shape, ink, generator) * normal
    shot = ink + uniform(2, 8, shape, ink, generator) * (ink + 2).sqrt() * normal
    chance = uniform(0, 1, ink.shape, ink, generator)
    share = uniform(0.02, 0.25, shape, ink, generator)
    impulse = torch.where(chance < share / 2, 255.0, torch.where(chance < share, 0.0, ink))
    return torch.where(kind < 1, gaussian, torch.where(kind < 2, shot, impulse))


# The share of pictures that gets each.
CORRUPTIONS = {
    blur: 0.090,
    shake: 0.081,
    coarsen: 0.090,
    outline: 0.045,
    fade: 0.072,
    draw_lines: 0.150,
    splash: 0.036,
    lift: 0.072,
    invert_part: 0.081,
    add_noise: 0.126,
}
