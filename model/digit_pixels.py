"""Pixels as the net reads them: 28x28, bright ink on dark, in MNIST's geometry."""

import functools
from typing import Any, NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# MNIST's geometry (LeCun et al. 1998): the digit fits 20x20, and its centre of mass is the middle of 28x28.
SIDE_PX = 28
DIGIT_PX = 20
CENTRE_PX = 14
# Mean and standard deviation of the 60,000 MNIST training pictures, in pixel values 0..255.
PIXEL_MEAN = 33.3184
PIXEL_STD = 78.5675

# Up to this side a picture is a thumbnail: just a digit on an even background.
THUMBNAIL_PX = 40
# The least difference, in steps of 255, between the ink of a thumbnail and its background.
LEAST_CONTRAST = 16.0
# The share of the contrast of full ink from which a pixel counts as ink.
INK_SHARE = 0.35
# Marks with less than this share of the weight of a thumbnail's ink are specks.
SPECK_SHARE = 0.03
# A thumbnail of MNIST's size is like MNIST if its digit is this long and its centre of mass this close to the middle.
LEAST_LIKE_PX, MOST_OFF_PX = 17, 3.0
# MNIST's range of stroke widths, in pixels of the 20x20 box; others are brought into it.
THINNEST_STROKE_PX = 1.8
WIDEST_STROKE_PX = 3.6

Pixels = NDArray[np.uint8]
# Left, top, right and bottom, in pixels of a picture.
Box = tuple[float, float, float, float]


class Ink(NamedTuple):
    """The ink of a digit in a picture, and the pixels made of it."""

    # (1, 28, 28) uint8, bright ink on dark, in MNIST's geometry.
    pixels: Pixels
    # (h, w) uint8, bright ink on black, and the part of the picture that it covers.
    levels: NDArray[np.uint8]
    box: Box


def is_mnist(pixels: NDArray[np.uint8]) -> bool:
    """Return whether (28, 28) uint8 pixels have MNIST's geometry: black around a centred digit 20 pixels long."""
    rows, columns = extent(pixels)
    if not DIGIT_PX - 1 <= max(rows.stop - rows.start, columns.stop - columns.start) <= DIGIT_PX:
        return False
    # MNIST centred its digits to the nearest whole pixel.
    return max(abs(mass - CENTRE_PX) for mass in centre_of_mass(pixels)) < 0.55


