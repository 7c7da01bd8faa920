"""Finding a digit's ink in a picture of any size with InkNet."""

from collections.abc import Callable, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray

from model.geometry import Box, Ink, cut_out
from model.ink_input import MASK_PX, VIEW_PX, make_planes, mask_shape
from model.marks import find_lone_mark, measure_share

Grey = NDArray[np.uint8]
Mask = NDArray[np.float32]
# Takes the planes (n, 2, 160, 160) of n pictures and returns the ink 0..1 in each, (n, 80, 80).
InkEngine = Callable[[NDArray[np.float32]], Mask]

# Chosen on 142 phone photographs, 319 scans and 250 drawings. Each may be halved (AROUND: be 1.1) or raised by half;
# that moves at most one picture in two hundred of any of these sets.
# A part of the mask reaches as far as it is above LOW; it is ink if it is above HIGH somewhere, and holds LEAST_SHARE
# of the ink of the largest part.
LOW, HIGH = 0.15, 0.6
LEAST_SHARE = 0.06
# Less ink than this, in pixels of the mask, is none.
LEAST_INK = 6.0
# Where the mask is nowhere above SURE, a lone mark is read instead, and where there is no ink, what is up to so many
# times fainter; both with half the confidence.
SURE = 0.95
FAINTER, LEAST_FAINT_INK = 5.0, 2.0
FAINT_SHARE = 0.5
# If the digit is smaller than this share of the picture, the net looks again at the square around it, which is so many
# times as wide as the digit.
LOOK_AGAIN_SHARE = 0.3
AROUND = 1.5
# Pictures that the net is given at once; the planes of one take 200 kB.
AT_ONCE = 16


def find_ink(greys: Sequence[Grey], engine: InkEngine) -> list[Ink | None]:
    """Return the digit's ink in each of n pictures, (h, w) uint8 grey levels; None where the net sees none."""
    if not greys:
        return []
    found = segment(greys, engine)
    small = [
        (number, *around(ink.box, greys[number].shape))
        for number, ink in enumerate(found)
        if ink and longer(ink.box) < LOOK_AGAIN_SHARE * max(greys[number].shape)
    ]
    if small:
        nearer = segment([greys[number][rows, columns] for number, rows, columns in small], engine)
        for (number, rows, columns), ink in zip(small, nearer, strict=True):
            first = found[number]
            if first and ink and ink.share > FAINT_SHARE:
                left, top, right, bottom = ink.box
                box = (left + columns.start, top + rows.start, right + columns.start, bottom + rows.start)
                found[number] = ink._replace(box=box, share=first.share)
    return found


def segment(greys: Sequence[Grey], engine: InkEngine) -> list[Ink | None]:
    """Return the ink that the net finds in each of n pictures, as a whole."""
    inks: list[Ink | None] = []
    for first in range(0, len(greys), AT_ONCE):
        part = greys[first : first + AT_ONCE]
        views = [make_planes(grey) for grey in part]
        masks = engine(np.stack([planes for planes, _ in views]))
        inks += [select(mask, *view, grey.shape) for mask, view, grey in zip(masks, views, part, strict=True)]
    return inks


def select(mask: Mask, planes: Mask, contrast: Mask, shape: tuple[int, ...]) -> Ink | None:
    """Return the ink in a (80, 80) mask of a picture of a shape (h, w), cropped; None if there is none."""
    rows, columns = mask_shape(shape)
    mask = np.ascontiguousarray(mask[:rows, :columns])
    chosen, parts = choose(mask, LEAST_INK)
    lone = find_lone_mark(planes[0, : 2 * rows, : 2 * columns]) if mask.max() < SURE or not parts else None
    if lone is None and parts:
        share = measure_share(chosen, parts, contrast[: 2 * rows, : 2 * columns])
    else:
        mask = mask * min(FAINTER, 1 / max(1e-6, mask.max())) if lone is None else lone
        (chosen, parts), share = choose(mask, LEAST_FAINT_INK), FAINT_SHARE
        if not parts:
            return None
    return cut_out(np.rint(mask * 255).astype(np.uint8), chosen, max(shape) / MASK_PX)._replace(share=share)


def choose(mask: Mask, least: float) -> tuple[NDArray[np.bool_], int]:
    """Return which parts of a (h, w) mask are ink, and how many: none that hold less than the least, in its pixels."""
    parts, count = cc3d.connected_components(mask > LOW, connectivity=8, return_N=True)
    weights = np.bincount(parts.reshape(-1), mask.reshape(-1), count + 1)
    weights[np.bincount(parts[mask > HIGH], minlength=count + 1) == 0] = 0
    is_ink = (weights > LEAST_SHARE * weights.max()) & (weights.sum() >= least)
    return is_ink[parts], int(is_ink.sum())


def longer(box: Box) -> float:
    """Return the longer side of a box."""
    return max(box[2] - box[0], box[3] - box[1])


def around(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and the columns of the square around a box, as far as a picture of a shape (h, w) holds them."""
    half = max(AROUND * longer(box), VIEW_PX / 10) / 2
    centre = ((box[1] + box[3]) / 2, (box[0] + box[2]) / 2)
    rows, columns = (
        slice(max(0, int(middle - half)), min(side, int(middle + half) + 1))
        for middle, side in zip(centre, shape, strict=True)
    )
    return rows, columns
