"""Handwritten digits as lines: MNIST's along their skeletons, and those that writers of several countries drew.

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
from skimage.morphology import skeletonize
from torch import Tensor
from tqdm import tqdm

from train.mnist import read_training, split

PEN_STROKES = Path(__file__).parent.parent / "data" / "pen_strokes" / "pen_strokes.json.gz"
# Skeletons are taken of enlarged digits, because those of MNIST's size are uneven.
ENLARGED = 3

Lines = NDArray[np.float32]


class Hand(NamedTuple):
    """One digit as somebody wrote it; writer is empty if unknown."""

    digit: int
    lines: Lines
    writer: str = ""


def read_hands(pen_strokes: bool = True) -> list[Hand]:
    """Return the hands to learn from: half MNIST's, half pen strokes; without pen_strokes, all MNIST's."""
    strokes, _ = split_writers(read_pen_strokes())
    own = read_mnist_hands(split()[0][: len(strokes) if pen_strokes else 2 * len(strokes)])
    return (balance(strokes) if pen_strokes else []) + own


def read_held_out_hands() -> list[Hand]:
    """Return as many hands of MNIST's validation digits as of the writers that are held out, and these."""
    _, strokes = split_writers(read_pen_strokes())
    return balance(strokes) + read_mnist_hands(split()[1][: len(strokes)])


def read_mnist_hands(indices: Tensor) -> list[Hand]:
    """Return the MNIST training digits of some indices (n,) as lines."""
    pixels, digits = read_training()
    return trace(pixels[indices, 0].numpy(), digits[indices].numpy())


def read_pen_strokes() -> list[Hand]:
    """Return the committed pen strokes as lines."""
    with gzip.open(PEN_STROKES, "rt") as file:
        return [Hand(each["digit"], join(each["strokes"]), each["writer"]) for each in json.load(file)]


def join(strokes: list[list[list[int]]]) -> Lines:
    """Return strokes, each a list of points, as lines; a stroke of one point becomes a dot."""
    pieces = []
    for stroke in strokes:
        points = np.asarray(stroke if len(stroke) > 1 else stroke * 2, np.float32)
        pieces.append(np.stack([points[:-1], points[1:]], 1))
    return normalise(np.concatenate(pieces))


def trace(pixels: NDArray[np.uint8], digits: NDArray[np.int64]) -> list[Hand]:
    """Return (n, 28, 28) MNIST digits as lines along their skeletons."""
    hands = []
    pairs = zip(pixels, digits.tolist(), strict=True)
    for picture, digit in tqdm(pairs, "skeletons", len(pixels), unit="digit", leave=False, disable=None):
        large = cv2.resize(picture, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
        lines = follow(skeletonize(large > 96))
        if len(lines):
            hands.append(Hand(digit, normalise(lines)))
    return hands


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


def split_writers(hands: list[Hand]) -> tuple[list[Hand], list[Hand]]:
    """Return the hands of nine writers in ten to learn from, and of the others, which are held out."""
    held_out = set(sorted({hand.writer for hand in hands})[::10])
    return [hand for hand in hands if hand.writer not in held_out], [hand for hand in hands if hand.writer in held_out]


def balance(hands: list[Hand]) -> list[Hand]:
    """Return as many hands, drawn so that who wrote a hundred times as much counts ten times as much."""
    written = Counter(hand.writer for hand in hands)
    weights = np.array([written[hand.writer] ** -0.5 for hand in hands])
    chosen = np.random.default_rng(0).choice(len(hands), len(hands), p=weights / weights.sum())
    return [hands[number] for number in chosen]
