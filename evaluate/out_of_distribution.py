"""Out-of-distribution picture files, which show something other than one digit: made here, or Fashion-MNIST's."""

import gzip
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluate.corruptions import PAPER, PEN, SEED, SHEET_PX, enlarge, write
from evaluate.pictures import PictureSet, png, without_one_digit

# From the Debian package dataset-fashion-mnist.
FASHION = Path("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
IDX3_HEADER_BYTES = 16


def make_out_of_distribution(pixels: NDArray[np.uint8], digits: NDArray[np.int64], count: int) -> list[PictureSet]:
    """Return count pictures of each kind, the same ones each time.

    Pairs, which are numbers, are made of (N, 28, 28) uint8 MNIST pixels and their digits (N,).
    """
    generator = np.random.default_rng(SEED)
    pairs = [pair(pixels, digits, generator) for _ in range(count)]
    kinds = {
        "scribbles": [scribble(generator) for _ in range(count)],
        "noise": [noise(generator) for _ in range(count)],
    }
    if FASHION.is_file():
        items = np.frombuffer(gzip.decompress(FASHION.read_bytes()), np.uint8, offset=IDX3_HEADER_BYTES)
        kinds["clothes (Fashion-MNIST)"] = [png(item) for item in items.reshape(-1, 28, 28)[:count]]
    sets = [without_one_digit(name, uploads) for name, uploads in kinds.items()]
    return [without_one_digit("pairs of digits", [each[0] for each in pairs], [each[1] for each in pairs]), *sets]


def pair(pixels: NDArray[np.uint8], digits: NDArray[np.int64], generator: np.random.Generator) -> tuple[bytes, str]:
    """Write two digits side by side on a sheet, 100 pixels high and 2 to 15 pixels apart; return it and both."""
    half = SHEET_PX // 2
    chosen = generator.integers(len(pixels), size=2)
    left, right = (cv2.resize(enlarge(pixels[each]), (half, half), interpolation=cv2.INTER_AREA) for each in chosen)
    left, right = (ink[:, (ink > 0.5).any(0)] for ink in (left, right))
    both = np.concatenate([left, np.zeros((half, generator.integers(2, 16)), np.float32), right], 1)
    ink = np.zeros((SHEET_PX, SHEET_PX), np.float32)
    top, start = half // 2, (SHEET_PX - both.shape[1]) // 2
    ink[top : top + half, start : start + both.shape[1]] = both
    return png(write(ink)), "".join(map(str, digits[chosen]))


def scribble(generator: np.random.Generator) -> bytes:
    """Draw one to three smooth lines through random points, with a pen 6 to 16 pixels wide."""
    sheet = np.full((SHEET_PX, SHEET_PX), PAPER, np.uint8)
    width = int(generator.integers(6, 17))
    for _ in range(generator.integers(1, 4)):
        points = generator.uniform(40, SHEET_PX - 40, (generator.integers(7, 13), 2))
        cv2.polylines(sheet, [np.rint(smooth(points)).astype(np.int32)], False, PEN, width, cv2.LINE_AA)
    return png(sheet)


def smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round the corners of a line through (n, 2) points but keep its ends (Chaikin 1974); return (m, 2) points."""
    for _ in range(4):
        before, after = points[:-1], points[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def noise(generator: np.random.Generator) -> bytes:
    """Fill a sheet with grain or clouds: noise with a random grain size, and 20 to 80 grey levels of deviation."""
    side = int(generator.choice([SHEET_PX, SHEET_PX // 4, SHEET_PX // 20, SHEET_PX // 40]))
    grain = generator.standard_normal((side, side))
    clouds = cv2.resize(grain, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_CUBIC)
    return png(np.rint((128 + generator.uniform(20, 80) * clouds).clip(0, 255)).astype(np.uint8))
