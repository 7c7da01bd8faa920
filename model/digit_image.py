"""The way from any uploaded picture to the 28x28 pixels that the net reads."""

import io
import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_UPLOAD_BYTES = 8 * 1_048_576
MAX_MEGAPIXELS = 25
BLANK = "The picture is blank: no ink stands out from its background."
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")

# MNIST's geometry (LeCun et al. 1998): the digit fits 20x20, its centre of mass lies in the middle of 28x28.
SIDE_PX = 28
DIGIT_PX = 20
CENTRE_PX = 14

# Larger pictures are reduced to at most this side before the digit is looked for.
SEARCH_PX = 400
# Below this side a picture is a thumbnail: nothing but a digit, written on an even background.
THUMBNAIL_PX = 40
# Brightness steps of 255 that ink must differ from its background, and multiples of the picture's noise.
LEAST_CONTRAST = 16.0
LEAST_NOISE_RATIO = 4.0
# A drawing's background has one level, give or take this much, over this share of the picture.
EVEN_STEPS = 6
EVEN_SHARE = 0.75
# A brush may cover more; then the picture is a drawing if this share of points is exactly like its neighbour.
FLAT_SHARE = 0.6
# A drawing has less than this share of points that are neither background nor ink.
SHADES_SHARE = 0.12
# Widest strokes on a photographed page, as shares of the picture's shorter side: of a pen, and of a marker.
THIN_STROKE_SHARE, WIDE_STROKE_SHARE = 0.05, 0.15
# Ruling is darker than the paper by this much, in steps of 255 and multiples of the noise.
LEAST_RULING, LEAST_RULING_NOISE_RATIO = 4.0, 2.0
STEEPEST_RULING = 0.4
FEWEST_RULING_LINES = 3
# Shares: of the picture's width that a line takes at least; of a line that is there; of the width for a lone line.
SHORTEST_RULING, UNBROKEN_SHARE, LONE_LINE_SHARE = 0.4, 0.7, 0.85
# Lines are not the same all along: this much more than their usual contrast is taken away.
RULING_MARGIN = 1.6
# Marks that come this near to three sides of the picture, as a share of its shorter side, frame it.
RIM_SHARE = 0.03
# The share of the darkest ink's contrast from which a point counts as ink.
INK_SHARE = 0.35
# Marks that lie within this share of the digit's height belong to it, unless they are specks beside it.
GAP_SHARE = 0.25
SPECK_SHARE = 0.04
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
    if max(grey.shape) <= THUMBNAIL_PX:
        return read_thumbnail(grey)
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


