"""Which handwriting the nets learn from, and which is held out."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from train.allographs import build_samples
from train.mnist import split
from train.sheets.ink import draw_lines
from train.strokes import Sample, read_mnist_samples, read_pen_strokes, read_semeion

# Allographs, by the shape of its pen strokes, of each digit.
GROUPS = 10
# Shapes are compared on digits drawn this small, with a pen this wide, in pixels.
GROUP_PX, GROUP_PEN_PX = 16, 2.0
MNIST_SAMPLES = 13_000
# Digits built of each form in the catalogue.
BUILT = 300


def read_samples(without: frozenset[str] = frozenset(), limit: int | None = None) -> list[Sample]:
    """Return the samples to learn from.

    without names what to leave out: "pens", "semeion" or "allographs". limit is how many of MNIST's and of the pen
    strokes at most: in a short run more would not be seen.
    """
    samples = read_mnist_samples(split()[0][:MNIST_SAMPLES][:limit])
    if "pens" not in without:
        samples += balance(split_writers(read_pen_strokes())[0][:limit])
    if "semeion" not in without:
        samples += split_writers(read_semeion())[0]
    if "allographs" not in without:
        samples += build_samples(BUILT, seed=0)
    return samples


def read_held_out_samples() -> list[Sample]:
    """Return the pen strokes of the held-out writers, and as many of MNIST's validation digits."""
    _, strokes = split_writers(read_pen_strokes())
    return balance(strokes) + read_mnist_samples(split()[1][: len(strokes)])


def split_writers(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of nine writers in ten to learn from, and those of the others, which are held out."""
    held_out = set(sorted({sample.writer for sample in samples})[::10])
    parts: tuple[list[Sample], list[Sample]] = [], []
    for sample in samples:
        parts[sample.writer in held_out].append(sample)
    return parts


def balance(samples: list[Sample]) -> list[Sample]:
    """Return as many samples, drawn so that a writer or an allograph of a hundred times as many counts ten times."""
    keys = list(zip((sample.writer for sample in samples), group(samples), strict=True))
    written, formed = Counter(writer for writer, _ in keys), Counter(allograph for _, allograph in keys)
    weights = np.array([(written[writer] * formed[allograph]) ** -0.5 for writer, allograph in keys])
    chosen = np.random.default_rng(0).choice(len(samples), len(samples), p=weights / weights.sum())
    return [samples[number] for number in chosen]


def group(samples: list[Sample]) -> list[int]:
    """Return the allograph of each sample: ten times its digit, plus a group of digits of like shape (k-means)."""
    middle, size = GROUP_PX / 2, GROUP_PX - 3
    drawn = [
        draw_lines((sample.lines * size + middle).astype(np.float32), (GROUP_PX, GROUP_PX), GROUP_PEN_PX)
        for sample in samples
    ]
    features = np.stack(drawn).reshape(len(samples), -1)
    digits = np.array([sample.digit for sample in samples])
    groups: NDArray[np.int64] = GROUPS * digits
    for digit in np.unique(digits):
        own = digits == digit
        shapes = len(np.unique(features[own], axis=0))
        groups[own] += kmeans2(features[own], min(GROUPS, shapes), minit="++", rng=0)[1]
    return groups.tolist()
