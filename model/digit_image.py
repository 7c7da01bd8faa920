"""The way from the bytes of a picture file to the grey levels in which the nets look for a digit."""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from digit_pixels import SIDE_PX, THUMBNAIL_PX, Ink, is_mnist, read_thumbnail, ready

MAX_MEGAPIXELS = 25
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# Endings of the names of such files, in lower case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

# Pictures with a longer side are reduced to it before the ink is found.
SEARCH_PX = 400
# A picture that is narrower or lower than this once reduced holds no digit.
NARROWEST_PX = 8
# What Pillow's decoders raise for damaged files, besides its own errors (which are OSErrors).
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)


class BadImage(Exception):
    """A picture is refused; the text is a sentence for the person who sent it.

    The reason is one of the few words by which metrics count such pictures.
    """

    def __init__(self, sentence: str, reason: str = "malformed_request") -> None:
        super().__init__(sentence)
        self.reason = reason


class Picture(NamedTuple):
    """A picture on its way to the nets: grey levels in which InkNet looks for the digit's ink, or its ink."""

    # (h, w) uint8, no side above SEARCH_PX.
    grey: NDArray[np.uint8] | None
    ink: Ink | None = None
    # Pixels of the upload for one of the grey levels.
    scale: float = 1.0


def read_picture(upload: bytes) -> Picture:
    """Read the bytes of a picture file. Raises BadImage for anything else, and for one that the nets cannot read."""
    return load(open_picture(upload))


def load(picture: Image.Image) -> Picture:
    """Read an open picture, still undecoded, as read_picture does. Raises BadImage.

    A picture that already has MNIST's size and geometry becomes its pixels, unchanged.
    """
    longer = max(picture.size)
    grey = decode(picture)
    if min(grey.shape) < NARROWEST_PX:
        sentence = f"The picture is too small or too narrow: send one of at least {NARROWEST_PX} pixels each way."
        raise BadImage(sentence, "too_small")
    if grey.shape == (SIDE_PX, SIDE_PX):
        for pixels in (grey, 255 - grey):
            if is_mnist(pixels):
                return Picture(None, ready(pixels))
    if max(grey.shape) > THUMBNAIL_PX:
        return Picture(grey, scale=longer / max(grey.shape))
    ink = read_thumbnail(grey)
    if ink is None:
        raise blank()
    return Picture(None, ink)


def blank() -> BadImage:
    """Return the refusal of a picture without ink."""
    return BadImage("The picture is blank: no ink stands out from its background.", "blank")


def open_picture(upload: bytes) -> Image.Image:
    """Open an upload in a known format and of a size within the limits, without decoding it. Raises BadImage."""
    if not upload:
        raise BadImage("The picture is empty: send the bytes of a picture file.", "not_a_picture")
    try:
        picture: Image.Image = Image.open(io.BytesIO(upload), formats=FORMATS)
    except Image.DecompressionBombError as cause:
        sentence = f"The picture has too many pixels: send at most {MAX_MEGAPIXELS} megapixels."
        raise BadImage(sentence, "too_many_megapixels") from cause
    except DECODE_ERRORS as cause:
        raise BadImage("This is not a picture: send a PNG, JPEG, WebP, BMP or GIF file.", "not_a_picture") from cause
    megapixels = count_megapixels(picture)
    if megapixels > MAX_MEGAPIXELS:
        sentence = f"The picture has {megapixels:.1f} megapixels: send at most {MAX_MEGAPIXELS}."
        raise BadImage(sentence, "too_many_megapixels")
    return picture


def count_megapixels(picture: Image.Image) -> float:
    """Return the size of a picture in megapixels."""
    return picture.width * picture.height / 1e6


def decode(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the first frame as (h, w) uint8 grey levels, upright, with no side above SEARCH_PX. Raises BadImage."""
    try:
        factor = reduction(picture)
        if factor > 1:
            # JPEG decodes at a half, a quarter or an eighth of its size at a fraction of the cost.
            picture.draft(None, (picture.width // factor, picture.height // factor))
        picture.load()
        if picture.mode in ("L", "RGB"):
            picture = shrink(picture)
        ImageOps.exif_transpose(picture, in_place=True)
        grey = to_grey(picture)
    except DECODE_ERRORS as cause:
        raise BadImage("The picture is damaged or cut off: send the whole file.", "damaged") from cause
    return np.asarray(shrink(grey))


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
    if picture.mode.startswith("I"):
        return Image.fromarray((np.clip(np.asarray(picture), 0, 65535) / 257).astype(np.uint8))
    if not picture.has_transparency_data:
        return strongest_grey(picture.convert("RGB"))
    grey, alpha = picture.convert("LA").split()
    weights = np.asarray(alpha, np.float64)
    total = weights.sum()
    dark = total == 0 or (np.asarray(grey) * weights).sum() / total < 128
    return Image.composite(grey, Image.new("L", grey.size, 255 if dark else 0), alpha)


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
    if np.abs(grey - np.median(grey))[far].mean() > 0.35 * distance[far].mean():
        return brightness
    # The mean difference of the ink from the background, after flipping those opposite to the strongest.
    ink = colours[:, far]
    direction = (ink * np.sign(colours[:, distance.argmax()] @ ink)).mean(1)
    levels = (np.asarray(picture) - paper) @ (direction / max(1e-6, np.abs(direction).sum()))
    return Image.fromarray(np.clip(np.rint(128 + levels), 0, 255).astype(np.uint8))
