"""Pictures of numbers: strings of MNIST's test digits, and made-up pages with one by held-out writers."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluate.pictures import PictureSet, png, without_one_digit
from train.sheets.numbers import Hand, is_usual, list_numbers, make_page
from train.strokes import Sample

SEED = 20_261_201
FEWEST, MOST = 2, 6
# Ink of a digit that touches another's.
TOUCH_LEVEL = 100
# Around a string, in MNIST's pixels.
MARGIN_PX = 8
# Of pages, heights and widths in pixels.
SHAPES = ((160, 160), (128, 208), (112, 240), (80, 336), (64, 400))


def make_strings(pixels: NDArray[np.uint8], digits: NDArray[np.int64], count: int) -> PictureSet:
    """Return count strings of 2 to 6 of (N, 28, 28) MNIST pixels with their digits (N,); a third of them touch."""
    generator = np.random.default_rng(SEED)
    uploads, texts = [], []
    for number in range(count):
        chosen = generator.integers(len(pixels), size=generator.integers(FEWEST, MOST + 1))
        levels = string(pixels[chosen], number % 3 == 0, generator)
        scale = generator.uniform(1.2, 4)
        size = (round(levels.shape[1] * scale), round(levels.shape[0] * scale))
        grey = np.asarray(Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC))
        uploads.append(png(255 - grey if generator.random() < 0.5 else grey))
        texts.append("".join(map(str, digits[chosen])))
    return without_one_digit("strings of MNIST digits", uploads, texts)


def string(pixels: NDArray[np.uint8], touching: bool, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return (n, 28, 28) pixels side by side as (h, w), each 1 to 8 apart or touching, and up to 2 higher or lower."""
    canvas = np.zeros((28 + 2 * MARGIN_PX, 36 * len(pixels) + 2 * MARGIN_PX), np.uint8)
    end = MARGIN_PX
    for digit in pixels:
        columns = np.nonzero(digit.any(0))[0]
        drawn = np.zeros((len(canvas), np.ptp(columns) + 1), np.uint8)
        top = MARGIN_PX + int(generator.integers(-2, 3))
        drawn[top : top + 28] = digit[:, columns[0] : columns[-1] + 1]
        start = end if touching else end + int(generator.integers(1, 9))
        while touching and start > MARGIN_PX and not touch(canvas[:, start : start + drawn.shape[1]], drawn):
            start -= 1
        under = canvas[:, start : start + drawn.shape[1]]
        np.maximum(under, drawn, out=under)
        end = start + drawn.shape[1]
    return canvas[:, : end + MARGIN_PX]


def touch(canvas: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> bool:
    """Return whether two (h, w) pixels have ink in the same place."""
    return bool(((canvas > TOUCH_LEVEL) & (drawn > TOUCH_LEVEL)).any())


def make_pages(samples: list[Sample], count: int) -> PictureSet:
    """Return count made-up pages with one number of 2 or more digits, plain to see, in the hands of samples."""
    generator = np.random.default_rng(SEED)
    hand = Hand(samples)
    uploads: list[bytes] = []
    texts: list[str] = []
    while len(texts) < count:
        page = make_page(hand, SHAPES[int(generator.integers(len(SHAPES)))], generator)
        written = [text for text, _ in list_numbers(page)]
        if is_usual(page) and "".join(written)[1:]:
            uploads.append(png(page.grey))
            texts += written
    return without_one_digit("pages by held-out writers", uploads, texts)
