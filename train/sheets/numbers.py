"""Pages with numbers in rows, in cells or in a grid, as photographed, scanned or drawn, and where each digit is.

Besides digits there are marks: separators, signs, words and scribbles, so that a net can explain all ink on a page.
"""

from collections import defaultdict
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.geometry import Box
from model.numbers import CLASSES, MARK, View, cover, find_rows
from train.sheets.ink import Field, Shape, draw_lines, log_uniform, make_fine, reduce
from train.sheets.layout import LIGHTS, NOT_ONE_DIGIT, PAPERS, PENS, WIDTHS, Layout
from train.sheets.rows import Item, join, write_grid, write_rows
from train.sheets.scraps import guilloche, write_scraps, write_text, write_words
from train.sheets.sheet import draw_sheet, fill_sheet, photograph
from train.strokes import Sample

# A digit of which less than this share lies on the page is a mark.
LEAST_SEEN = 0.6
# Of ink that the net is to find, as a share of the digits' height.
LEAST_TARGET_SHARE = 0.09
# Of a page that is plain to see, digits are darker or brighter than what is around them by so many deviations of that,
# to which a few levels are added, as paper without any texture has none.
LEAST_CONTRAST, LEAST_TEXTURE = 1.0, 4.0


class Page(NamedTuple):
    """A page (h, w) and what is written on it."""

    grey: NDArray[np.uint8]
    # The digits' ink, (h, w) 0..1.
    ink: Field
    # 0 to 9 or MARK, (n,), and left, top, right, bottom of each in pixels, (n, 4).
    labels: NDArray[np.int64]
    boxes: NDArray[np.float32]


class Hand:
    """Draws digits as one person writes them, of a writer at random."""

    def __init__(self, samples: list[Sample]) -> None:
        self.by_digit: list[list[Sample]] = [[sample for sample in samples if sample.digit == d] for d in range(10)]
        writers: defaultdict[str, list[list[Sample]]] = defaultdict(lambda: [[] for _ in range(10)])
        for sample in samples:
            if sample.writer and sample.digit < 10:
                writers[sample.writer][sample.digit].append(sample)
        self.writers = [each for each in writers.values() if sum(map(bool, each)) > 1]
        # Of these a hand may have one: digits that are alike, as built allographs are.
        self.forms = [each for each in writers.values() if sum(map(bool, each)) == 1]

    def begin(self, chance: Generator) -> list[list[Sample]]:
        """Return the samples to write a page with, by digit: those of one writer, or of everybody."""
        own = self.by_digit
        if chance.random() < 0.6 and self.writers:
            own = self.writers[int(chance.integers(len(self.writers)))]
        for _ in range(2):
            if chance.random() < 0.5 and self.forms:
                form = self.forms[int(chance.integers(len(self.forms)))]
                own = [special or usual for special, usual in zip(form, own, strict=True)]
        return [mine or others for mine, others in zip(own, self.by_digit, strict=True)]


def make_page(hand: Hand, shape: Shape, chance: Generator) -> Page:
    """Return a random page of a shape (h, w)."""
    paper = str(chance.choice(PAPERS, p=(0.22, 0.14, 0.1, 0.08, 0.04, 0.06, 0.06, 0.3)))
    pen = str(chance.choice(PENS, p=(0.45, 0.2, 0.25, 0.1)))
    light = "even" if paper == "drawing" else str(chance.choice(LIGHTS, p=(0.4, 0.3, 0.2, 0.1)))
    kind = chance.random()
    printed = make_fine(shape)
    if kind < 0.1:
        items, height = write_grid(hand.begin(chance), shape, printed, chance)
    elif kind < 0.2:
        items, height = [], log_uniform(10, 0.6 * min(shape), chance)
    else:
        items, height = write_rows(hand.begin(chance), shape, printed, chance)
    if chance.random() < (0.25 if items else 0.4):
        items += write_scraps(items, height, shape, chance)
    stroke = max(0.7, log_uniform(*WIDTHS[pen], chance) * height)
    everything = join([item.lines for item in items])
    target_px = max(stroke, LEAST_TARGET_SHARE * height)
    digit_lines = join([item.lines for item in items if item.label != MARK])
    layout = Layout(shape, paper, pen, light, NOT_ONE_DIGIT, everything, stroke, target_px)
    ink = draw_lines(everything, shape, stroke, chance, pen)
    words, word_boxes = write_words(items, height, stroke, shape, chance)
    if not items and chance.random() < 0.5:
        words, word_boxes = write_text(height, stroke, shape, chance)
    if chance.random() < 0.18:
        guilloche(printed, chance)
    ink = np.maximum(np.maximum(ink, words), reduce(printed, shape) * np.float32(chance.uniform(0.15, 1.0)))
    target = draw_lines(digit_lines, shape, target_px)
    if not items and not word_boxes and chance.random() < 0.6:
        grey = fill_sheet(shape, chance)
    elif paper == "drawing":
        grey = draw_sheet(layout, ink, target, chance)
    else:
        # Other digits would have no label.
        grey = photograph(layout, ink, [], chance)
    pixels = np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    labels, boxes = list_boxes(items, stroke, shape)
    labels += [MARK] * len(word_boxes)
    return Page(pixels, target, np.array(labels, np.int64), np.array(boxes + word_boxes, np.float32).reshape(-1, 4))


def list_boxes(items: list[Item], stroke: float, shape: Shape) -> tuple[list[int], list[list[float]]]:
    """Return the labels and the boxes of the items that lie on a page, those that the rim cuts as far as they do."""
    labels, boxes = [], []
    for item in items:
        points = item.lines.reshape(-1, 2)
        low, high = points.min(0) - stroke / 2, points.max(0) + stroke / 2
        inside = np.clip([low, high], 0, shape[::-1])
        seen = np.prod(inside[1] - inside[0]) / np.prod(high - low)
        if seen > 0.1 and np.all(inside[1] - inside[0] > 1):
            labels.append(item.label if seen >= LEAST_SEEN else MARK)
            boxes.append([*inside[0].tolist(), *inside[1].tolist()])
    return labels, boxes


def is_usual(page: Page) -> bool:
    """Return whether a page has no digit, or one number, whole and plain to see."""
    numbers = list_numbers(page)
    if not numbers:
        return True
    left, top, right, bottom = cover(page.boxes)
    height, width = page.grey.shape
    if len(numbers) > 1 or min(left, top, width - right, height - bottom) < 1:
        return False
    near, nearest = (cv2.dilate(page.ink, np.ones((side, side))) > 0.5 for side in (7, 3))
    ink, around = page.grey[page.ink > 0.5].astype(float), page.grey[near & ~nearest].astype(float)
    return len(ink) > 0 and abs(ink.mean() - around.mean()) > LEAST_CONTRAST * (around.std() + LEAST_TEXTURE)


def list_numbers(page: Page) -> list[tuple[str, Box]]:
    """Return the text and the box of each number that is written on a page, in rows as they are found."""
    classes = np.eye(CLASSES, dtype=np.float32)[page.labels]
    blank = np.zeros((1, 1), np.uint8)
    view = View(classes, page.boxes, np.zeros((0, 3), np.float32), blank, blank, np.ones(2))
    rows = find_rows(view, np.flatnonzero(view.is_digit).tolist())
    return [("".join(str(page.labels[each]) for each in row), cover(page.boxes[row])) for row in rows]
