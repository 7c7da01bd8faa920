"""Thumbnails: pictures of just a digit on an even background, in which no net is needed to find the ink."""

import cc3d
import numpy as np
from numpy.typing import NDArray

from model.geometry import CENTRE_PX, SIDE_PX, Ink, centre_of_mass, cut_out, extent, is_mnist, make_ink

# Up to this side a picture is a thumbnail: just a digit on an even background.
THUMBNAIL_PX = 40
# The least difference, in steps of 255, between the ink of a thumbnail and its background.
LEAST_CONTRAST = 16.0
# The least ink, in pixels.
LEAST_PIXELS = 6
# The share of the contrast of full ink from which a pixel counts as ink.
INK_SHARE = 0.35
# Marks with less than this share of the weight of a thumbnail's ink are specks.
SPECK_SHARE = 0.03
# A thumbnail of MNIST's size is like MNIST if its digit is this long and its centre of mass this close to the middle.
LEAST_LIKE_PX, MOST_OFF_PX = 17, 3.0


def keep_mnist(grey: NDArray[np.uint8]) -> Ink | None:
    """Return grey levels that have MNIST's size and geometry as their own ink, bright on dark; None for any others."""
    if grey.shape == (SIDE_PX, SIDE_PX):
        for pixels in (grey, 255 - grey):
            if is_mnist(pixels):
                return make_ink(pixels)
    return None


def separate_ink(grey: NDArray[np.uint8]) -> Ink | None:
    """Return the ink in (h, w) uint8 grey levels of at most THUMBNAIL_PX a side, or None if none stands out."""
    levels = two_levels(grey)
    if levels is None:
        return None
    contrast, full = levels
    solid = contrast > full * INK_SHARE
    if grey.shape == (SIDE_PX, SIDE_PX) and (not is_clean(contrast, full, solid) or is_like_mnist(contrast, solid)):
        # Noise, haze and lines cannot be cleaned here, but the net was trained to read through them.
        return make_ink(grey if grey.mean() >= np.median(grey) else 255 - grey)
    marks, count = cc3d.connected_components(solid, connectivity=8, return_N=True)
    weights = np.bincount(marks[solid], contrast[solid], count + 1)
    chosen = (weights > SPECK_SHARE * weights.sum())[marks]
    return cut_out(np.rint(np.clip(contrast * (255 / full), 0, 255)).astype(np.uint8), chosen)


def is_clean(contrast: NDArray[np.float32], full: float, solid: NDArray[np.bool_]) -> bool:
    """Return whether most of (h, w) contrast is plain background, and the solid ink touches fewer than two borders."""
    borders = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    plain = np.count_nonzero(contrast < 0.1 * full)
    return bool(plain > 0.6 * contrast.size) and sum(bool(border.any()) for border in borders) < 2


def is_like_mnist(contrast: NDArray[np.float32], solid: NDArray[np.bool_]) -> bool:
    """Return whether the ink in (28, 28) contrast is about as large and as well centred as MNIST's."""
    off = max(abs(mass - CENTRE_PX) for mass in centre_of_mass(contrast.clip(0)))
    return max(solid[extent(solid)].shape) >= LEAST_LIKE_PX and off < MOST_OFF_PX


def two_levels(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float] | None:
    """Return the (h, w) contrast of a picture of two levels, where ink is positive, and the contrast of full ink.

    The background is the level with the larger shares of the border and of the whole. None: there is only one level.
    """
    bright = grey > threshold(grey)
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    bright_ground = border.mean() + bright.mean() > 1
    level = float(np.median(grey[bright == bright_ground]))
    contrast = (grey.astype(np.float32) - level) * (-1 if bright_ground else 1)
    full = float(np.percentile(contrast, 98))
    if full < LEAST_CONTRAST:
        # Thin ink covers less.
        full = float(np.sort(contrast, None)[-LEAST_PIXELS])
    return (contrast, full) if full >= LEAST_CONTRAST else None


def threshold(grey: NDArray[np.uint8]) -> int:
    """Return the grey level that best parts darker from brighter ones (Otsu 1979)."""
    counts = np.bincount(grey.reshape(-1), minlength=256)
    darker, sums = counts.cumsum(), (counts * np.arange(256)).cumsum()
    brighter = grey.size - darker
    # The variance between both classes, which have sums / darker and the rest of the sum / brighter as their means.
    between = (sums * grey.size - sums[-1] * darker) ** 2 / (darker * brighter).clip(1)
    return int(between.argmax())
