"""Sheets with a handwritten digit, as photographed, scanned or drawn, and the digit's ink on each."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset

from train.sheets.ink import Field, Shape, draw_lines, log_uniform, make_fine, reduce, smooth_field
from train.sheets.layout import NOT_ONE_DIGIT, Layout, make_layout, seen_share
from train.sheets.light import add_flash, compress, illuminate, soften
from train.sheets.paper import ruling, texture
from train.sheets.surroundings import frame, neighbours, specks, surround
from train.strokes import Sample

# A digit of which less than this share lies on the sheet is none.
LEAST_SEEN = 0.85
# The least and the greatest darkness of each pen's ink.
DARKNESS = {"ballpoint": (0.3, 0.95), "pencil": (0.1, 0.6), "marker": (0.5, 0.98), "crayon": (0.3, 0.9)}


class Sheet(NamedTuple):
    """A sheet (h, w), the ink on it, and how it was made."""

    grey: NDArray[np.uint8]
    # 0 to 1; that of a scribble or of both digits where the sheet has those.
    ink: Field
    # 0 to 9, NOT_ONE_DIGIT or UNKNOWN.
    digit: int
    paper: str
    pen: str
    light: str


class RandomSheets(Dataset[Sheet]):
    """Random sheets; each depends on the seed and its number alone."""

    def __init__(self, samples: list[Sample], count: int, seed: int) -> None:
        self.samples, self.count, self.seed = samples, count, seed

    def __len__(self) -> int:
        """Return how many sheets there are."""
        return self.count

    def __getitem__(self, number: int) -> Sheet:
        """Make the sheet of a number."""
        return make_sheet(self.samples, np.random.default_rng((self.seed, number)))


def make_sheet(samples: list[Sample], chance: Generator) -> Sheet:
    """Return a random sheet with the digit of a random sample; some have none, or two, or a scribble."""
    layout = make_layout(samples, chance)
    ink = draw_lines(layout.lines, layout.shape, layout.stroke_px, chance, layout.pen)
    target = draw_lines(layout.lines, layout.shape, layout.target_px)
    digit = layout.digit
    if target.max() < 0.5 or seen_share(layout.lines, layout.shape) < LEAST_SEEN:
        digit = min(digit, NOT_ONE_DIGIT)
    if not len(layout.lines) and chance.random() < 0.5:
        grey = fill_sheet(layout.shape, chance)
    elif layout.paper == "drawing":
        grey = draw_sheet(layout, ink, target, chance)
    else:
        grey = photograph(layout, ink, samples, chance)
    grey, target = put_in_picture(grey, target, chance)
    pixels = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return Sheet(pixels, target, digit, layout.paper, layout.pen, layout.light)


def draw_sheet(layout: Layout, ink: Field, target: Field, chance: Generator) -> Field:
    """Return a drawing: ink of one level on another, with or without soft edges, a frame, lines, specks or noise."""
    shape = layout.shape
    if chance.random() < 0.5 and len(layout.lines):
        ink = draw_lines(layout.lines, shape, layout.stroke_px)
    if chance.random() < 0.35:
        ink = (ink > 0.4).astype(np.float32)
    if chance.random() < 0.55:
        ground, level = 1.0, chance.choice([0.0, chance.uniform(0, 0.6)])
    else:
        ground, level = chance.random(2)
        if abs(ground - level) < 0.12:
            level = ground + 0.3 if ground < 0.5 else ground - 0.3
    grey = np.full(shape, ground, np.float32)
    if chance.random() < 0.12:
        lines = ruling(str(chance.choice(["ruled", "squared", "dotted"])), shape, chance)
        grey += (level - ground) * chance.uniform(0.05, 0.9) * lines
    if chance.random() < 0.16:
        grey += (level - ground) * chance.uniform(0.3, 1) * frame(shape, chance)
    if chance.random() < 0.06:
        grey += (level - ground) * specks(target, chance)
    grey += (level - grey) * ink
    if chance.random() < 0.25:
        grey = soften(grey, chance)
    if chance.random() < 0.3:
        grey += chance.normal(0, math.exp(chance.uniform(-5.5, -2.2)), shape).astype(np.float32)
    if chance.random() < 0.3:
        grey = compress(grey, chance)
    return 1 - grey if chance.random() < 0.35 else grey


def photograph(layout: Layout, ink: Field, samples: list[Sample], chance: Generator) -> Field:
    """Return a sheet of paper as a camera or a scanner sees it."""
    shape = layout.shape
    grey = texture(layout.paper, shape, chance)
    darkness = chance.uniform(*DARKNESS[layout.pen])
    if layout.paper in ("ruled", "squared", "school", "dotted"):
        rules = ruling(layout.paper, shape, chance)
        grey *= 1 - rules * min(0.95, darkness * log_uniform(0.12, 1.3, chance))
    others = neighbours(layout, samples, chance)
    if others is not None:
        grey *= 1 - others * darkness * chance.uniform(0.6, 1.05)
    if chance.random() < 0.12:
        grey *= 1 - specks(ink, chance) * chance.uniform(0.2, 0.9)
    if chance.random() < 0.14:
        grey *= 1 - frame(shape, chance) * chance.uniform(0.2, 0.9)
    grey *= 1 - ink * darkness
    if chance.random() < 0.45:
        grey = surround(grey, layout, chance)
    grey *= illuminate(layout.light, shape, chance)
    if layout.light == "flash":
        grey = add_flash(grey, chance)
    grey = soften(grey, chance) if chance.random() < 0.7 else grey
    low, high = chance.uniform(0, 0.15), chance.uniform(0.55, 1.05)
    grey = low + (high - low) * np.clip(grey, 0, 1.2) ** math.exp(chance.normal(0, 0.25))
    if chance.random() < 0.7:
        # At most so much that a person still sees the ink.
        deviation = min(math.exp(chance.uniform(-6, -2.8)), 0.4 * darkness * (high - low))
        grey = grey + chance.normal(0, deviation, shape).astype(np.float32)
    if chance.random() < 0.3:
        grey = compress(grey, chance)
    return 1 - grey if chance.random() < 0.12 else grey


def fill_sheet(shape: Shape, chance: Generator) -> Field:
    """Return a sheet without writing: clouds, grain, or filled shapes too broad for any pen."""
    grey = np.full(shape, chance.uniform(0.1, 0.9), np.float32)
    kind = chance.random()
    if kind < 0.55:
        nodes = max(2, int(log_uniform(3, max(shape), chance)))
        grey += chance.uniform(0.05, 0.5) * smooth_field(shape, nodes, chance)
    if kind > 0.35:
        shapes = polygons(shape, chance)
        shade = 1 + chance.uniform(0, 0.4) * smooth_field(shape, int(chance.integers(2, 20)), chance)
        grey += shapes * (chance.uniform(0, 1) - grey) * shade
    grey = soften(grey, chance) if chance.random() < 0.4 else grey
    if chance.random() < 0.5:
        grey = grey + chance.normal(0, math.exp(chance.uniform(-5, -1)), shape).astype(np.float32)
    return grey


def polygons(shape: Shape, chance: Generator) -> Field:
    """Return one to three filled polygons, each far from its middle on every side."""
    fine = make_fine(shape)
    for _ in range(int(chance.integers(1, 4))):
        corners = int(chance.integers(3, 12))
        steps = chance.uniform(0, 2 * math.pi / corners, corners)
        angles = np.sort(steps + np.arange(corners) * 2 * math.pi / corners)
        reach = chance.uniform(0.25, 0.5, corners) * min(fine.shape)
        centre = chance.uniform(0.3, 0.7, 2) * fine.shape[::-1]
        points = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
        cv2.fillPoly(fine, [np.rint(points).astype(np.int32)], int(chance.integers(80, 256)), cv2.LINE_AA)
    return reduce(fine, shape)


def put_in_picture(grey: Field, ink: Field, chance: Generator) -> tuple[Field, Field]:
    """Return a sheet and its ink in a larger picture: a screenshot with bars, or a photo on another ground."""
    if chance.random() > 0.06:
        return grey, ink
    widest = [[max(2, side // 4)] * 2 for side in grey.shape]
    bars = chance.integers(0, widest).tolist()
    level = float(chance.choice([0.0, 1.0, chance.uniform(0, 1)]))
    return np.pad(grey, bars, constant_values=level), np.pad(ink, bars)
