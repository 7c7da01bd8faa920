"""What InkNet sees of a picture: two planes of 160x160."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.geometry import slide

# The net sees the whole picture in a square of this side and says where the ink is in one of half that side.
VIEW_PX = 160
MASK_PX = VIEW_PX // 2
# The second plane is what differs from the mean of its neighbourhood, over the deviation within a larger one.
NEAR_PX, FAR_PX = 21, 41
# Deviations smaller than this many of 255 steps are noise, and are not enlarged to full contrast.
LEAST_DEVIATION = 2.0


def make_planes(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what the net sees of (h, w) uint8 grey levels, (2, 160, 160), and the contrast, (160, 160), as float32.

    The picture is scaled until its longer side fits, and lies in the upper left corner; the rest is 0. The first plane
    is the standardised brightness. Contrast is what stands out from the surroundings, in grey levels; the second plane
    is that standardised.
    """
    height, width = view_shape(grey.shape)
    # Whole blocks of pixels are averaged first, which takes a fifth of the time.
    view = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)
    levels = np.asarray(view, np.float32)
    high = levels - average(levels, NEAR_PX)
    spread = np.sqrt(average(high * high, FAR_PX))
    planes = np.zeros((3, VIEW_PX, VIEW_PX), np.float32)
    planes[0, :height, :width] = (levels - levels.mean()) / (levels.std() + LEAST_DEVIATION)
    planes[1, :height, :width] = high / (spread + LEAST_DEVIATION)
    planes[2, :height, :width] = high
    return planes[:2], planes[2]


def average(levels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the mean of the square of an odd side around each of (h, w) levels, which are mirrored at their edges."""
    for _ in range(2):
        around = np.arange(-(side // 2), levels.shape[1] + side // 2)
        mirrored = np.concatenate([levels.T, levels.T[-2:0:-1]]).take(around, 0, mode="wrap")
        levels = slide(np.add, mirrored, side)
    return levels / np.float32(side**2)


def view_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which the net sees a picture of a shape (h, w)."""
    height, width = (max(2, round(side * VIEW_PX / max(shape))) for side in shape)
    return height, width


def mask_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which the net's mask shows a picture of a shape (h, w)."""
    height, width = view_shape(shape)
    return -(-height // 2), -(-width // 2)


def standardise(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the planes of (h, w) uint8 grey levels in their size: (2, h, w) float32."""
    levels = grey.astype(np.float32)
    high = levels - average(levels, NEAR_PX)
    spread = np.sqrt(average(high * high, FAR_PX))
    return np.stack([(levels - levels.mean()) / (levels.std() + LEAST_DEVIATION), high / (spread + LEAST_DEVIATION)])
