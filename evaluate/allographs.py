"""Digits by allograph: pen strokes of writers that training never saw, and forms of the catalogue built anew."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluate.pictures import PictureSet, png
from evaluate.predictions import Result, find_correct
from train.allographs import build_samples
from train.samples import group, split_writers
from train.sheets.ink import draw_lines
from train.strokes import SEMEION, SEMEION_BLOCK, Lines, read_pen_strokes

NAME = "allographs"
SEED = 20_261_130
# Digits built of each form.
BUILT = 20
SIDE_PX, DIGIT_PX, PEN_PX = 140, 100, 6.0


class Drawing(NamedTuple):
    """A digit drawn on a canvas, and the allograph to which it belongs."""

    digit: int
    # The number of a group of like pen strokes, or the name of a form.
    allograph: int | str
    grey: NDArray[np.uint8]


class Allograph(NamedTuple):
    """How well an allograph is read: one drawing of it, and how many of n were right."""

    digit: int
    grey: NDArray[np.uint8]
    right: int
    n: int


def make_drawings() -> list[Drawing]:
    """Return the held-out writers' digits, then the built ones."""
    everything = read_pen_strokes()
    held_out = {sample.writer for sample in split_writers(everything)[1]}
    drawings = [
        Drawing(sample.digit, allograph, draw(sample.lines))
        for sample, allograph in zip(everything, group(everything), strict=True)
        if sample.writer in held_out
    ]
    built = [sample for sample in build_samples(BUILT, SEED) if sample.digit < 10]
    return drawings + [Drawing(sample.digit, sample.writer, draw(sample.lines)) for sample in built]


def draw(lines: Lines) -> NDArray[np.uint8]:
    """Return lines as black ink on a white canvas, (140, 140) uint8."""
    ink = draw_lines(lines * DIGIT_PX + SIDE_PX / 2, (SIDE_PX, SIDE_PX), PEN_PX)
    return np.rint(255 - 255 * ink).astype(np.uint8)


def to_pictures(drawings: list[Drawing]) -> PictureSet:
    """Return drawings as somebody would upload them."""
    return PictureSet(NAME, [png(each.grey) for each in drawings], np.array([each.digit for each in drawings]))


def read_scans(limit: int | None) -> PictureSet:
    """Return the digits of Semeion's held-out writers, 16x16 in two levels."""
    with np.load(SEMEION) as data:
        pixels, digits = (data[name][:SEMEION_BLOCK][:limit] for name in ("x", "y"))
    return PictureSet("Semeion, held out", [png(each) for each in pixels], digits.astype(np.int64))


def count_by_allograph(drawings: list[Drawing], results: Sequence[Result]) -> list[Allograph]:
    """Return how well each allograph was read, by digit, those of most drawings first."""
    result = next(result for result in results if result[0].name == NAME)
    right: dict[tuple[int, int | str], list[bool]] = {}
    shown: dict[tuple[int, int | str], NDArray[np.uint8]] = {}
    for drawing, is_right in zip(drawings, find_correct(result).tolist(), strict=True):
        key = drawing.digit, drawing.allograph
        shown.setdefault(key, drawing.grey)
        right.setdefault(key, []).append(is_right)
    counts = [Allograph(key[0], shown[key], sum(each), len(each)) for key, each in right.items()]
    return sorted(counts, key=lambda each: (each.digit, -each.n))
