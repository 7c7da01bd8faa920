"""What InkNet sees of a picture: two planes of 160x160."""

import cv2
import numpy as np
from numpy.typing import NDArray

# The net sees the whole picture in a square of this side and says where the ink is in one of half that side.
VIEW_PX = 160
MASK_PX = VIEW_PX // 2
# The second plane is what differs from the mean of its neighbourhood, over the deviation within a larger one.
NEAR_PX, FAR_PX = 21, 41
# Deviations smaller than this many of 255 steps are noise, and are not enlarged to full contrast.
LEAST_DEVIATION = 2.0


def make_planes(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the net sees of (h, w) uint8 grey levels: (2, 160, 160) float32.

    The picture is scaled until its longer side fits, and lies in the upper left corner; the rest is 0. The first plane
    is the standardised brightness, the second what stands out from its surroundings.
    """
    height, width = view_shape(grey.shape)
    shrinks = max(grey.shape) > VIEW_PX
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    levels = small.astype(np.float32)
    mean, deviation = cv2.meanStdDev(small)
    high = levels - cv2.blur(levels, (NEAR_PX, NEAR_PX))
    spread = np.sqrt(np.maximum(cv2.blur(high * high, (FAR_PX, FAR_PX)), 0))
    planes = np.zeros((2, VIEW_PX, VIEW_PX), np.float32)
    planes[0, :height, :width] = (levels - mean[0, 0]) / (deviation[0, 0] + LEAST_DEVIATION)
    planes[1, :height, :width] = high / (spread + LEAST_DEVIATION)
    return planes


def view_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which the net sees a picture of a shape (h, w)."""
    height, width = (max(2, round(side * VIEW_PX / max(shape))) for side in shape)
    return height, width


def mask_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which the net's mask shows a picture of a shape (h, w)."""
    height, width = view_shape(shape)
    return -(-height // 2), -(-width // 2)
