"""Handwriting samples as lines: MNIST's and Semeion's digits along their skeletons, and pen strokes.

Lines are (n, 2, 2) float32: n straight pieces, each from one point (x, y) to another. A digit's longer side is 1 and
the middle of its box is (0, 0); x grows to the right, y downwards.
"""

import gzip
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from train.mnist import read_mnist

PEN_STROKES = Path(__file__).parent.parent / "data" / "pen_strokes" / "pen_strokes.json.gz"
SEMEION = Path(__file__).parent.parent / "data" / "semeion" / "semeion.npz"
# Semeion's digits in a row that share no writer with the others.
SEMEION_BLOCK = 200
# They were stretched to a square: each is made this wide again, as a share of its height.
SEMEION_WIDTHS = np.linspace(0.45, 0.9, 10, dtype=np.float32)
# Digits are enlarged first, because skeletons at MNIST's size are uneven.
ENLARGED = 3

Lines = NDArray[np.float32]


class Sample(NamedTuple):
    """One handwritten digit; writer is empty if unknown."""

    digit: int
    lines: Lines
    writer: str = ""


def read_mnist_samples(indices: Tensor) -> list[Sample]:
    """Return the MNIST training digits of some indices (n,) as lines."""
    pixels, digits = read_mnist(train=True)
    return trace(pixels[indices, 0].numpy(), digits[indices].numpy())


def read_pen_strokes() -> list[Sample]:
    """Return the committed pen strokes as lines."""
    with gzip.open(PEN_STROKES, "rt") as file:
        return [Sample(each["digit"], join(each["strokes"]), each["writer"]) for each in json.load(file)]


def read_semeion() -> list[Sample]:
    """Return Semeion's digits as lines, each in several widths; a block of ten writers counts as one."""
    with np.load(SEMEION) as data:
        pixels, digits = data["x"], data["y"].astype(np.int64)
    samples = []
    for first in range(0, len(pixels), SEMEION_BLOCK):
        block = slice(first, first + SEMEION_BLOCK)
        for digit, lines, _ in trace(np.pad(pixels[block], ((0, 0), (2, 2), (2, 2))), digits[block]):
            for width in SEMEION_WIDTHS:
                narrowed = normalise(lines * np.array([width, 1], np.float32))
                samples.append(Sample(digit, narrowed, f"semeion/{first // SEMEION_BLOCK}"))
    return samples


def join(strokes: list[list[list[int]]]) -> Lines:
    """Return strokes, each a list of points, as lines; a stroke of one point becomes a dot."""
    pieces = []
    for stroke in strokes:
        points = np.asarray(stroke if len(stroke) > 1 else stroke * 2, np.float32)
        pieces.append(np.stack([points[:-1], points[1:]], 1))
    return normalise(np.concatenate(pieces))


def trace(pixels: NDArray[np.uint8], digits: NDArray[np.int64]) -> list[Sample]:
    """Return (n, h, w) digits, bright on dark, as lines along their skeletons."""
    # Takes as long to import as half of torch.
    from skimage.morphology import skeletonize

    samples = []
    pairs = zip(pixels, digits.tolist(), strict=True)
    for picture, digit in tqdm(pairs, "skeletons", len(pixels), unit="digit", leave=False, disable=None):
        large = cv2.resize(picture, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
        lines = follow(skeletonize(large > 96))
        if len(lines):
            samples.append(Sample(digit, normalise(lines)))
    return samples


def follow(skeleton: NDArray[np.bool_]) -> Lines:
    """Return the pieces between neighbouring points of a (h, w) skeleton, without the steps of its pixels."""
    rows, columns = np.nonzero(skeleton)
    number = np.full((skeleton.shape[0] + 2, skeleton.shape[1] + 2), -1)
    number[rows + 1, columns + 1] = np.arange(len(rows))
    starts, ends = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = number[rows + 1 + down, columns + 1 + right]
        if down and right:
            # A diagonal is no piece where two straight ones already join its ends.
            corners = np.maximum(number[rows + 1 + down, columns + 1], number[rows + 1, columns + 1 + right])
            other = np.where(corners >= 0, -1, other)
        starts.append(np.nonzero(other >= 0)[0])
        ends.append(other[other >= 0])
    start, end = np.concatenate(starts), np.concatenate(ends)
    points = np.stack([columns, rows], 1).astype(np.float32)
    for _ in range(3):
        total = 2 * points
        np.add.at(total, start, points[end])
        np.add.at(total, end, points[start])
        degree = np.bincount(np.concatenate([start, end]), minlength=len(points))
        points = np.asarray(total / (2 + degree)[:, None].astype(np.float32), np.float32)
    return np.stack([points[start], points[end]], 1)


def normalise(lines: Lines) -> Lines:
    """Scale and move lines so that their longer side is 1 and the middle of their box is (0, 0)."""
    points = lines.reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return ((lines - (low + high) / 2) / max(1e-3, float((high - low).max()))).astype(np.float32)
