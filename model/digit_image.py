"""The way from any uploaded picture to the 28x28 pixels that the net reads."""

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

MAX_UPLOAD_BYTES = 1_048_576
MAX_MEGAPIXELS = 25
BLANK = "The picture is blank: no ink stands out from its background."
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")

# MNIST's geometry (LeCun et al. 1998): the digit fits 20x20, its centre of mass lies in the middle of 28x28.
SIDE_PX = 28
DIGIT_PX = 20
CENTRE_PX = 14

# Larger pictures are reduced to at most this side before the digit is looked for.
SEARCH_PX = 400
# Brightness steps of 255 that ink must differ from its background, and multiples of the picture's noise.
LEAST_CONTRAST = 16.0
LEAST_NOISE_RATIO = 4.0
# The share of the darkest ink's contrast from which a point counts as ink.
INK_SHARE = 0.35
# Marks smaller than this share of the largest one are specks.
SPECK_SHARE = 0.04
# Strokes thinner than this, in pixels of the 20x20 box, are widened towards MNIST's own.
THINNEST_STROKE_PX = 1.8

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
    """A picture that cannot be read; its text is a sentence for the person who sent it."""


def read_picture(upload: bytes) -> NDArray[np.uint8]:
    """Turn the bytes of a picture file into (1, 28, 28) uint8 pixels, bright ink on dark, as MNIST's are.

    A picture that already has MNIST's size and geometry comes back unchanged.
    Raises BadImage for what is no picture, damaged, blank or too large.
    """
    grey = decode(upload)
    if grey.shape == (SIDE_PX, SIDE_PX):
        for pixels in (grey, 255 - grey):
            if is_mnist(pixels):
                return pixels[None]
    return centre(fit(find_ink(grey)))


