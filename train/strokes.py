"""Handwriting samples as lines: MNIST's digits along their skeletons, and pen strokes from several countries.

Lines are (n, 2, 2) float32: n straight pieces, each from one point (x, y) to another. A digit's longer side is 1 and
the middle of its box is (0, 0); x grows to the right, y downwards.
"""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from train.mnist import read_mnist, split

PEN_STROKES = Path(__file__).parent.parent / "data" / "pen_strokes" / "pen_strokes.json.gz"
# Digits are enlarged first, because skeletons at MNIST's size are uneven.
ENLARGED = 3

Lines = NDArray[np.float32]


class Sample(NamedTuple):
    """One handwritten digit; writer is empty if unknown."""

    digit: int
    lines: Lines
    writer: str = ""


def read_samples(pen_strokes: bool = True, limit: int | None = None) -> list[Sample]:
    """Return the samples to learn from: half MNIST's, half pen strokes; without pen_strokes, all MNIST's.

    limit is how many of either at most: in a short run more would not be seen.
    """
    strokes, _ = split_writers(read_pen_strokes())
    own = read_mnist_samples(split()[0][: len(strokes) if pen_strokes else 2 * len(strokes)][:limit])
    return (balance(strokes)[:limit] if pen_strokes else []) + own


def read_held_out_samples() -> list[Sample]:
    """Return the pen strokes of the held-out writers, and as many of MNIST's validation digits."""
    _, strokes = split_writers(read_pen_strokes())
    return balance(strokes) + read_mnist_samples(split()[1][: len(strokes)])


def read_mnist_samples(indices: Tensor) -> list[Sample]:
    """Return the MNIST training digits of some indices (n,) as lines."""
    pixels, digits = read_mnist(train=True)
    return trace(pixels[indices, 0].numpy(), digits[indices].numpy())


def read_pen_strokes() -> list[Sample]:
    """Return the committed pen strokes as lines."""
    with gzip.open(PEN_STROKES, "rt") as file:
        return [Sample(each["digit"], join(each["strokes"]), each["writer"]) for each in json.load(file)]


def join(strokes: list[list[list[int]]]) -> Lines:
    """Return strokes, each a list of points, as lines; a stroke of one point becomes a dot."""
    pieces = []
    for stroke in strokes:
        points = np.asarray(stroke if len(stroke) > 1 else stroke * 2, np.float32)
        pieces.append(np.stack([points[:-1], points[1:]], 1))
    return normalise(np.concatenate(pieces))


def trace(pixels: NDArray[np.uint8], digits: NDArray[np.int64]) -> list[Sample]:
    """Return (n, 28, 28) MNIST digits as lines along their skeletons."""
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


def split_writers(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of nine writers in ten to learn from, and those of the others, which are held out."""
    held_out = set(sorted({sample.writer for sample in samples})[::10])
    parts: tuple[list[Sample], list[Sample]] = [], []
    for sample in samples:
        parts[sample.writer in held_out].append(sample)
    return parts


def balance(samples: list[Sample]) -> list[Sample]:
    """Return as many samples, drawn so that a writer of a hundred times as many counts ten times as much."""
    written = Counter(sample.writer for sample in samples)
    weights = np.array([written[sample.writer] ** -0.5 for sample in samples])
    chosen = np.random.default_rng(0).choice(len(samples), len(samples), p=weights / weights.sum())
    return [samples[number] for number in chosen]
