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
# How the names of such files end, in lower case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")

# MNIST's geometry (LeCun et al. 1998): the digit fits 20x20, its centre of mass lies in the middle of 28x28.
SIDE_PX = 28
DIGIT_PX = 20
CENTRE_PX = 14

# Larger pictures are reduced to at most this side before the digit is looked for.
SEARCH_PX = 400
# A picture less wide or high than this, after it was reduced, holds no digit.
NARROWEST_PX = 8
# Below this side a picture is a thumbnail: nothing but a digit, written on an even background.
THUMBNAIL_PX = 40
# A thumbnail of MNIST's size is like MNIST if its digit is this long and its centre of mass this near to the middle.
LEAST_LIKE_PX, MOST_OFF_PX = 17, 3.0
# Strokes outside this range of widths, in pixels of the 20x20 box, are brought to it: MNIST's own.
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
    """A picture that cannot be read; its text is a sentence for the person who sent it.

    The reason is one of few words, by which such pictures are counted.
    """

    def __init__(self, sentence: str, reason: str = "malformed_request") -> None:
        super().__init__(sentence)
        self.reason = reason


def read_picture(upload: bytes) -> NDArray[np.uint8]:
    """Turn the bytes of a picture file into (1, 28, 28) uint8 pixels, bright ink on dark, as MNIST's are.

    A picture that already has MNIST's size and geometry comes back unchanged.
    Raises BadImage for what is not a picture, damaged, blank or too large.
    """
    return find_digit(open_picture(upload))


def find_digit(picture: Image.Image) -> NDArray[np.uint8]:
    """Do the same with a picture of which nothing but the header was read."""
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
    """Return a picture of a known format and size, of which nothing but the header was read. Raises BadImage."""
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
    """Return how many megapixels a picture has."""
    return picture.width * picture.height / 1e6


def decode(picture: Image.Image) -> NDArray[np.uint8]:
    """Return the first frame as (h, w) uint8 grey levels, upright, no side above SEARCH_PX. Raises BadImage."""
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
    """Average whole points of the picture until no side is above SEARCH_PX."""
    factor = reduction(picture)
    return picture.reduce(factor) if factor > 1 else picture


def reduction(picture: Image.Image) -> int:
    """Return how many times smaller, in whole numbers, a picture must be so that no side is above SEARCH_PX."""
    return -(-max(picture.size) // SEARCH_PX)


def to_grey(picture: Image.Image) -> Image.Image:
    """Return the picture in mode L, with transparent parts as a background that its ink stands out from."""
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
    """Return an RGB picture in mode L: its brightness, or if ink hardly differs in that, the colour it differs in."""
    brightness = picture.convert("L")
    step = max(1, min(picture.size) // 64)
    points = np.asarray(picture)[::step, ::step].reshape(-1, 3).astype(np.float32)
    grey = np.asarray(brightness)[::step, ::step].reshape(-1).astype(np.float32)
    colours = points - np.median(points, 0)
    distance = np.abs(colours).max(1)
    far = distance >= np.partition(distance, -max(4, len(distance) // 50))[-max(4, len(distance) // 50)]
    if np.abs(grey - np.median(grey))[far].mean() > 0.35 * distance[far].mean():
        return brightness
    # The mean colour of the ink as seen from the background, whichever side of it the first of it lies.
    ink = colours[far] * np.sign(colours[far] @ colours[distance.argmax()])[:, None]
    direction = ink.mean(0)
    levels = (np.asarray(picture) - np.median(points, 0)) @ (direction / max(1e-6, np.abs(direction).sum()))
    return Image.fromarray(np.clip(np.rint(128 + levels), 0, 255).astype(np.uint8))


def is_mnist(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether (28, 28) uint8 pixels have MNIST's geometry: black around a centred digit 20 pixels long."""
    rows, columns = extent(pixels)
    if not DIGIT_PX - 1 <= max(rows.stop - rows.start, columns.stop - columns.start) <= DIGIT_PX:
        return False
    # The centre of mass was brought to the nearest whole pixel.
    return max(abs(mass - CENTRE_PX) for mass in centre_of_mass(pixels)) < 0.55


def centre_of_mass(ink: NDArray[np.uint8] | NDArray[np.float32]) -> tuple[float, float]:
    """Return the row and the column of the centre of mass of (h, w) uint8 or float32 ink that is not all black."""
    moments = cv2.moments(ink)
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


def read_thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit that fills (h, w) grey levels of at most THUMBNAIL_PX as (1, 28, 28) pixels.

    Raises NoInkError if nothing stands out.
    """
    contrast, full = two_levels(grey)
    solid = contrast > full * INK_SHARE
    if grey.shape == (SIDE_PX, SIDE_PX) and (not is_clean(contrast, full, solid) or is_like_mnist(contrast, solid)):
        # Noise, haze or lines are more than can be cleaned here, and the net was trained to read through them.
        return (grey if grey.mean() >= np.median(grey) else 255 - grey)[None]
    return centre(fit(cut_out(contrast, keep_digit(solid, contrast, photo=False), full)))


def is_clean(contrast: NDArray[np.float32], full: float, solid: NDArray[np.bool_]) -> bool:
    """Tell whether most of (h, w) contrast is plain background and the solid ink in it ends before two of the rims."""
    rims = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    plain = np.count_nonzero(contrast < 0.1 * full)
    return bool(plain > 0.6 * contrast.size) and sum(bool(rim.any()) for rim in rims) < 2


def is_like_mnist(contrast: NDArray[np.float32], solid: NDArray[np.bool_]) -> bool:
    """Tell whether the ink in (28, 28) contrast, partly solid, is about as large and as well centred as MNIST's."""
    off = max(abs(mass - CENTRE_PX) for mass in centre_of_mass(contrast.clip(0)))
    return max(solid[extent(solid)].shape) >= LEAST_LIKE_PX and off < MOST_OFF_PX


def fit(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale (h, w) uint8 ink, keeping its aspect ratio, until its longer side is 20 pixels.

    Strokes much thinner or wider than MNIST's are widened or thinned first.
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
    """Place (h, w) uint8 ink of at most 20x20 on a (1, 28, 28) canvas by its centre of mass, as MNIST did."""
    canvas = np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)
    corner = [
        min(max(round(CENTRE_PX - mass), 0), SIDE_PX - side)
        for mass, side in zip(centre_of_mass(ink), ink.shape, strict=True)
    ]
    canvas[0, corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return canvas