def decode(upload: bytes) -> NDArray[np.uint8]:
    """Return the first frame as (h, w) uint8 grey levels, upright, no side above SEARCH_PX.

    Raises BadImage; the number of bytes and of pixels is checked before anything is decoded.
    """
    if not upload:
        raise BadImage("The picture is empty: send the bytes of a picture file.")
    if len(upload) > MAX_UPLOAD_BYTES:
        raise BadImage(f"The picture has {len(upload)} bytes: send at most {MAX_UPLOAD_BYTES}.")
    try:
        picture: Image.Image = Image.open(io.BytesIO(upload), formats=FORMATS)
    except Image.DecompressionBombError as cause:
        raise BadImage(f"The picture has too many pixels: send at most {MAX_MEGAPIXELS} megapixels.") from cause
    except DECODE_ERRORS as cause:
        raise BadImage("This is not a picture: send a PNG, JPEG, WebP, BMP or GIF file.") from cause
    megapixels = picture.width * picture.height / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise BadImage(f"The picture has {megapixels:.1f} megapixels: send at most {MAX_MEGAPIXELS}.")
    try:
        # JPEG decodes at a half, a quarter or an eighth of its size at a fraction of the cost.
        picture.draft("L", (SEARCH_PX, SEARCH_PX))
        picture.load()
        picture = to_grey(ImageOps.exif_transpose(picture))
    except DECODE_ERRORS as cause:
        raise BadImage("The picture is damaged or cut off: send the whole file.") from cause
    factor = -(-max(picture.size) // SEARCH_PX)
    if factor > 1:
        picture = picture.reduce(factor)
    return np.asarray(picture)


def to_grey(picture: Image.Image) -> Image.Image:
    """Return the picture in mode L, with transparent parts as a background that its ink stands out from."""
    if picture.mode == "L":
        return picture
    if picture.mode.startswith("I"):
        return Image.fromarray((np.clip(np.asarray(picture), 0, 65535) / 257).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("L")
    grey, alpha = picture.convert("LA").split()
    weights = np.asarray(alpha, np.float64)
    total = weights.sum()
    dark = total == 0 or (np.asarray(grey) * weights).sum() / total < 128
    return Image.composite(grey, Image.new("L", grey.size, 255 if dark else 0), alpha)


def is_mnist(pixels: NDArray[np.uint8]) -> bool:
    """Tell whether (28, 28) uint8 pixels have MNIST's geometry: black around a centred digit 20 pixels long."""
    if not pixels.any() or not DIGIT_PX - 1 <= max(pixels[extent(pixels)].shape) <= DIGIT_PX:
        return False
    # The centre of mass was brought to the nearest whole pixel.
    return max(abs(mass - CENTRE_PX) for mass in centre_of_mass(pixels)) < 0.55


def extent(ink: NDArray[np.generic]) -> tuple[slice, slice]:
    """Return the rows and the columns that (h, w) ink covers, which is not all black."""
    rows, columns = np.nonzero(ink.any(1))[0], np.nonzero(ink.any(0))[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def centre_of_mass(ink: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the row and the column of the centre of mass of (h, w) ink that is not all black."""
    by_row, by_column = ink.sum(1, dtype=np.float64), ink.sum(0, dtype=np.float64)
    total = by_row.sum()
    return (
        float(by_row @ np.arange(len(by_row)) / total),
        float(by_column @ np.arange(len(by_column)) / total),
    )


def find_ink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit in (h, w) grey levels as bright ink on black, cropped to it.

    Raises BadImage if nothing stands out from the background.
    """
    contrast = grey - background(grey)
    noise = 1.4826 * float(np.median(np.abs(contrast)))
    least = max(LEAST_CONTRAST, LEAST_NOISE_RATIO * noise)
    # Ink is the rare side: what lies far above the background or far below, whichever is more.
    if np.clip(contrast - least, 0, None).sum() < np.clip(-contrast - least, 0, None).sum():
        contrast = -contrast
    strongest = np.sort(contrast, axis=None)[-max(4, contrast.size // 1000) :]
    full = float(strongest.mean())
    if full < least:
        raise BadImage(BLANK)
    strong = contrast > max(INK_SHARE * full, LEAST_NOISE_RATIO * noise)
    # Half as strong is ink too where it continues such a stroke: a pencil does not press evenly.
    weak = contrast > max(INK_SHARE * full, LEAST_NOISE_RATIO * noise) / 2
    digit = keep_digit(ndimage.binary_propagation(strong, np.ones((3, 3)), mask=weak))
    if not digit.any():
        raise BadImage(BLANK)
    box = extent(digit)
    # One point beyond the digit belongs to its soft edge.
    edge = ndimage.binary_dilation(digit[box], np.ones((3, 3)))
    ink = np.clip(contrast[box] / full, 0, 1) * edge
    return np.rint(255 * ink).astype(np.uint8)


def background(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Estimate the paper under (h, w) grey levels as a smooth (h, w) surface that ignores the ink.

    A quadratic in both directions, fitted by iteratively reweighted least squares (Cauchy weights): it
    follows the light over a page, and ink counts as outliers whether it is darker or brighter.
    """
    height, width = grey.shape
    step = max(1, min(height, width) // 40)
    y, x = np.mgrid[0:height:step, 0:width:step].reshape(2, -1)
    level = grey[::step, ::step].reshape(-1).astype(np.float64)
    terms = _quadratic(y / height - 0.5, x / width - 0.5)
    residual: NDArray[np.float64] = level - np.median(level)
    surface: NDArray[np.floating] = np.zeros(terms.shape[1])
    for _ in range(8):
        spread = max(2.0, 2.0 * float(np.median(np.abs(residual))))
        weighted = terms / (1 + (residual / spread) ** 2)[:, None]
        surface = np.linalg.lstsq(weighted.T @ terms, weighted.T @ level, rcond=None)[0]
        residual = level - terms @ surface
    y, x = np.arange(height)[:, None] / height - 0.5, np.arange(width) / width - 0.5
    constant, by_y, by_x, by_yy, by_xx, by_yx = surface
    return (constant + by_y * y + by_yy * y * y + by_x * x + by_xx * x * x + by_yx * (y * x)).astype(np.float32)


def _quadratic(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the six terms of a quadratic in (n,) y and x as columns (n, 6)."""
    return np.stack([np.ones_like(y), y, x, y * y, x * x, y * x], 1)


def keep_digit(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (h, w) ink without specks and without marks that only touch the rim, such as frames and shadows."""
    marks, count = ndimage.label(ink, np.ones((3, 3)))
    if count == 1:
        return ink
    areas = np.bincount(marks.reshape(-1))
    areas[0] = 0
    rim = np.unique(np.concatenate([marks[0], marks[-1], marks[:, 0], marks[:, -1]]))
    inside = areas.copy()
    inside[rim] = 0
    # A digit may run into the rim itself: then it is by far the largest mark.
    if inside.max() > 0.1 * areas.max():
        areas = inside
    return (areas >= max(2, SPECK_SHARE * areas.max()))[marks]


def fit(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale (h, w) uint8 ink, keeping its aspect ratio, until its longer side is 20 pixels; thin strokes widen."""
    scale = DIGIT_PX / max(ink.shape)
    thickness = stroke_width(ink) * scale
    if thickness < THINNEST_STROKE_PX:
        widen = round((THINNEST_STROKE_PX - thickness) / scale)
        ink = np.pad(ink, widen // 2)
        ink = ndimage.maximum_filter(ink, 1 + widen) if widen else ink
        scale = DIGIT_PX / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    small = Image.fromarray(ink).resize((width, height), Image.Resampling.HAMMING)
    pixels = np.asarray(small, np.float32)
    return np.clip(np.rint(pixels * (255 / pixels.max())), 0, 255).astype(np.uint8)


def stroke_width(ink: NDArray[np.uint8]) -> float:
    """Estimate the mean width of the strokes in (h, w) uint8 ink in pixels, from their area and their outline."""
    solid = np.pad(ink > 127, 1)
    area = np.count_nonzero(solid)
    outline = np.count_nonzero(solid[1:] != solid[:-1]) + np.count_nonzero(solid[:, 1:] != solid[:, :-1])
    # A slanted edge counts once a row and once a column: 4 / pi times its length on average.
    return 2 * area / max(1.0, outline * np.pi / 4)


def centre(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Place (h, w) uint8 ink of at most 20x20 on a (1, 28, 28) canvas by its centre of mass, as MNIST did."""
    canvas = np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)
    corner = [
        min(max(round(CENTRE_PX - mass), 0), SIDE_PX - side)
        for mass, side in zip(centre_of_mass(ink), ink.shape, strict=True)
    ]
    canvas[0, corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return canvas
