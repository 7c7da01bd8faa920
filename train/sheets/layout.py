"""The layout of a sheet: the place, the size and the pen of its digit."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.sheets.ink import Shape, log_uniform
from train.strokes import Lines, Sample

# The labels of a sheet with no digit, or more than one, and of a sheet on which there might be one.
NOT_ONE_DIGIT, UNKNOWN = -1, -2
CURVE_POINTS = 11
# The shares of sheets without a digit, with two, and with a scribble.
NOTHING_SHARE, PAIRS_SHARE, CURVES_SHARE = 0.07, 0.04, 0.04

PAPERS = ("plain", "ruled", "squared", "school", "dotted", "cloth", "wood", "drawing")
PENS = ("ballpoint", "pencil", "marker", "crayon")
LIGHTS = ("even", "gradient", "shadow", "flash")
# The least and the greatest width of each pen's strokes, as shares of the digit's height.
WIDTHS = {"ballpoint": (0.01, 0.07), "pencil": (0.012, 0.07), "marker": (0.06, 0.25), "crayon": (0.06, 0.2)}
# Strokes thinner than this share of the digit's height, and than this share of the sheet, are widened in the target, so
# that they stay connected in the net's mask.
LEAST_TARGET_SHARE, LEAST_TARGET_SHEET_SHARE = 0.09, 0.016


@dataclass(frozen=True)
class Layout:
    """Everything that is chosen before a sheet is drawn."""

    shape: Shape
    paper: str
    pen: str
    light: str
    # 0 to 9, NOT_ONE_DIGIT or UNKNOWN.
    digit: int
    # In the sheet's pixels; none if nothing is written.
    lines: Lines
    stroke_px: float
    # In the ink that the net is to find.
    target_px: float

    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The upper left and the lower right corner (x, y) of the lines, or the middle of a sheet without any."""
        if not len(self.lines):
            middle = np.array(self.shape[::-1]) / 2
            return middle - 1, middle + 1
        points = self.lines.reshape(-1, 2).astype(np.float64)
        return points.min(0), points.max(0)


def make_layout(samples: list[Sample], chance: Generator) -> Layout:
    """Return a random layout with the digit of a random sample; some have none, or two, or a scribble."""
    shape = choose_shape(chance)
    paper = str(chance.choice(PAPERS, p=(0.2, 0.14, 0.12, 0.1, 0.04, 0.06, 0.06, 0.28)))
    pen = str(chance.choice(PENS, p=(0.4, 0.22, 0.28, 0.1)))
    light = "even" if paper == "drawing" else str(chance.choice(LIGHTS, p=(0.3, 0.3, 0.25, 0.15)))
    digit, lines, height = place_digit(samples, shape, chance)
    stroke = max(0.6, log_uniform(*WIDTHS[pen], chance) * height)
    least = min(LEAST_TARGET_SHARE * height, LEAST_TARGET_SHEET_SHARE * max(shape))
    return Layout(shape, paper, pen, light, digit, lines, stroke, max(least, stroke))


def choose_shape(chance: Generator) -> Shape:
    """Return the height and width of a sheet in pixels: mostly close to the size of the net's input."""
    kind = chance.random()
    longer = chance.uniform(*((150, 200) if kind < 0.6 else (90, 160) if kind < 0.85 else (44, 90)))
    aspect = 1.0 if chance.random() < 0.3 else math.exp(chance.uniform(0, 0.65))
    if chance.random() < 0.04:
        aspect = math.exp(chance.uniform(0.6, 1.2))
    sides = max(20, round(longer / aspect)), round(longer)
    return sides if chance.random() < 0.5 else (sides[1], sides[0])


