"""The way from any uploaded picture to the 28x28 pixels that the net reads."""

import io
import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from digit_ink import INK_SHARE, NoInkError, cut_out, extent, find_ink, keep_digit, stroke_width, two_levels

MAX_MEGAPIXELS = 25
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# Endings of the names of such files, in lower case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

# MNIST's geometry (LeCun et al. 1998): the digit fits 20x20, and its centre of mass is the middle of 28x28.
SIDE_PX = 28
DIGIT_PX = 20
CENTRE_PX = 14

# Pictures with a longer side are reduced to it before the ink is found.
SEARCH_PX = 400
# A picture that is narrower or lower than this once reduced holds no digit.
NARROWEST_PX = 8
# Up to this side a picture is a thumbnail: just a digit on an even background.
THUMBNAIL_PX = 40
# A thumbnail of MNIST's size is like MNIST if its digit is this long and its centre of mass this close to the middle.
LEAST_LIKE_PX, MOST_OFF_PX = 17, 3.0
# MNIST's range of stroke widths, in pixels of the 20x20 box; others are brought into it.
THINNEST_STROKE_PX = 1.8
WIDEST_STROKE_PX = 3.6

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


def read_picture(upload: bytes) -> NDArray[np.uint8]:
    """Turn the bytes of a picture file into (1, 28, 28) uint8 pixels, bright ink on dark, in MNIST's geometry.

    A picture that already has MNIST's size and geometry comes back unchanged.
    Raises BadImage if the upload is not a picture, or is damaged, blank, too large or too small.
    """
    return find_digit(open_picture(upload))


def find_digit(picture: Image.Image) -> NDArray[np.uint8]:
    """Turn an open picture, still undecoded, into (1, 28, 28) uint8 pixels as read_picture does. Raises BadImage."""
    grey = decode(picture)
    if min(grey.shape) < NARROWEST_PX:
        sentence = f"The picture is too small or too narrow: send one of at least {NARROWEST_PX} pixels each way."
        raise BadImage(sentence, "too_small")
    if grey.shape == (SIDE_PX, SIDE_PX):
        for pixels in (grey, 255 - grey):
            if is_mnist(pixels):
                return pixels[None]
    try:
        if max(grey.shape) <= THUMBNAIL_PX:
            return read_thumbnail(grey)
        return centre(fit(find_ink(grey)))
    except NoInkError as cause:
        raise BadImage("The picture is blank: no ink stands out from its background.", "blank") from cause


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
    step = max(1, min(picture.size) // 64)
    pixels = np.asarray(picture)[::step, ::step].reshape(-1, 3).astype(np.float32)
    grey = np.asarray(brightness)[::step, ::step].reshape(-1).astype(np.float32)
    colours = pixels - np.median(pixels, 0)
    distance = np.abs(colours).max(1)
    far = distance >= np.partition(distance, -max(4, len(distance) // 50))[-max(4, len(distance) // 50)]
    if np.abs(grey - np.median(grey))[far].mean() > 0.35 * distance[far].mean():
        return brightness
    # The mean difference of the ink from the background, after flipping those opposite to the strongest.
    ink = colours[far] * np.sign(colours[far] @ colours[distance.argmax()])[:, None]
    direction = ink.mean(0)
    levels = (np.asarray(picture) - np.median(pixels, 0)) @ (direction / max(1e-6, np.abs(direction).sum()))
    return Image.fromarray(np.clip(np.rint(128 + levels), 0, 255).astype(np.uint8))


def is_mnist(pixels: NDArray[np.uint8]) -> bool:
    """Return whether (28, 28) uint8 pixels have MNIST's geometry: black around a centred digit 20 pixels long."""
    rows, columns = extent(pixels)
    if not DIGIT_PX - 1 <= max(rows.stop - rows.start, columns.stop - columns.start) <= DIGIT_PX:
        return False
    # MNIST centred its digits to the nearest whole pixel.
    return max(abs(mass - CENTRE_PX) for mass in centre_of_mass(pixels)) < 0.55


def centre_of_mass(ink: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[float, float]:
    """Return the row and the column, in pixels, of the centre of mass of (h, w) ink that is not all black."""
    moments = cv2.moments(ink)
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


def read_thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn (h, w) uint8 grey levels of at most THUMBNAIL_PX a side into (1, 28, 28) uint8 pixels.

    Raises NoInkError if nothing stands out from the background.
    """
    contrast, full = two_levels(grey)
    solid = contrast > full * INK_SHARE
    if grey.shape == (SIDE_PX, SIDE_PX) and (not is_clean(contrast, full, solid) or is_like_mnist(contrast, solid)):
        # Noise, haze and lines cannot be cleaned here, but the net was trained to read through them.
        return (grey if grey.mean() >= np.median(grey) else 255 - grey)[None]
    return centre(fit(cut_out(contrast, keep_digit(solid, contrast, photo=False), full)))


def is_clean(contrast: NDArray[np.float32], full: float, solid: NDArray[np.bool_]) -> bool:
    """Return whether most of (h, w) contrast is plain background, and the solid ink touches fewer than two borders."""
    borders = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    plain = np.count_nonzero(contrast < 0.1 * full)
    return bool(plain > 0.6 * contrast.size) and sum(bool(border.any()) for border in borders) < 2


def is_like_mnist(contrast: NDArray[np.float32], solid: NDArray[np.bool_]) -> bool:
    """Return whether the ink in (28, 28) contrast is about as large and as well centred as MNIST's."""
    off = max(abs(mass - CENTRE_PX) for mass in centre_of_mass(contrast.clip(0)))
    return max(solid[extent(solid)].shape) >= LEAST_LIKE_PX and off < MOST_OFF_PX


def fit(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale (h, w) uint8 ink, keeping its aspect ratio, until its longer side is 20 pixels.

    Strokes thinner or wider than MNIST's are widened or thinned first.
    """
    scale = DIGIT_PX / max(ink.shape)
    thickness = stroke_width(ink > 127) * scale
    varied = np.pad(ink, 1)
    if thickness < THINNEST_STROKE_PX:
        widen = round((THINNEST_STROKE_PX - thickness) / scale)
        varied = np.asarray(cv2.dilate(np.pad(varied, widen // 2), np.ones((1 + widen, 1 + widen), np.uint8)), np.uint8)
    elif thickness > WIDEST_STROKE_PX:
        narrow = 1 + round((thickness - WIDEST_STROKE_PX) / scale)
        round_pen = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (narrow, narrow))
        varied = np.asarray(cv2.erode(varied, round_pen), np.uint8)
    if varied.any():
        ink = varied[extent(varied)]
    scale = DIGIT_PX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.HAMMING)
    pixels = np.asarray(small, np.float32)
    return np.clip(np.rint(pixels * (255 / pixels.max())), 0, 255).astype(np.uint8)


def centre(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place (h, w) uint8 ink of at most 20x20 on a (1, 28, 28) canvas by its centre of mass (LeCun et al. 1998)."""
    canvas = np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)
    corner = [
        min(max(round(CENTRE_PX - mass), 0), SIDE_PX - side)
        for mass, side in zip(centre_of_mass(ink), ink.shape, strict=True)
    ]
    canvas[0, corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return canvas
