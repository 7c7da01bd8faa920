"""MNIST digits on a sheet, corrupted in several ways at several severities (Hendrycks & Dietterich 2019), as files.

Ink is (280, 280) float32, 0..1. A sheet is off-white paper with a dark digit about 200 pixels high.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.morphology import skeletonize

from evaluate.pictures import png

SHEET_PX = 280
PAPER, PEN = 245, 40
# The height of MNIST's digits, 20 of 28 pixels, as a percentage of the sheet's.
USUAL_PERCENT = 100 * 20 / 28
# The grey level of enlarged pixels at which a stroke ends, and how many levels its soft edge takes.
EDGE, EDGE_SOFTNESS = 110, 12
SEED = 20_241_001

Ink = NDArray[np.float32]


@dataclass(frozen=True)
class Corruption:
    """One way to make a sheet hard to read, at several severities in a unit; apply makes the picture file."""

    title: str
    unit: str
    severities: tuple[int, ...]
    apply: Callable[[Ink, int, np.random.Generator], bytes]


def enlarge(pixels: NDArray[np.uint8]) -> Ink:
    """Return (28, 28) uint8 pixels as smooth ink of a sheet's size."""
    smooth = cv2.resize(pixels.astype(np.float32), (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_CUBIC)
    return (1 / (1 + np.exp((EDGE - smooth) / EDGE_SOFTNESS))).astype(np.float32)


def write(ink: Ink) -> NDArray[np.uint8]:
    """Return a sheet (280, 280), uint8 grey levels, with dark ink on its paper."""
    return np.rint(PAPER + (PEN - PAPER) * ink.clip(0, 1)).astype(np.uint8)


def move(ink: Ink, degrees: float, scale: float) -> Ink:
    """Turn ink counterclockwise and scale it, both about the middle."""
    middle = (SHEET_PX - 1) / 2
    if scale < 1:
        # Smooth first, or the sampling would skip thin strokes.
        ink = soften(ink, 0.4 / scale)
    moved = cv2.warpAffine(ink, cv2.getRotationMatrix2D((middle, middle), degrees, scale), ink.shape[::-1])
    return moved.astype(np.float32)


def soften(ink: Ink, deviation_px: float) -> Ink:
    """Blur ink with a Gaussian of a standard deviation in pixels of the sheet."""
    return cv2.GaussianBlur(ink, (0, 0), deviation_px).astype(np.float32)


def turn(ink: Ink, degrees: int, _generator: np.random.Generator) -> bytes:
    """Turn the digit counterclockwise by degrees."""
    return png(write(move(ink, degrees, 1)))


def resize(ink: Ink, percent: int, _generator: np.random.Generator) -> bytes:
    """Make the digit as high as percent of the sheet."""
    return png(write(move(ink, 0, percent / USUAL_PERCENT)))


def redraw(ink: Ink, width_px: int, _generator: np.random.Generator) -> bytes:
    """Redraw the digit along its centre line with a pen of a width in pixels of the sheet."""
    half = cv2.resize(ink, (SHEET_PX // 2, SHEET_PX // 2), interpolation=cv2.INTER_AREA)
    away = cv2.distanceTransform((~skeletonize(half > 0.5)).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = 2 * cv2.resize(away, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_LINEAR)
    return png(write(width_px / 2 + 0.5 - distance))


def add_noise(ink: Ink, deviation: int, generator: np.random.Generator) -> bytes:
    """Add Gaussian noise of a standard deviation in grey levels."""
    noisy = write(ink) + deviation * generator.standard_normal(ink.shape, np.float32)
    return png(np.rint(noisy.clip(0, 255)).astype(np.uint8))


def compress(ink: Ink, quality: int, _generator: np.random.Generator) -> bytes:
    """Save the sheet as a JPEG file of a quality of 1..100."""
    file = io.BytesIO()
    Image.fromarray(write(ink)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def blur(ink: Ink, deviation_px: int, _generator: np.random.Generator) -> bytes:
    """Put the sheet out of focus, with a Gaussian of a standard deviation in pixels of the sheet."""
    return png(write(soften(ink, deviation_px) if deviation_px else ink))


CORRUPTIONS = (
    Corruption("Rotation", "degrees, counterclockwise", (-60, -40, -20, 0, 20, 40, 60), turn),
    Corruption("Size", "height of the digit, % of the sheet", (4, 7, 10, 20, 40, 70, 95), resize),
    Corruption("Stroke width", "pen, pixels of a digit 200 pixels high", (3, 6, 12, 20, 35, 50, 65), redraw),
    Corruption("Noise", "standard deviation, grey levels of 255", (0, 20, 40, 60, 80, 100, 120), add_noise),
    Corruption("JPEG", "quality of the file", (90, 50, 20, 10, 5, 2, 1), compress),
    Corruption("Blur", "standard deviation, pixels of 280", (0, 4, 8, 12, 16, 20, 24), blur),
)


def make_uploads(corruption: Corruption, severity: int, pixels: NDArray[np.uint8]) -> list[bytes]:
    """Return one file for each of (N, 28, 28) uint8 pixels, the same ones each time."""
    generator = np.random.default_rng(SEED)
    return [corruption.apply(enlarge(digit), severity, generator) for digit in pixels]