def place_digit(samples: list[Sample], shape: Shape, chance: Generator) -> tuple[int, Lines, float]:
    """Return the digit on a sheet, its lines in the sheet's pixels, and its height; no lines if there is none."""
    kind = chance.random()
    if kind < NOTHING_SHARE:
        return NOT_ONE_DIGIT, np.zeros((0, 2, 2), np.float32), 0.3 * min(shape)
    height = choose_height(min(shape), chance)
    sample = pick(samples, chance)
    digit, lines = sample.digit, vary(sample.lines, chance)
    if kind < NOTHING_SHARE + PAIRS_SHARE:
        digit, lines = NOT_ONE_DIGIT, pair(lines, pick(samples, chance), chance)
    elif kind < NOTHING_SHARE + PAIRS_SHARE + CURVES_SHARE:
        lines = scribble(chance)
        # One or two curves may well look like a digit.
        digit = UNKNOWN if len(lines) < 3 * CURVE_POINTS else NOT_ONE_DIGIT
    return digit, place(lines * height, shape, chance), height


def choose_height(shorter: int, chance: Generator) -> float:
    """Return the height of a digit in pixels, for a sheet with a shorter side of so many."""
    spread = chance.random()
    if spread < 0.45:
        height = chance.uniform(0.35, 0.95) * shorter
    elif spread < 0.87:
        height = log_uniform(0.09, 0.6, chance) * shorter
    else:
        height = chance.uniform(0.85, 1.12) * shorter
    return max(height, 9.0)


def place(lines: Lines, shape: Shape, chance: Generator) -> Lines:
    """Move lines to where they are written on a sheet, mostly about its middle; a few lie partly beyond its rims."""
    points = lines.reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    room = np.array(shape[::-1]) - (high - low)
    where = np.clip(chance.normal(0.5, 0.22, 2), 0, 1)
    if chance.random() < 0.06:
        where = where + chance.normal(0, 0.35, 2)
    # What is larger than the sheet lies over its rims.
    corner = np.where(room > 4, 2 + where * (room - 4), room * chance.uniform(0.3, 0.7, 2))
    return (lines + (corner - low)).astype(np.float32)


def pair(lines: Lines, sample: Sample, chance: Generator) -> Lines:
    """Return lines with those of another sample on their right."""
    apart = chance.uniform(0.55, 0.9)
    other = vary(sample.lines, chance)
    right = np.array([apart / 2, chance.normal(0, 0.06)])
    return np.concatenate([lines - np.array([apart / 2, 0]), other + right])


def pick(samples: list[Sample], chance: Generator) -> Sample:
    """Return a random sample."""
    return samples[int(chance.integers(len(samples)))]


def vary(lines: Lines, chance: Generator) -> Lines:
    """Turn, shear, squeeze and bend lines as another writer might have written them."""
    wild = chance.random() < 0.15
    angle = math.radians(chance.normal(0, 18 if wild else 7))
    shear = chance.normal(0, 0.3 if wild else 0.12)
    aspect = math.exp(chance.normal(0, 0.25 if wild else 0.12))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = lines.reshape(-1, 2) @ (turn @ np.array([[aspect, shear], [0, 1 / aspect]])).T
    bent = points.copy()
    for _ in range(2):
        wave, reach = chance.normal(0, 4, (2, 2)), chance.normal(0, 0.025, (2, 2))
        bent += np.sin(points @ wave + chance.uniform(0, 6.3, 2)) @ reach
    return bent.reshape(-1, 2, 2).astype(np.float32)


def scribble(chance: Generator) -> Lines:
    """Return one to five random curves."""
    pieces = []
    start = chance.uniform(-0.5, 0.5, 2)
    for _ in range(int(chance.integers(1, 6))):
        middle, end = chance.uniform(-0.5, 0.5, (2, 2))
        t = np.linspace(0, 1, CURVE_POINTS + 1)[:, None]
        points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t * t * end
        pieces.append(np.stack([points[:-1], points[1:]], 1))
        start = end if chance.random() < 0.75 else chance.uniform(-0.5, 0.5, 2)
    return np.concatenate(pieces).astype(np.float32)


def seen_share(lines: Lines, shape: Shape) -> float:
    """Return the share of lines that lie on the sheet."""
    if not len(lines):
        return 0.0
    middles = lines.mean(1)
    lengths = np.linalg.norm(lines[:, 0] - lines[:, 1], axis=1) + 1e-6
    inside = np.all((middles >= 0) & (middles < np.array(shape[::-1])), 1)
    return float((lengths * inside).sum() / lengths.sum())
