"""Ink on a sheet: how lines are drawn with a pen, and the fine ink that everything else is drawn in.

Ink is the share 0..1 of each pixel that a pen covers, brightness 0 (black) to 1; both are float32. Shapes are
(height, width) in pixels, points (x, y).
"""

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.strokes import Lines

Field = NDArray[np.float32]
Shape = tuple[int, int]

# Ink is drawn in twice the sheet's resolution and then averaged.
FINE = 2


def make_fine(shape: Shape) -> NDArray[np.uint8]:
    """Return fine ink for a sheet of a shape, without any so far."""
    return np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)


def reduce(fine: NDArray[np.uint8], shape: Shape) -> Field:
    """Return fine ink 0..255 in the sheet's resolution as 0..1."""
    levels = cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(levels, np.float32) / np.float32(255)


def smooth_field(shape: Shape, nodes: int, chance: Generator) -> Field:
    """Return smooth random numbers of about -1..1 through a grid of nodes along the longer side."""
    longer = max(shape)
    grid = (max(2, round(nodes * shape[0] / longer)), max(2, round(nodes * shape[1] / longer)))
    coarse = chance.uniform(-1, 1, grid).astype(np.float32)
    interpolation = cv2.INTER_CUBIC if nodes < 40 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=interpolation), np.float32)


def log_uniform(low: float, high: float, chance: Generator) -> float:
    """Return a random number between low and high whose logarithm is uniform."""
    return math.exp(chance.uniform(math.log(low), math.log(high)))


def draw_lines(lines: Lines, shape: Shape, width: float, chance: Generator | None = None, pen: str = "") -> Field:
    """Draw lines with a pen of a width in pixels: (h, w) ink. With chance, the strokes are as uneven as the pen's."""
    height, breadth = shape[0] * FINE, shape[1] * FINE
    skeleton = np.full((height, breadth), 255, np.uint8)
    points = np.clip(lines * FINE * 16, -30000, 30000)
    cv2.polylines(skeleton, list(np.rint(points).astype(np.int32)), isClosed=False, color=0, shift=4)
    if not len(lines) or skeleton.all():
        return np.zeros(shape, np.float32)
    distance = cv2.distanceTransform(skeleton, cv2.DIST_L2, cv2.DIST_MASK_5)
    radius: float | Field = width * FINE / 2
    if chance is not None and chance.random() < 0.5:
        radius = radius * (1 + chance.uniform(0.05, 0.3) * smooth_field((height, breadth), 12, chance))
    ink = np.clip(radius - distance + 0.5, 0, 1)
    if chance is not None:
        if pen in ("pencil", "crayon") and chance.random() < 0.7:
            grain = smooth_field((height, breadth), int(min(height, breadth) / chance.uniform(2, 5)), chance)
            ink *= np.clip(1 + chance.uniform(0.2, 1.0) * (grain - 0.2), 0, 1)
        if chance.random() < (0.35 if pen == "pencil" else 0.15):
            # Pressed unevenly, down to strokes that break.
            press = smooth_field((height, breadth), int(chance.integers(4, 14)), chance)
            ink *= np.clip(1 + chance.uniform(0.3, 1.4) * np.minimum(press, 0), 0.05, 1)
    return np.asarray(cv2.resize(ink.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
