"""MNIST digits on a page, and what makes a page hard to read: each a picture file that somebody could send.

Ink is (280, 280) float32 0..1: a page is white-ish paper, the digit dark and about 200 points high.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluate.pictures import png

PAGE_PX = 280
PAPER, PEN = 245, 40
# The height of MNIST's digits, 20 of 28 pixels, as a share of the page's.
USUAL_PERCENT = 100 * 20 / 28
# Where the smooth enlargement of uint8 pixels has the edge of a stroke, and how soft the edge is.
EDGE, EDGE_SOFTNESS = 110, 12
SEED = 20_241_001

Ink = NDArray[np.float32]
Page = NDArray[np.uint8]


@dataclass(frozen=True)
class Hardship:
    """One way to make a page hard to read, at several levels of a unit; harm makes the file."""

    title: str
    unit: str
    levels: tuple[int, ...]
    harm: Callable[[Ink, int, np.random.Generator], bytes]


def enlarge(pixels: NDArray[np.uint8]) -> Ink:
    """Return (28, 28) pixels as smooth ink of a page's size."""
    smooth = cv2.resize(pixels.astype(np.float32), (PAGE_PX, PAGE_PX), interpolation=cv2.INTER_CUBIC)
    return (1 / (1 + np.exp((EDGE - smooth) / EDGE_SOFTNESS))).astype(np.float32)


def write(ink: Ink) -> Page:
    """Return the page (280, 280) in uint8 grey levels with dark ink on its paper."""
    return np.rint(PAPER + (PEN - PAPER) * ink.clip(0, 1)).astype(np.uint8)


def move(ink: Ink, degrees: float, scale: float) -> Ink:
    """Turn ink to the left and scale it, both about the middle."""
    middle = (PAGE_PX - 1) / 2
    if scale < 1:
        # Smooth first what the sampling would skip.
        ink = soften(ink, 0.4 / scale)
    moved = cv2.warpAffine(ink, cv2.getRotationMatrix2D((middle, middle), degrees, scale), ink.shape[::-1])
    return moved.astype(np.float32)


def soften(ink: Ink, deviation_px: float) -> Ink:
    """Blur ink with a Gaussian of a standard deviation in points of the page."""
    return cv2.GaussianBlur(ink, (0, 0), deviation_px).astype(np.float32)


def turn(ink: Ink, degrees: int, _generator: np.random.Generator) -> bytes:
    """Turn the digit to the left by degrees."""
    return png(write(move(ink, degrees, 1)))


def resize(ink: Ink, percent: int, _generator: np.random.Generator) -> bytes:
    """Make the digit as high as percent of the page."""
    return png(write(move(ink, 0, percent / USUAL_PERCENT)))


def redraw(ink: Ink, width_px: int, _generator: np.random.Generator) -> bytes:
    """Write the digit anew along its centre line with a pen of a width in points of the page."""
    half = cv2.resize(ink, (PAGE_PX // 2, PAGE_PX // 2), interpolation=cv2.INTER_AREA)
    away = cv2.distanceTransform((~thin(half > 0.5)).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = 2 * cv2.resize(away, (PAGE_PX, PAGE_PX), interpolation=cv2.INTER_LINEAR)
    return png(write(width_px / 2 + 0.5 - distance))


def thin(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the centre line of (h, w) strokes, one point wide (Zhang & Suen 1984)."""
    line = np.pad(solid, 1)
    changed = True
    while changed:
        changed = False
        for step in (0, 1):
            north, south, west, east = line[:-2, 1:-1], line[2:, 1:-1], line[1:-1, :-2], line[1:-1, 2:]
            ring = (north, line[:-2, 2:], east, line[2:, 2:], south, line[2:, :-2], west, line[:-2, :-2])
            near = sum(point.astype(np.int8) for point in ring)
            starts = sum((~a & b).astype(np.int8) for a, b in zip(ring, (*ring[1:], ring[0]), strict=True))
            # First points to the south and east go, then those to the north and west.
            inner = north & west & (east | south) if step else east & south & (north | west)
            drop = line[1:-1, 1:-1] & (near >= 2) & (near <= 6) & (starts == 1) & ~inner
            if drop.any():
                line[1:-1, 1:-1] &= ~drop
                changed = True
    return line[1:-1, 1:-1]


def add_noise(ink: Ink, deviation: int, generator: np.random.Generator) -> bytes:
    """Add Gaussian noise of a standard deviation in grey levels."""
    noisy = write(ink) + deviation * generator.standard_normal(ink.shape, np.float32)
    return png(np.rint(noisy.clip(0, 255)).astype(np.uint8))


def compress(ink: Ink, quality: int, _generator: np.random.Generator) -> bytes:
    """Save the page as a JPEG file of a quality 1..100."""
    file = io.BytesIO()
    Image.fromarray(write(ink)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def blur(ink: Ink, deviation_px: int, _generator: np.random.Generator) -> bytes:
    """Put the page out of focus: a Gaussian of a standard deviation in points of the page."""
    return png(write(soften(ink, deviation_px) if deviation_px else ink))


HARDSHIPS = (
    Hardship("Rotation", "degrees, to the left positive", (-60, -40, -20, 0, 20, 40, 60), turn),
    Hardship("Size", "height of the digit, % of the page", (4, 7, 10, 20, 40, 70, 95), resize),
    Hardship("Stroke width", "pen, points of a digit 200 points high", (3, 6, 12, 20, 35, 50, 65), redraw),
    Hardship("Noise", "standard deviation, grey levels of 255", (0, 20, 40, 60, 80, 100, 120), add_noise),
    Hardship("JPEG", "quality of the file", (90, 50, 20, 10, 5, 2, 1), compress),
    Hardship("Blur", "standard deviation, points of 280", (0, 4, 8, 12, 16, 20, 24), blur),
)


def make_uploads(hardship: Hardship, level: int, pixels: NDArray[np.uint8]) -> list[bytes]:
    """Return one file for each of (N, 28, 28) uint8 pixels, the same ones each time."""
    generator = np.random.default_rng(SEED)
    return [hardship.harm(enlarge(digit), level, generator) for digit in pixels]
