"""What InkNet sees of a picture: two planes of 160x160."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    levels = np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR), np.float32)
    high = levels - average(levels, NEAR_PX)
    spread = np.sqrt(average(high * high, FAR_PX).clip(0))
    planes, contrast = np.zeros((2, VIEW_PX, VIEW_PX), np.float32), np.zeros((VIEW_PX, VIEW_PX), np.float32)
    planes[0, :height, :width] = (levels - levels.mean()) / (levels.std() + LEAST_DEVIATION)
    planes[1, :height, :width] = high / (spread + LEAST_DEVIATION)
    contrast[:height, :width] = high
    return planes, contrast


def average(levels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return the mean of the square of an odd side around each of (h, w) levels, which are mirrored at their edges."""
    mirrored = np.pad(levels, side // 2, "reflect")
    return add_rows(add_rows(mirrored, side).T.copy(), side).T / np.float32(side**2)


def add_rows(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return the sum of every so many successive rows of (h, w) numbers: (h - count + 1, w)."""
    total = np.zeros((len(rows) - count + 1, rows.shape[1]), np.float32)
    # Sums of 1, 2, 4, 8 ... rows; those that make up the count are put together.
    first, size = 0, 1
    while first < count:
        if count & size:
            total += rows[first : first + len(total)]
            first += size
        rows = rows[:-size] + rows[size:]
        size *= 2
    return total


def view_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which the net sees a picture of a shape (h, w)."""
    height, width = (max(2, round(side * VIEW_PX / max(shape))) for side in shape)
    return height, width


def mask_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the height and width at which the net's mask shows a picture of a shape (h, w)."""
    height, width = view_shape(shape)
    return -(-height // 2), -(-width // 2)
