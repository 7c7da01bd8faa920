"""Pixels as the net reads them: 28x28, bright ink on dark, in MNIST's geometry."""

import functools
from typing import Any, NamedTuple

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

# MNIST's range of stroke widths, in pixels of the 20x20 box; others are brought into it.
THINNEST_STROKE_PX = 1.8
WIDEST_STROKE_PX = 3.6

ALL, STEPS = np.ones(SIDE_PX, np.float32), np.arange(SIDE_PX, dtype=np.float32)

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
    # The share 0..1 that it has of the ink of all digits in the picture.
    share: float = 1.0


def is_mnist(pixels: NDArray[np.uint8]) -> bool:
    """Return whether (28, 28) uint8 pixels have MNIST's geometry: black around a centred digit 20 pixels long."""
    levels = pixels.astype(np.float32)
    # The ink in each row, and in each column: few calls, as this is asked of each thumbnail.
    profiles = levels @ ALL, ALL @ levels
    inked = [np.flatnonzero(profile) for profile in profiles]
    if not len(inked[0]) or not DIGIT_PX - 1 <= 1 + max(int(where[-1] - where[0]) for where in inked) <= DIGIT_PX:
        return False
    # MNIST centred its digits to the nearest whole pixel.
    return all(abs(profile @ STEPS / (profile @ ALL) - CENTRE_PX) < 0.55 for profile in profiles)


def centre_of_mass(ink: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[float, float]:
    """Return the row and the column, in pixels, of the centre of mass of (h, w) ink that is not all black."""
    rows, columns = ink.sum(1, dtype=np.float64), ink.sum(0, dtype=np.float64)
    return rows @ np.arange(len(rows)) / rows.sum(), columns @ np.arange(len(columns)) / columns.sum()


def make_ink(pixels: NDArray[np.uint8]) -> Ink:
    """Return (28, 28) uint8 pixels as ink that the net reads unchanged."""
    return Ink(pixels[None], pixels, (0, 0, SIDE_PX, SIDE_PX))


def cut_out(levels: NDArray[np.uint8], chosen: NDArray[np.bool_], scale: float = 1.0) -> Ink:
    """Return the chosen marks in (h, w) uint8 levels of ink with their soft edge; one level is scale picture pixels."""
    rows, columns = extent(chosen)
    cropped = levels[rows, columns] * widen(chosen[rows, columns], 3)
    box = (columns.start * scale, rows.start * scale, columns.stop * scale, rows.stop * scale)
    return Ink(centre(fit(cropped)), cropped, box)


def fit(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale (h, w) uint8 ink, keeping its aspect ratio, until its longer side is 20 pixels.

    Strokes thinner or wider than MNIST's are widened or thinned first.
    """
    scale = DIGIT_PX / max(ink.shape)
    thickness = stroke_width(ink > 127) * scale
    varied = ink
    if thickness < THINNEST_STROKE_PX:
        side = 1 + round((THINNEST_STROKE_PX - thickness) / scale)
        varied = widen(frame(ink, 1 + side // 2), side)
    elif thickness > WIDEST_STROKE_PX:
        varied = thin(frame(ink, 1), 1 + round((thickness - WIDEST_STROKE_PX) / scale))
    if varied.any():
        ink = varied[extent(varied)]
    scale = DIGIT_PX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.HAMMING)
    pixels = np.asarray(small, np.float32)
    return np.rint(pixels * (255 / pixels.max())).astype(np.uint8)


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


def frame(ink: NDArray[np.uint8] | NDArray[np.bool_], width: int) -> NDArray[Any]:
    """Return (h, w) ink with so many black pixels around it; np.pad takes ten times as long."""
    framed = np.zeros([side + 2 * width for side in ink.shape], ink.dtype)
    framed[width : width + len(ink), width : width + ink.shape[1]] = ink
    return framed


def slide(join: np.ufunc, rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Return every so many successive rows of (h, w) numbers joined, such as added: (h - count + 1, w)."""
    if count == 1:
        return rows
    half = slide(join, rows, count // 2)
    pairs = join(half[: -(count // 2)], half[count // 2 :])
    return join(pairs[:-1], rows[count - 1 :]) if count % 2 else pairs


def widen(ink: NDArray[np.uint8] | NDArray[np.bool_], side: int) -> NDArray[Any]:
    """Return (h, w) ink as it is when each of its pixels is drawn with a square pen (grey-level dilation)."""
    widened = frame(ink, side // 2)
    for _ in range(2):
        widened = slide(np.maximum, widened, side).T
    return widened[: len(ink), : ink.shape[1]]


def thin(ink: NDArray[np.uint8], diameter: int) -> NDArray[np.uint8]:
    """Return (h, w) ink without what a round pen draws of it from outside (grey-level erosion)."""
    radius = diameter // 2
    across = np.arange(diameter) - radius
    half = np.rint(np.sqrt((radius**2 - across**2).clip(0)))
    paper = frame(255 - ink, radius)
    parts = (paper[y : y + len(ink), x : x + ink.shape[1]] for y, x in np.argwhere(np.abs(across) <= half[:, None]))
    return 255 - functools.reduce(np.maximum, parts)


def stroke_width(marks: NDArray[np.bool_]) -> float:
    """Estimate the mean width, in pixels, of the strokes in (h, w) marks from their area and outline."""
    solid = frame(marks, 1)
    area = np.count_nonzero(solid)
    outline = np.count_nonzero(solid[1:] != solid[:-1]) + np.count_nonzero(solid[:, 1:] != solid[:, :-1])
    # A slanted edge counts once in each row and column: on average 4 / pi times its length.
    return 2 * area / max(1.0, outline * np.pi / 4)
