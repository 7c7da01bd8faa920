"""Pictures of any mode as grey levels in which the ink stands out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pictures with a longer side are reduced to it before the ink is found.
SEARCH_PX = 400


def shrink(picture: Image.Image) -> Image.Image:
    """Average whole blocks of pixels so that no side is above SEARCH_PX."""
    factor = reduction(picture)
    return picture.reduce(factor) if factor > 1 else picture


def reduction(picture: Image.Image) -> int:
    """Return the least whole number by which a picture must be reduced so that no side is above SEARCH_PX."""
    return -(-max(picture.size) // SEARCH_PX)


def to_grey(picture: Image.Image) -> Image.Image:
    """Return a picture in mode L; transparent parts become a background from which the ink stands out."""
    if picture.mode == "L":
        return picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(to_eight_bits(np.asarray(picture)))
    if picture.mode == "LAB":
        return picture.getchannel("L")
    if not picture.has_transparency_data:
        return strongest_grey(shrink(picture.convert("RGB")))
    grey, alpha = picture.convert("LA").split()
    weights = np.asarray(alpha, np.float64)
    total = weights.sum()
    dark = total == 0 or (np.asarray(grey) * weights).sum() / total < 128
    return Image.composite(grey, Image.new("L", grey.size, 255 if dark else 0), alpha)


def to_eight_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (h, w) levels of any type as uint8.

    Whole numbers lose what is below the eight highest bits in use: files of 16 bits often hold 12. Others are scaled.
    """
    if np.issubdtype(levels.dtype, np.integer):
        levels = levels.clip(0)
        return (levels >> max(0, int(levels.max()).bit_length() - 8)).astype(np.uint8)
    levels = np.nan_to_num(levels, nan=0, posinf=0, neginf=0)
    low, high = levels.min(), levels.max()
    return ((levels - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)


def strongest_grey(picture: Image.Image) -> Image.Image:
    """Return an RGB picture in mode L: its brightness, or the colour of its ink if that differs much more."""
    brightness = picture.convert("L")
    step = max(1, min(picture.size) // 32)
    # (3, n): maxima over the first axis are ten times as fast as over the last.
    pixels = np.asarray(picture)[::step, ::step].reshape(-1, 3).T.astype(np.float32, order="C")
    grey = np.asarray(brightness)[::step, ::step].reshape(-1).astype(np.float32)
    paper = np.median(pixels, 1)
    colours = pixels - paper[:, None]
    distance = np.abs(colours).max(0)
    far = distance >= np.partition(distance, -max(4, len(distance) // 50))[-max(4, len(distance) // 50)]
    # Both are 0 where thin ink lies between the pixels that were looked at.
    if np.abs(grey - np.median(grey))[far].mean() >= 0.35 * distance[far].mean():
        return brightness
    # The mean difference of the ink from the background, after flipping those opposite to the strongest.
    ink = colours[:, far]
    direction = (ink * np.sign(colours[:, distance.argmax()] @ ink)).mean(1)
    levels = (np.asarray(picture) - paper) @ (direction / max(1e-6, np.abs(direction).sum()))
    return Image.fromarray(np.clip(np.rint(128 + levels), 0, 255).astype(np.uint8))
