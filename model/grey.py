"""Pictures of any mode as grey levels in which the ink stands out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Pictures with a longer side are reduced to it before the ink is found, and to the other before numbers are read.
SEARCH_PX, FINE_PX = 400, 1200

# Red, green and blue, and the brightness that Pillow makes of them (ITU-R BT.601).
WITH_BRIGHTNESS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.299, 0.587, 0.114]], np.float32)


def shrink(picture: Image.Image, longest: int = SEARCH_PX) -> Image.Image:
    """Average whole blocks of pixels so that no side is above the longest."""
    factor = reduction(picture, longest)
    return picture.reduce(factor) if factor > 1 else picture


def reduction(picture: Image.Image, longest: int = SEARCH_PX) -> int:
    """Return the least whole number by which a picture must be reduced so that no side is above the longest."""
    return -(-max(picture.size) // longest)


def to_grey(picture: Image.Image, longest: int = SEARCH_PX) -> Image.Image:
    """Return a picture in mode L; transparent parts become a background from which the ink stands out.

    Its size may stay, or be reduced until no side is above the longest.
    """
    if picture.mode == "L":
        return picture
    if picture.mode == "F" or picture.mode.startswith("I"):
        return Image.fromarray(to_eight_bits(np.asarray(picture)))
    if picture.mode == "LAB":
        return picture.getchannel("L")
    if not picture.has_transparency_data:
        return strongest_grey(shrink(picture if picture.mode == "RGB" else picture.convert("RGB"), longest))
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
    sample = picture.resize((picture.width // step, picture.height // step), Image.Resampling.NEAREST)
    # (4, n): maxima over the first axis are ten times as fast as over the last, and sorting five times as np.median.
    levels = WITH_BRIGHTNESS @ np.asarray(sample, np.float32).reshape(-1, 3).T
    paper = np.sort(levels)[:, levels.shape[1] // 2]
    differences = levels - paper[:, None]
    distance = np.abs(differences[:3]).max(0)
    far = np.argpartition(distance, least := -max(4, len(distance) // 50))[least:]
    # Both are 0 where thin ink lies between the pixels that were looked at.
    if np.abs(differences[3, far]).mean() >= 0.35 * distance[far].mean():
        return brightness
    # The mean difference of the ink from the background, after flipping those opposite to the strongest.
    ink = differences[:3, far]
    direction = (ink * np.sign(differences[:3, distance.argmax()] @ ink)).mean(1)
    levels = (np.asarray(picture) - paper[:3]) @ (direction / max(1e-6, np.abs(direction).sum()))
    return Image.fromarray(np.clip(np.rint(128 + levels), 0, 255).astype(np.uint8))
