"""A picture of a number: four of MNIST's test digits in a row, twice as large, that are easy to read."""

import numpy as np
from PIL import Image

from evaluate.pictures import png
from train.mnist import read_mnist

TEXT = "9665"
# The number of the first of them, where it begins, pixels of a side, how far the next one is, and the paper around.
FIRST, SIDE_PX, STEP_PX, MARGIN_PX = 20, 56, 52, 20


def draw_number() -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    """Return the (96, 252) grey levels of TEXT, dark on bright."""
    page = np.full((SIDE_PX + 2 * MARGIN_PX, 3 * STEP_PX + SIDE_PX + 2 * MARGIN_PX), 235, np.uint8)
    for place, pixels in enumerate(read_mnist(train=False)[0][FIRST : FIRST + 4, 0].numpy()):
        digit = Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)
        left = MARGIN_PX + STEP_PX * place
        part = page[MARGIN_PX:-MARGIN_PX, left : left + SIDE_PX]
        np.minimum(part, 235 - np.asarray(digit) // 4 * 3, out=part)
    return page


NUMBER = png(draw_number())
