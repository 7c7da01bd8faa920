"""The paper of a sheet: its surface and its ruling."""

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.sheets.ink import FINE, Field, Shape, log_uniform, make_fine, reduce, smooth_field


def texture(paper: str, shape: Shape, chance: Generator) -> Field:
    """Return the reflectance of a surface: grain and folds of paper, the weave of cloth, the grain of wood."""
    surface = np.full(shape, 1.0, np.float32)
    longer = max(shape)
    for nodes in (longer, longer // 3, 8):
        surface += math.exp(chance.uniform(-6.5, -3.2)) * smooth_field(shape, max(2, nodes), chance)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    angle = chance.uniform(0, math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    if paper == "cloth":
        period = chance.uniform(2.2, 9)
        weave = np.sin(along * (6.28 / period)) + np.sin(across * (6.28 / period))
        surface += chance.uniform(0.02, 0.1) * weave * (1 + 0.5 * smooth_field(shape, 12, chance))
    elif paper == "wood":
        rings = across / chance.uniform(2, 8) + 2 * smooth_field(shape, 4, chance)
        surface += chance.uniform(0.03, 0.16) * np.sin(rings + 0.02 * along)
        surface += chance.uniform(0.0, 0.08) * smooth_field(shape, 60, chance)
    if chance.random() < 0.2:
        for _ in range(int(chance.integers(1, 4))):
            # A fold is brighter on one side than on the other, and often a thin line.
            angle, where = chance.uniform(0, math.pi), chance.uniform(0.1, 0.9) * longer
            offset = (x * math.cos(angle) + y * math.sin(angle)) - where
            sides = chance.normal(0, 0.08) * np.tanh(offset / chance.uniform(1, 6))
            surface += sides * np.exp(-np.abs(offset) / (0.3 * longer))
            surface -= chance.uniform(0, 0.25) * np.exp(-((offset / chance.uniform(0.6, 1.6)) ** 2))
    return np.asarray(surface, np.float32)


def ruling(kind: str, shape: Shape, chance: Generator) -> Field:
    """Return the printed lines or dots of paper in perspective, as (h, w) ink."""
    shorter = min(shape)
    spacing = log_uniform(0.04, 0.4, chance) * shorter
    if kind == "dotted":
        spacing = chance.uniform(0.04, 0.15) * shorter
    reach = 0.85 * math.hypot(*shape)
    count = max(1, int(reach / spacing))
    places = (np.arange(-count, count + 1) + chance.uniform(0, 1)) * spacing
    angle = math.radians(chance.normal(0, 6) + 90 * chance.integers(0, 2) if kind == "ruled" else chance.normal(0, 6))
    if chance.random() < 0.12:
        angle += chance.uniform(-0.8, 0.8)
    tilt, bend = chance.normal(0, 0.12, 2) / shorter, chance.normal(0, 0.04) / shorter
    along = np.linspace(-reach, reach, 9)
    middle = np.array(shape[::-1]) / 2

    def to_sheet(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bend, turn and tilt points of the paper into the sheet's pixels."""
        y = y + bend * x * x
        turned = np.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], -1)
        depth = np.maximum(0.3, 1 + turned @ tilt)
        return turned / depth[..., None] + middle

    fine = make_fine(shape)
    if kind == "dotted":
        x, y = np.meshgrid(places, places)
        radius = chance.uniform(0.5, 1.6) * FINE
        for point in to_sheet(x, y).reshape(-1, 2) * FINE * 16:
            if np.all(np.abs(point) < 30000):
                cv2.circle(fine, np.rint(point).astype(int).tolist(), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
        return reduce(fine, shape)
    x, y = np.meshgrid(along, places)
    sets = [to_sheet(x, y)]
    if kind in ("squared", "school"):
        sets.append(to_sheet(y, x))
    thickness = int(chance.integers(1, 4))
    level = 255 if chance.random() < 0.4 else int(chance.integers(110, 255))
    for lines in sets:
        draw(fine, lines, level, thickness)
    if kind == "school":
        # Fine lines between the strong ones, in one direction or both.
        parts = int(chance.integers(2, 6))
        finer = (np.arange(-count * parts, count * parts + 1) / parts) * spacing + places[0] % spacing
        x, y = np.meshgrid(along, finer)
        for lines in [to_sheet(x, y), to_sheet(y, x)][: int(chance.integers(1, 3))]:
            thin = np.zeros_like(fine)
            draw(thin, lines, int(level * chance.uniform(0.3, 0.8)), 1)
            np.maximum(fine, thin, out=fine)
    if kind == "ruled" and chance.random() < 0.4:
        margin = np.array([chance.uniform(-0.45, 0.45) * shape[1]])
        x, y = np.meshgrid(along, margin)
        draw(fine, to_sheet(y, x), level, thickness)
    return reduce(fine, shape)


def draw(fine: NDArray[np.uint8], lines: NDArray[np.float64], level: int, thickness: int) -> None:
    """Draw (n, m, 2) lines of m points, in the sheet's pixels, into fine ink."""
    points = np.rint(np.clip(lines * FINE * 16, -500_000, 500_000)).astype(np.int32)
    cv2.polylines(fine, list(points), isClosed=False, color=level, thickness=thickness, lineType=cv2.LINE_AA, shift=4)