def read_thumbnail(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit that fills (h, w) grey levels of at most THUMBNAIL_PX as (1, 28, 28) pixels.

    Raises BadImage if nothing stands out.
    """
    contrast, full = two_levels(grey)
    ink = np.rint(np.clip(contrast * (255 / full), 0, 255)).astype(np.uint8)
    solid = ink > 255 * INK_SHARE
    if grey.shape == (SIDE_PX, SIDE_PX) and not is_tidy(ink, solid):
        # Probably MNIST's geometry under noise, haze or lines: the net was trained to read through them.
        return ink[None]
    return centre(fit(cut_out(ink, keep_digit(solid, ink))))


def is_tidy(ink: NDArray[np.uint8], solid: NDArray[np.bool_]) -> bool:
    """Tell whether most of (h, w) ink is plain background and the solid part of it ends before two of the rims."""
    rims = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
    return bool(np.count_nonzero(ink < 24) > 0.6 * ink.size) and sum(bool(rim.any()) for rim in rims) < 2


def two_levels(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """Return (h, w) contrast to the background, ink positive, and that of full ink, in a picture of two levels.

    The background is the level that has more of the rim and more of the whole.
    Raises BadImage if there are no two.
    """
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = grey > threshold
    if not bright.any() or bright.all():
        raise BadImage(BLANK)
    rim = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    bright_ground = rim.mean() + bright.mean() > 1
    level = float(np.median(grey[bright == bright_ground]))
    contrast = (grey.astype(np.float32) - level) * (-1 if bright_ground else 1)
    full = float(np.percentile(contrast, 98))
    if full < LEAST_CONTRAST:
        raise BadImage(BLANK)
    return contrast, full


def find_ink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit in (h, w) grey levels as bright ink on black, cropped to it.

    Raises BadImage if nothing stands out from the background.
    """
    for flat in (grey, flatten(grey)):
        even = even_contrast(flat)
        if even is not None:
            return find_in(erase_ruling(even, EVEN_STEPS / 2), EVEN_STEPS)[0]
    paper = dark_on_bright(grey)
    thin = shade(paper, THIN_STROKE_SHARE)
    noise = noise_of(thin)
    ink, full = find_in(erase_ruling(thin, noise), noise)
    # A marker's strokes are wider than that: then there is darker ink, in strokes, not in patches.
    wide = shade(paper, WIDE_STROKE_SHARE)
    try:
        wide_ink, wide_full = find_in(wide, noise)
    except BadImage:
        return ink
    solid = np.count_nonzero(wide_ink > 127)
    strokes = solid > 5 * stroke_width(wide_ink) ** 2
    darker = wide_full > 1.25 * full
    fuller = wide_full > 0.9 * full and solid > 2 * np.count_nonzero(ink > 127)
    return wide_ink if strokes and (darker or fuller) else ink


def noise_of(contrast: NDArray[np.float32]) -> float:
    """Return the standard deviation of (h, w) contrast, of which less than half is ink."""
    return 1.4826 * float(np.median(np.abs(contrast[::2, ::2])))


def find_in(contrast: NDArray[np.float32], noise: float) -> tuple[NDArray[np.uint8], float]:
    """Return the digit in (h, w) contrast, ink positive, as ink 0..255 cropped to it, and its full contrast.

    Raises BadImage if nothing stands out from the noise.
    """
    least = max(LEAST_CONTRAST, LEAST_NOISE_RATIO * noise)
    marks = keep_digit(contrast > least, contrast)
    # How strong its own ink is says what else belongs to it.
    full = float(np.percentile(contrast[marks], 85))
    strong = contrast > max(INK_SHARE * full, least)
    weak = contrast > max(INK_SHARE * full / 2, 0.6 * least)
    digit = keep_digit(grow(strong & marks, weak), contrast)
    return cut_out(np.rint(np.clip(contrast * (255 / full), 0, 255)).astype(np.uint8), digit), full


def cut_out(ink: NDArray[np.uint8], marks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (h, w) ink under the marks and one point around them, their soft edge, cropped to the marks."""
    edge = cv2.dilate(marks.astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(ink * edge, np.uint8)[extent(marks)]


def grow(strong: NDArray[np.bool_], weak: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the (h, w) marks of weak that hold a point of strong."""
    count, marks = cv2.connectedComponents(weak.astype(np.uint8))
    holds = np.zeros(count, bool)
    holds[marks[strong]] = True
    holds[0] = False
    return holds[marks]


def even_contrast(grey: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Return (h, w) contrast of the ink, in brightness steps, if the background has one level, as drawings do.

    Nearly all of such a picture is background or ink; a photograph has shades between them.
    """
    levels = np.bincount(grey.reshape(-1), minlength=256)
    near = np.convolve(levels, np.ones(2 * EVEN_STEPS + 1, np.int64), "same")
    ground = int(near.argmax())
    if near[ground] < EVEN_SHARE * grey.size:
        if np.count_nonzero(grey[:, 1:] == grey[:, :-1]) < FLAT_SHARE * grey.size:
            return None
        # A thick brush may cover as much as the background: of two levels, that with more of the rim is the background.
        other = near.copy()
        other[max(0, ground - 3 * EVEN_STEPS) : ground + 3 * EVEN_STEPS + 1] = 0
        rim = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]]).astype(np.int64)
        ground = min(ground, int(other.argmax()), key=lambda level: np.count_nonzero(abs(rim - level) > EVEN_STEPS))
    contrast = grey.astype(np.float32) - ground
    if np.clip(contrast - EVEN_STEPS, 0, None).sum() < np.clip(-contrast - EVEN_STEPS, 0, None).sum():
        contrast = -contrast
    distance = np.abs(contrast)
    shades = np.count_nonzero((distance > EVEN_STEPS) & (distance < INK_SHARE * strongest(distance)))
    return contrast if shades < SHADES_SHARE * grey.size else None


def strongest(contrast: NDArray[np.float32]) -> float:
    """Return the mean of the thousandth of (h, w) contrast that is strongest."""
    count = max(4, contrast.size // 1000)
    return float(np.partition(contrast, -count, axis=None)[-count:].mean())


def flatten(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (h, w) grey levels without the slow changes of light over them."""
    surface = background(grey)
    return np.rint(np.clip(grey - surface + np.median(surface), 0, 255)).astype(np.uint8)


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


def dark_on_bright(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a smoothed (h, w) photograph in which the writing is dark, inverted if it was bright (chalk)."""
    smooth = cv2.GaussianBlur(grey, (3, 3), 0)
    size = 2 * round(THIN_STROKE_SHARE * min(grey.shape) / 2) + 1
    high = smooth.astype(np.float32)
    high -= cv2.blur(high, (size, size))
    dark = 255 - smooth if (high * high * high).sum() > 0 else smooth
    return np.asarray(dark, np.uint8)


def shade(paper: NDArray[np.uint8], stroke_share: float) -> NDArray[np.float32]:
    """Return (h, w) contrast of what is dark and narrower than a share of the shorter side, in steps of 255.

    The paper and its shadows are what stays when strokes are filled in. Ink takes a share of the light that
    falls on it, so the contrast is the same in a shadow.
    """
    size = 2 * round(stroke_share * min(paper.shape) / 2) + 1
    light = cv2.morphologyEx(paper, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8)).astype(np.float32)
    return np.asarray((light - paper) * (255 / (light + 20)), np.float32)


def erase_ruling(contrast: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """Take the lines of ruled or squared paper, margins and folds out of (h, w) contrast; ink over them stays."""
    erased = erase_rows(contrast, noise)
    return np.ascontiguousarray(erase_rows(np.ascontiguousarray(erased.T), noise).T)


def erase_rows(contrast: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    """Take lines from the left to the right out of (h, w) contrast."""
    width = contrast.shape[1]
    least = max(LEAST_RULING, LEAST_RULING_NOISE_RATIO * noise)
    ridge = contrast > least
    ridge[1:-1] &= (contrast[1:-1] >= contrast[:-2]) & (contrast[1:-1] >= contrast[2:])
    found = cv2.HoughLinesP(
        ridge.astype(np.uint8), 1, np.pi / 180, width // 8, minLineLength=0.3 * width, maxLineGap=0.05 * width
    )
    if found is None:
        return contrast
    segments = sorted(found.reshape(-1, 4).tolist(), key=lambda ends: abs(ends[2] - ends[0]), reverse=True)
    left = contrast.copy()
    lines = []
    for x0, y0, x1, y1 in segments:
        if abs(y1 - y0) <= STEEPEST_RULING * abs(x1 - x0):
            line = trace_line(left, least, (x0, y0), (y1 - y0) / (x1 - x0))
            if line is not None:
                lines.append(line)
                rows, columns, profile, _ = line
                left[rows, columns] = np.maximum(left[rows, columns] - profile, 0)
    # One or two lines may be strokes, unless they run from rim to rim; ruling is no darker in one place than another.
    usual = 2.5 * float(np.median([profile.max() for _, _, profile, _ in lines])) if lines else 0.0
    erased = contrast.copy()
    for rows, columns, profile, share in lines:
        if share > LONE_LINE_SHARE or (len(lines) >= FEWEST_RULING_LINES and profile.max() < usual):
            erased[rows, columns] = np.maximum(erased[rows, columns] - profile, 0)
    return erased


Line = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], float]


def trace_line(contrast: NDArray[np.float32], least: float, point: tuple[float, float], slope: float) -> Line | None:
    """Follow a line through a point (x, y) across (h, w) contrast, a little bent as it may be.

    Return its rows (7, n) and columns (n,), its own contrast (7, 1) and the share of the picture's width on which
    it is darker than least. None if that is no line from one rim to another, as ruling is.
    """
    height, width = contrast.shape
    reach = 3
    x = np.arange(width)
    y = point[1] + slope * (x - point[0])
    for _ in range(2):
        inside = (y >= reach) & (y < height - reach - 1)
        x, y = x[inside], y[inside]
        if len(x) < SHORTEST_RULING * width:
            return None
        rows = np.rint(y).astype(np.intp) + np.arange(-reach, reach + 1)[:, None]
        strip = contrast[rows, x]
        there = strip[1:-1].max(0) > least
        if np.count_nonzero(there) < UNBROKEN_SHARE * len(x):
            return None
        bent = np.polyfit(x[there], (strip[:, there].argmax(0) - reach + np.rint(y[there])), 2)
        y = np.polyval(bent, x)
    inside = (y >= reach) & (y < height - reach - 1)
    x, y = x[inside], y[inside]
    if not len(x):
        return None
    rows = np.rint(y).astype(np.intp) + np.arange(-reach, reach + 1)[:, None]
    strip = contrast[rows, x]
    profile = np.median(strip, 1, keepdims=True)
    if max(profile[0], profile[-1]) > 0.4 * profile.max() or not profile.any():
        return None
    share = np.count_nonzero(strip[reach - 1 : reach + 2].max(0) > least) / width
    return rows, x, np.where(profile > least / 2, np.float32(RULING_MARGIN) * profile, np.float32(0)), share


def keep_digit(ink: NDArray[np.bool_], contrast: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return (h, w) ink without specks, other writing, and marks along the rim, such as frames.

    Raises BadImage if nothing is left.
    """
    count, marks, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8))
    weight = np.bincount(marks.reshape(-1), contrast.reshape(-1).astype(np.float64), count)
    weight[0] = 0
    weight[stats[:, 4] < 2] = 0
    if count == 1 or not weight.any():
        raise BadImage(BLANK)
    height, width = ink.shape
    left, top, right, bottom = stats[:, 0], stats[:, 1], stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]
    margin = RIM_SHARE * min(height, width)
    rims = np.stack([left < 1, top < 1, right >= width, bottom >= height]).sum(0)
    hugs = np.stack([left <= margin, top <= margin, right >= width - margin, bottom >= height - margin]).sum(0)
    inside = np.where(rims > 0, 0, weight)
    # A digit may run into the rim itself: then it is by far the largest mark. A frame never is one.
    whole = (hugs >= 3) & (stats[:, 4] < 0.3 * stats[:, 2] * stats[:, 3])
    if inside[~whole].max(initial=0) > 0:
        inside = np.where(whole, 0, inside)
        weight = np.where(whole, 0, weight)
    # Nor is a long straight line, a fold or an edge, if there is anything else.
    line = (np.maximum(stats[:, 2] / width, stats[:, 3] / height) > 0.5) & (
        np.minimum(stats[:, 2], stats[:, 3]) < 0.1 * np.maximum(stats[:, 2], stats[:, 3])
    )
    for without in (np.where(line, 0, inside), inside):
        if without.max() > 0.02 * weight.max():
            weight = without
            break
    main = int(weight.argmax())
    chosen = np.zeros(count, bool)
    chosen[main] = True
    frontier = [main]
    while frontier:
        mark = frontier.pop()
        reach = GAP_SHARE * max(
            np.ptp([left[chosen].min(), right[chosen].max()]), np.ptp([top[chosen].min(), bottom[chosen].max()])
        )
        near = (left < right[mark] + reach) & (right > left[mark] - reach)
        near &= (top < bottom[mark] + reach) & (bottom > top[mark] - reach)
        near &= (weight >= SPECK_SHARE * weight[main]) & (weight > 0) & ~chosen
        frontier += np.nonzero(near)[0].tolist()
        chosen |= near
    return chosen[marks]


def fit(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Scale (h, w) uint8 ink, keeping its aspect ratio, until its longer side is 20 pixels.

    Strokes much thinner or wider than MNIST's are widened or thinned first.
    """
    scale = DIGIT_PX / max(ink.shape)
    thickness = stroke_width(ink) * scale
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
