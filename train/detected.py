"""Digits as the recogniser detects them: on made-up sheets, and in thumbnails as other institutes store them."""

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.engine import build_segmenter
from model.geometry import Box
from model.ink import find_ink
from model.thumbnail import separate_ink
from train.sheets.ink import draw_lines, log_uniform
from train.sheets.layout import NOT_ONE_DIGIT, pick, vary
from train.sheets.sheet import RandomSheets, Sheet
from train.strokes import Sample

BATCH = 128
# The boxes of the ink found and of the ink written must overlap by more than this share of their union.
LEAST_OVERLAP = 0.7


def detect_on_sheets(samples: list[Sample], count: int, seed: int, workers: int) -> tuple[Tensor, Tensor]:
    """Return what InkNet finds on random sheets: (n, 1, 28, 28) uint8 pixels and (n,) int64 digits or NOT_ONE_DIGIT."""
    segment = build_segmenter()
    sheets = DataLoader(RandomSheets(samples, count, seed), BATCH, num_workers=workers, collate_fn=list)
    pixels, digits = [], []
    for batch in tqdm(sheets, "sheets", unit="batch", leave=False, disable=None):
        for sheet, ink in zip(batch, find_ink([sheet.grey for sheet in batch], segment), strict=True):
            if ink and is_labelled(sheet, ink.box):
                pixels.append(ink.pixels)
                digits.append(sheet.digit)
    return torch.from_numpy(np.stack(pixels)), torch.tensor(digits)


def is_labelled(sheet: Sheet, found: Box) -> bool:
    """Return whether the ink found in a box is sure to have the label of the sheet."""
    if sheet.digit < 0:
        return sheet.digit == NOT_ONE_DIGIT
    return overlap(found, box_of(sheet)) > LEAST_OVERLAP


def box_of(sheet: Sheet) -> Box:
    """Return the box of the ink on a sheet."""
    x, y, width, height = cv2.boundingRect((sheet.ink > 0.3).view(np.uint8))
    return x, y, x + width, y + height


def overlap(one: Box, other: Box) -> float:
    """Return the area that two boxes share, as a share of the area that either covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / max(1e-6, areas - both)


def detect_in_thumbnails(samples: list[Sample], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return random thumbnails as the net sees them: (n, 1, 28, 28) uint8 pixels and their digits (n,) int64."""
    pixels, digits = [], []
    for number in tqdm(range(count), "thumbnails", unit="picture", leave=False, disable=None):
        chance = np.random.default_rng((seed, number, 1))
        sample = pick(samples, chance)
        ink = separate_ink(make_thumbnail(sample, chance))
        if ink:
            pixels.append(ink.pixels)
            digits.append(sample.digit)
    return torch.from_numpy(np.stack(pixels)), torch.tensor(digits)


def make_thumbnail(sample: Sample, chance: Generator) -> NDArray[np.uint8]:
    """Return a digit, mostly stretched to fill a picture of 16 to 32 pixels a side, in grey levels or in two."""
    side = int(chance.choice([16, 16, 20, 24, 28, 28, 32, 32]))
    lines = vary(sample.lines, chance)
    points = lines.reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    size = high - low
    # How far the digit is stretched towards a square.
    stretch = chance.choice([0.0, 1.0, chance.random()], p=[0.3, 0.45, 0.25])
    scale = (size.max() / np.maximum(size, 0.15 * size.max())) ** stretch
    width = log_uniform(0.035, 0.2, chance)
    drawn = side * 4
    margin = chance.uniform(0.0, 0.16) * drawn + width * drawn / 2
    fitted = ((lines - (low + high) / 2) * scale) * ((drawn - 2 * margin) / size.max()) + drawn / 2
    ink = draw_lines(fitted.astype(np.float32), (drawn, drawn), width * drawn)
    small = cv2.resize(ink, (side, side), interpolation=cv2.INTER_AREA)
    kind = chance.random()
    if kind < 0.4:
        small = (small > chance.uniform(0.3, 0.6)).astype(np.float32)
    elif kind < 0.6:
        small = cv2.GaussianBlur(small, (0, 0), chance.uniform(0.4, 1.0))
    small = small * chance.uniform(0.5, 1.0) + chance.normal(0, 0.02, small.shape)
    if chance.random() < 0.5:
        small = 1 - small
    return np.rint(np.clip(small, 0, 1) * 255).astype(np.uint8)