def centre_of_mass(ink: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[float, float]:
    """Return the row and the column, in pixels, of the centre of mass of (h, w) ink that is not all black."""
    rows, columns = ink.sum(1, dtype=np.float64), ink.sum(0, dtype=np.float64)
    return rows @ np.arange(len(rows)) / rows.sum(), columns @ np.arange(len(columns)) / columns.sum()


def ready(pixels: NDArray[np.uint8]) -> Ink:
    """Return (28, 28) uint8 pixels that the net reads as they are."""
    return Ink(pixels[None], pixels, (0, 0, SIDE_PX, SIDE_PX))


def read_thumbnail(grey: NDArray[np.uint8]) -> Ink | None:
    """Return the ink in (h, w) uint8 grey levels of at most THUMBNAIL_PX a side, or None if none stands out."""
    levels = two_levels(grey)
    if levels is None:
        return None
    contrast, full = levels
    solid = contrast > full * INK_SHARE
    if grey.shape == (SIDE_PX, SIDE_PX) and (not is_clean(contrast, full, solid) or is_like_mnist(contrast, solid)):
        # Noise, haze and lines cannot be cleaned here, but the net was trained to read through them.
        return ready(grey if grey.mean() >= np.median(grey) else 255 - grey)
    marks, count = cc3d.connected_components(solid, connectivity=8, return_N=True)
    weights = np.bincount(marks[solid], contrast[solid], count + 1)
    chosen = (weights > SPECK_SHARE * weights.sum())[marks]
    return cut_out(np.rint(np.clip(contrast * (255 / full), 0, 255)).astype(np.uint8), chosen)


def cut_out(levels: NDArray[np.uint8], chosen: NDArray[np.bool_], scale: float = 1.0) -> Ink:
    """Return the chosen marks in (h, w) uint8 levels of ink with their soft edge; one level is scale picture pixels."""
    rows, columns = extent(chosen)
    edge = dilate(chosen[rows, columns], square(3))
    cropped = np.where(edge, levels[rows, columns], 0).astype(np.uint8)
    box = (columns.start * scale, rows.start * scale, columns.stop * scale, rows.stop * scale)
    return Ink(centre(fit(cropped)), cropped, box)


def is_clean(contrast: NDArray[np.float32], full: float, solid: NDArray[np.bool_]) -> bool:
    """Return whether most of (h, w) contrast is plain background, and the solid ink touches fewer than two borders."""
    borders = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    plain = np.count_nonzero(contrast < 0.1 * full)
    return bool(plain > 0.6 * contrast.size) and sum(bool(border.any()) for border in borders) < 2


def is_like_mnist(contrast: NDArray[np.float32], solid: NDArray[np.bool_]) -> bool:
    """Return whether the ink in (28, 28) contrast is about as large and as well centred as MNIST's."""
    off = max(abs(mass - CENTRE_PX) for mass in centre_of_mass(contrast.clip(0)))
    return max(solid[extent(solid)].shape) >= LEAST_LIKE_PX and off < MOST_OFF_PX


def fit(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale (h, w) uint8 ink, keeping its aspect ratio, until its longer side is 20 pixels.

    Strokes thinner or wider than MNIST's are widened or thinned first.
    """
    scale = DIGIT_PX / max(ink.shape)
    thickness = stroke_width(ink > 127) * scale
    varied = np.pad(ink, 1)
    if thickness < THINNEST_STROKE_PX:
        widen = round((THINNEST_STROKE_PX - thickness) / scale)
        varied = dilate(np.pad(varied, widen // 2), square(1 + widen))
    elif thickness > WIDEST_STROKE_PX:
        narrow = 1 + round((thickness - WIDEST_STROKE_PX) / scale)
        varied = 255 - dilate(255 - varied, disc(narrow))
    if varied.any():
        ink = varied[extent(varied)]
    scale = DIGIT_PX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.HAMMING)
    pixels = np.asarray(small, np.float32)
    return np.clip(np.rint(pixels * (255 / pixels.max())), 0, 255).astype(np.uint8)


def centre(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place (h, w) uint8 ink of at most 20x20 on a (1, 28, 28) canvas by its centre of mass (LeCun et al. 1998)."""
    canvas = np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)
    corner = [
        min(max(round(CENTRE_PX - mass), 0), SIDE_PX - side)
        for mass, side in zip(centre_of_mass(ink), ink.shape, strict=True)
    ]
    canvas[0, corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return canvas


def extent(ink: NDArray[np.generic]) -> tuple[slice, slice]:
    """Return the rows and the columns that (h, w) uint8 or bool ink covers, or empty slices if it is all black."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def dilate(ink: NDArray[np.uint8] | NDArray[np.bool_], pen: NDArray[np.bool_]) -> NDArray[Any]:
    """Return (h, w) ink as it is when each of its pixels is drawn with a pen (n, n) (grey-level dilation)."""
    before, after = len(pen) // 2, (len(pen) - 1) // 2
    padded = np.pad(ink, (before, after))
    height, width = ink.shape
    parts = (padded[row : row + height, column : column + width] for row, column in np.argwhere(pen))
    return functools.reduce(np.maximum, parts)


def square(side: int) -> NDArray[np.bool_]:
    """Return a square pen."""
    return np.ones((side, side), np.bool_)


def disc(diameter: int) -> NDArray[np.bool_]:
    """Return a round pen."""
    radius = diameter // 2
    across = np.arange(diameter) - radius
    half = np.rint(np.sqrt((radius**2 - across**2).clip(0)))
    return np.abs(across) <= half[:, None]


def stroke_width(marks: NDArray[np.bool_]) -> float:
    """Estimate the mean width, in pixels, of the strokes in (h, w) marks from their area and outline."""
    solid = np.pad(marks, 1)
    area = np.count_nonzero(solid)
    outline = np.count_nonzero(solid[1:] != solid[:-1]) + np.count_nonzero(solid[:, 1:] != solid[:, :-1])
    # A slanted edge counts once in each row and column: on average 4 / pi times its length.
    return 2 * area / max(1.0, outline * np.pi / 4)


def two_levels(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float] | None:
    """Return the (h, w) contrast of a picture of two levels, where ink is positive, and the contrast of full ink.

    The background is the level with the larger shares of the border and of the whole. None: there is only one level.
    """
    bright = grey > threshold(grey)
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    bright_ground = border.mean() + bright.mean() > 1
    level = float(np.median(grey[bright == bright_ground]))
    contrast = (grey.astype(np.float32) - level) * (-1 if bright_ground else 1)
    full = float(np.percentile(contrast, 98))
    return (contrast, full) if full >= LEAST_CONTRAST else None


def threshold(grey: NDArray[np.uint8]) -> int:
    """Return the grey level that best parts darker from brighter ones (Otsu 1979)."""
    counts = np.bincount(grey.reshape(-1), minlength=256)
    darker, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    brighter = grey.size - darker
    # The variance between both classes, which have sums / darker and the rest of the sum / brighter as their means.
    between = (sums * grey.size - sums[-1] * darker) ** 2 / (darker * brighter).clip(1)
    return int(between.argmax())
