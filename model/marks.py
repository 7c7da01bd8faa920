"""Marks that stand out in a picture though InkNet does not take them for the digit's ink."""

import cc3d
import numpy as np
from numpy.typing import NDArray

from model.geometry import dilate, extent
from model.ink_input import VIEW_PX, average, mask_shape

# Chosen on the pictures that model/ink.py names and 200 amounts of cheques. Each may be changed by a fifth; that moves
# at most one in two hundred of any of these sets.
# Another digit stands out at least half as much as the ink, and is half to twice as high.
LEAST_STRENGTH = 0.5
LEAST_HEIGHT, MOST_HEIGHT = 0.5, 2.0
# A lone mark stands out from the mean of the wide square around it by this many deviations, all else by no more than
# this share of that; and it is this long, in pixels of the mask.
WIDE_PX = 81
LEAST_CONTRAST = 1.0
QUIET_SHARE = 0.2
LEAST_LONG = 8


def measure_share(chosen: NDArray[np.bool_], contrast: NDArray[np.float32]) -> float:
    """Return the share 0..1 of all digits' ink that the largest of the chosen marks (h, w) has in (160, 160) contrast.

    Specks, rules, frames around that mark, and what reaches the rim, as edges of paper do, are no digits.
    """
    height, width = chosen.shape
    is_bright = contrast[::2, ::2][:height, :width][chosen].sum() > 0
    strength = find_peaks(contrast if is_bright else -contrast, chosen.shape)
    strong = strength > LEAST_STRENGTH * np.median(strength[chosen])
    marks = cc3d.connected_components(strong | chosen, connectivity=8)
    sizes = np.bincount(marks.reshape(-1))
    own = int(np.bincount(marks[chosen]).argmax())
    rows, columns = extent(marks == own)
    tall = rows.stop - rows.start
    ink = sizes[own]
    sizes[[0, own]] = 0
    if sizes.max() < LEAST_HEIGHT * tall:
        return 1.0
    boxes = np.asarray(cc3d.statistics(marks, no_slice_conversion=True)["bounding_boxes"], np.int64)
    top, bottom, left, right = boxes.T
    is_digit = (bottom + 1 - top >= LEAST_HEIGHT * tall) & (bottom + 1 - top <= MOST_HEIGHT * tall)
    # Chosen marks must be beside the largest: others are strokes of the same digit.
    is_beside = (top >= rows.stop) | (bottom < rows.start) | (left >= columns.stop) | (right < columns.start)
    y, x = (rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2
    is_apart = (top > y) | (bottom < y) | (left > x) | (right < x)
    is_apart &= (top > 0) & (left > 0) & (bottom < height - 1) & (right < width - 1)
    is_chosen = np.isin(np.arange(len(sizes)), marks[chosen])
    return float(ink / (ink + sizes[is_digit & np.where(is_chosen, is_beside, is_apart)].sum()))


def find_lone_mark(brightness: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the one mark on an even ground, as a mask 0..1, in a view's (h, w) brightness; None if there is none."""
    height, width = brightness.shape
    contrast = np.zeros((VIEW_PX, VIEW_PX), np.float32)
    contrast[:height, :width] = brightness - average(brightness, WIDE_PX)
    strength = max((find_peaks(each, mask_shape(brightness.shape)) for each in (contrast, -contrast)), key=find_full)
    full = find_full(strength)
    if full < LEAST_CONTRAST:
        return None
    marks = cc3d.connected_components(strength > LEAST_STRENGTH * full, connectivity=8)
    mark = marks == 1 + np.bincount(marks.reshape(-1))[1:].argmax()
    rest = np.where(dilate(mark, np.ones((5, 5), np.bool_)), 0, strength)
    if max(mark[extent(mark)].shape) < LEAST_LONG or np.percentile(rest, 99) >= QUIET_SHARE * full:
        return None
    return np.where(mark, strength / full, 0).clip(0, 1).astype(np.float32)


def find_full(strength: NDArray[np.float32]) -> float:
    """Return the contrast of full ink: that of the tenth strongest pixel, as the strongest may be noise."""
    return float(np.sort(strength, None)[-10])


def find_peaks(contrast: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the greatest of each 2x2 pixels of (160, 160) contrast, for a mask of a shape (h, w)."""
    rows = np.maximum(contrast[::2], contrast[1::2])
    return np.maximum(rows[:, ::2], rows[:, 1::2])[: shape[0], : shape[1]]
