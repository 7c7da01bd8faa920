"""Marks that stand out in a picture though InkNet does not take them for the digit's ink."""

import cc3d
import numpy as np
from numpy.typing import NDArray

from model.geometry import extent, widen
from model.ink_input import average

# Chosen on the pictures that model/ink.py names and 200 amounts of cheques. Each may be changed by a fifth; that moves
# at most one in two hundred of any of these sets.
# Another digit stands out at least half as much as the ink, and is half to twice as high.
LEAST_STRENGTH = 0.5
LEAST_HEIGHT, MOST_HEIGHT = 0.5, 2.0
# A lone mark stands out by this many deviations from the square of this side around it, and all else by less than this
# share of that; and it is longer than this, in pixels of the mask.
LEAST_CONTRAST = 1.0
WIDE_PX = 81
QUIET_SHARE = 0.2
LEAST_LONG = 7


def measure_share(chosen: NDArray[np.bool_], parts: int, contrast: NDArray[np.float32]) -> float:
    """Return the share 0..1 of all digits' ink that the largest of the chosen parts (h, w) has in (2h, 2w) contrast.

    Specks, rules, frames around that mark, and what reaches the rim, as edges of paper do, are no digits.
    """
    height, width = chosen.shape
    strength = find_peaks(contrast * np.sign(contrast[::2, ::2][chosen].sum()))
    levels = np.sort(strength[chosen])
    strong = strength > LEAST_STRENGTH * levels[(len(levels) - 1) // 2]
    if parts == 1 and np.count_nonzero(strong > chosen) < LEAST_HEIGHT * np.count_nonzero(chosen.any(1)):
        # What else stands out is too small for a digit, as mostly.
        return 1.0
    marks = cc3d.connected_components(strong | chosen, connectivity=8)
    sizes = np.bincount(marks.reshape(-1))
    own = int(np.bincount(marks[chosen]).argmax())
    rows, columns = extent(marks == own)
    tall = rows.stop - rows.start
    ink = sizes[own]
    sizes[[0, own]] = 0
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
    """Return the one mark on an even ground of (2h, 2w) brightness, (h, w) float32 0..1; None if there is none."""
    contrast = brightness - average(brightness, WIDE_PX)
    # Ink stands out more, and on a smaller area: to that side the contrast is skewed.
    strength = find_peaks(contrast * np.sign((contrast**3).sum()))
    full = strength.max()
    marks = cc3d.connected_components(strength > LEAST_STRENGTH * full, connectivity=8)
    mark = marks == np.bincount(marks[marks > 0], minlength=1).argmax()
    rest = np.where(widen(mark, 5), 0, strength)
    is_lone = full > LEAST_CONTRAST and max(mark[extent(mark)].shape) > LEAST_LONG
    return np.where(mark, strength / full, 0) if is_lone and np.percentile(rest, 99) < QUIET_SHARE * full else None


def find_peaks(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the greatest of each 2x2 pixels of (2h, 2w) contrast."""
    rows = np.maximum(contrast[::2], contrast[1::2])
    return np.maximum(rows[:, ::2], rows[:, 1::2])
