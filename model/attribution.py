"""The attribution of an answer: how much each pixel of ink contributed to the digit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from model.geometry import SIDE_PX, Pixels

Classify = Callable[[Pixels], NDArray[np.float32]]
# A square of 5x5 pixels, a little more than a stroke is wide, is blanked around each pixel.
REACH_PX = 2


def attribute(classify: Classify, pixels: Pixels, digit: int) -> NDArray[np.float32]:
    """Return how much each of (1, 28, 28) uint8 pixels contributed to a digit 0..9: (28, 28) float32, in logits.

    By occlusion (Zeiler & Fergus 2014): how far the digit's logit, minus the mean of all ten, falls where a square
    around the pixel is blank. Pixels without ink get 0. classify is the engine's.
    """
    rows, columns = pixels[0].nonzero()
    along = np.arange(SIDE_PX)
    near_rows, near_columns = (np.abs(along - place[:, None]) <= REACH_PX for place in (rows, columns))
    squares = near_rows[:, None, :, None] & near_columns[:, None, None, :]
    occluded = np.where(squares, np.uint8(0), pixels)
    # A probability may be 0 in float32.
    logs = np.log(classify(np.concatenate([pixels[None], occluded])).clip(1e-30))
    scores = logs[:, digit] - logs.mean(1)
    attribution = np.zeros(pixels.shape[1:], np.float32)
    attribution[rows, columns] = scores[0] - scores[1:]
    return attribution
