"""Finding the ink of one digit on any background: even, shaded, ruled, framed or in shadow."""

import cv2
import numpy as np
from numpy.typing import NDArray

from digit_ruling import erase_ruling

# Ink differs from its background by at least so many brightness steps of 255, and multiples of the noise.
LEAST_CONTRAST = 16.0
LEAST_NOISE_RATIO = 4.0
# A drawing's background has one level, within so many steps or multiples of its noise, over this share of the picture.
EVEN_STEPS, EVEN_NOISE_RATIO = 6, 3.0
EVEN_SHARE = 0.75
# A thick brush may cover more. Then a picture is a drawing if this share of its pixels is exactly like its neighbour
# or, under noise, if this share is close to one of two levels.
FLAT_SHARE, TWO_LEVELS_SHARE = 0.6, 0.85
# Less than this share of a drawing is neither background nor ink.
DRAWING_SHADES, PHOTO_SHADES = 0.12, 0.01
# More is allowed if fewer than the second share are farther from ink than the first share of the shorter side.
SOFT_EDGE_SHARE, FAR_SHADES = 0.06, 0.003
# The widest strokes of a pen and of a marker on a photographed page, as shares of its shorter side.
THIN_STROKE_SHARE, WIDE_STROKE_SHARE = 0.05, 0.15
# A lone line as long as this share of the width is not a stroke of a digit; in a drawing it may always be one.
LONE_LINE_IN_PHOTO, LONE_LINE_IN_DRAWING = 0.85, 1.1
# No ruling is sought in smaller drawings.
SMALLEST_RULED_PX = 150
# A mark inside a picture is preferred to one at its border even with only this share of its weight.
BORDER_RATIO = 0.02
# How much darker a marker's strokes are when wide strokes are sought than when only thin ones are.
WIDE_CONTRAST_RATIO = 1.1
# A line along the border, within this share of the shorter side, is a frame.
FRAME_SHARE = 0.06
# A mark within this share of the shorter side of three borders frames the picture.
BORDER_SHARE = 0.03
# Stronger noise is blurred down to this standard deviation, with a sigma of at most this share of the shorter side.
LEAST_NOISE, MOST_BLUR_SHARE = 3.0, 0.02
# The share of the contrast of full ink from which a pixel counts as ink.
INK_SHARE = 0.35
# Marks within this share of the digit's longer side belong to it, unless their share of its weight makes them specks.
GAP_SHARE = 0.35
SPECK_SHARE = 0.04


class NoInkError(Exception):
    """No ink stands out from the background."""


def find_ink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit in (h, w) uint8 grey levels as bright ink on black, uint8 and cropped to it.

    Raises NoInkError if nothing stands out from the background.
    """
    grey, left = denoise(grey)
    steps = max(EVEN_STEPS, round(EVEN_NOISE_RATIO * left))
    for flat, shades in ((grey, DRAWING_SHADES), (flatten(grey), PHOTO_SHADES)):
        even = even_contrast(flat, steps, shades)
        if even is not None:
            if min(even.shape) >= SMALLEST_RULED_PX:
                even = erase_ruling(even, steps / 2, LONE_LINE_IN_DRAWING)
            return cut_out(even, *find_in(even, steps, photo=False))
    paper = dark_on_bright(grey)
    thin = shade(paper, THIN_STROKE_SHARE)
    noise = noise_of(thin)
    thin = erase_ruling(thin, noise, LONE_LINE_IN_PHOTO)
    marks, full = find_in(thin, noise, photo=True)
    # Of a marker, whose strokes are wider, these are only ends and crossings.
    wide = shade(paper, WIDE_STROKE_SHARE)
    if percentile(wide[marks], 85) > WIDE_CONTRAST_RATIO * full:
        strokes, wide_full = find_in(wide, noise, photo=True)
        if strokes[marks].mean() > 0.7 and is_written(strokes):
            return cut_out(wide, strokes, wide_full)
    return cut_out(thin, marks, full)


def denoise(grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Blur (h, w) uint8 grey levels as much as their noise requires; return them and the remaining noise, in steps.

    Noise is the standard deviation of the differences between neighbours; below 3 steps nothing is blurred.
    """
    steps = np.bincount(cv2.absdiff(grey[:, 1:], grey[:, :-1]).reshape(-1), minlength=256)
    # The median difference of two normal numbers is 0.954 standard deviations.
    deviation = float(np.searchsorted(steps.cumsum(), steps.sum() / 2)) / 0.954
    if deviation < LEAST_NOISE:
        return grey, deviation
    # A Gaussian of sigma s leaves 1 / (3.54 s) of the noise.
    sigma = min(deviation / (3.54 * LEAST_NOISE), MOST_BLUR_SHARE * min(grey.shape))
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.uint8), min(deviation, deviation / (3.54 * sigma))


def even_contrast(grey: NDArray[np.uint8], even_steps: int, most_shades: float) -> NDArray[np.float32] | None:
    """Return the ink's (h, w) contrast, in brightness steps, if the background of grey has one level; otherwise None.

    Drawings have one: nearly all of them is background or ink. Photographs have shades in between.
    """
    levels = np.bincount(grey.reshape(-1), minlength=256)
    near = np.convolve(levels, np.ones(2 * even_steps + 1, np.int64), "same")
    ground = int(near.argmax())
    if near[ground] < EVEN_SHARE * grey.size and 15 < ground < 240:
        # A thick brush may cover as much as the background, which of two levels is the one with more of the border.
        other = near.copy()
        other[max(0, ground - 3 * even_steps) : ground + 3 * even_steps + 1] = 0
        if np.count_nonzero(grey[:, 1:] == grey[:, :-1]) < FLAT_SHARE * grey.size and (
            even_steps == EVEN_STEPS or near[ground] + other.max() < TWO_LEVELS_SHARE * grey.size
        ):
            return None
        inset = 1 + round(FRAME_SHARE * min(grey.shape))
        inner = grey[inset:-inset, inset:-inset]
        border = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]]).astype(np.int64)
        ground = min(ground, int(other.argmax()), key=lambda level: np.count_nonzero(abs(border - level) > even_steps))
    above = np.arange(256) - ground
    excess = np.clip(np.abs(above) - even_steps, 0, None) * levels
    # The thousandth of the pixels that is farthest from the background is ink.
    farthest = np.bincount(np.abs(above), levels, 256)[::-1].cumsum()[::-1]
    full = np.nonzero(farthest >= max(4, grey.size // 1000))[0][-1]
    shades = levels[(np.abs(above) > even_steps) & (np.abs(above) < INK_SHARE * full)].sum()
    if near[ground] < EVEN_SHARE * grey.size:
        most_shades /= 3
    contrast = grey.astype(np.float32) - ground
    if shades >= most_shades * grey.size:
        # Ink out of focus has shades around it; a photograph has them elsewhere too.
        reach = 2 * round(SOFT_EDGE_SHARE * min(grey.shape)) + 1
        distance = np.abs(contrast)
        beside = cv2.dilate((distance >= INK_SHARE * full).view(np.uint8), np.ones((reach, reach), np.uint8)) == 0
        if np.count_nonzero((distance > even_steps) & beside) >= FAR_SHADES * grey.size:
            return None
    return contrast if excess[above > 0].sum() >= excess[above < 0].sum() else -contrast


def flatten(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (h, w) uint8 grey levels without their gradual changes in light."""
    surface = background(grey)
    middle = surface[surface.shape[0] // 2, surface.shape[1] // 2]
    return cv2.convertScaleAbs(np.clip(grey - surface + middle, 0, 255))


def background(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Estimate the paper under (h, w) grey levels as a smooth (h, w) surface that ignores the ink.

    It is a quadratic in both directions, fitted by iteratively reweighted least squares (Cauchy weights), which
    follows the light over a page and treats ink as outliers, whether darker or brighter.
    """
    height, width = grey.shape
    step = max(1, min(height, width) // 25)
    y, x = np.mgrid[0:height:step, 0:width:step].reshape(2, -1)
    level = grey[::step, ::step].reshape(-1).astype(np.float64)
    terms = quadratic_terms(y / height - 0.5, x / width - 0.5)
    residual: NDArray[np.float64] = level - np.median(level)
    surface: NDArray[np.floating] = np.zeros(terms.shape[1])
    for _ in range(5):
        spread = max(2.0, 2.0 * float(np.median(np.abs(residual))))
        weighted = terms / (1 + (residual / spread) ** 2)[:, None]
        surface = np.linalg.solve(weighted.T @ terms + 1e-6 * np.eye(terms.shape[1]), weighted.T @ level)
        residual = level - terms @ surface
    y, x = np.arange(height)[:, None] / height - 0.5, np.arange(width) / width - 0.5
    constant, by_y, by_x, by_yy, by_xx, by_yx = surface
    return (constant + by_y * y + by_yy * y * y + by_x * x + by_xx * x * x + by_yx * (y * x)).astype(np.float32)


def quadratic_terms(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the six terms of a quadratic in (n,) y and x as columns (n, 6)."""
    return np.stack([np.ones_like(y), y, x, y * y, x * x, y * x], 1)


def dark_on_bright(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (h, w) uint8 grey levels of a photograph, smoothed, and inverted if the writing is bright (chalk)."""
    smooth = cv2.GaussianBlur(grey, (3, 3), 0)
    size = 2 * round(THIN_STROKE_SHARE * min(grey.shape) / 2) + 1
    high = smooth.astype(np.float32)
    high -= cv2.blur(high, (size, size))
    dark = 255 - smooth if (high * high * high).sum() > 0 else smooth
    return np.asarray(dark, np.uint8)


def shade(paper: NDArray[np.uint8], stroke_share: float) -> NDArray[np.float32]:
    """Return the (h, w) contrast, in steps of 255, of what is dark and narrower than a share of the shorter side.

    Filling in the strokes leaves the paper and its shadows. Ink absorbs a share of the light that falls on it, so its
    contrast is the same in a shadow.
    """
    size = 2 * round(stroke_share * min(paper.shape) / 2) + 1
    light = cv2.morphologyEx(paper, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8)).astype(np.float32)
    return np.asarray((light - paper) * (255 / (light + 20)), np.float32)


def noise_of(contrast: NDArray[np.float32]) -> float:
    """Return the standard deviation of the background in (h, w) contrast, of which less than half is ink."""
    return 1.4826 * float(np.median(np.abs(contrast[::3, ::3])))


def find_in(contrast: NDArray[np.float32], noise: float, photo: bool) -> tuple[NDArray[np.bool_], float]:
    """Return the (h, w) marks of the digit in (h, w) contrast, where ink is positive, and the contrast of full ink.

    Raises NoInkError if nothing stands out from the noise.
    """
    least = max(LEAST_CONTRAST, LEAST_NOISE_RATIO * noise)
    blank_frame(contrast, least)
    marks = keep_digit(contrast > least, contrast, photo)
    # The strength of the digit's own ink decides what else belongs to it.
    full = percentile(contrast[marks], 85)
    strong = contrast > max(INK_SHARE * full, least)
    # Half as strong is ink too where it continues such a stroke: nobody presses a pencil evenly.
    weak = contrast > max(INK_SHARE * full / 2, 0.6 * least)
    return keep_digit(grow(strong & marks, weak), contrast, photo), full


def is_written(marks: NDArray[np.bool_]) -> bool:
    """Return whether (h, w) marks are strokes, several times longer than wide, and not patches."""
    return bool(np.count_nonzero(marks) > 5 * stroke_width(marks) ** 2)


def percentile(numbers: NDArray[np.float32], share: int) -> float:
    """Return the percentile of (n,) numbers at a share in percent, in a tenth of the time that numpy takes."""
    place = (len(numbers) - 1) * share // 100
    return float(np.partition(numbers, place)[place])


def blank_frame(contrast: NDArray[np.float32], least: float) -> None:
    """Set (h, w) contrast to 0 from the border to a line along it: a frame, or the edge of the paper."""
    depth = max(3, round(FRAME_SHARE * min(contrast.shape)))
    for side in (contrast, contrast[::-1], contrast.T, contrast.T[::-1]):
        lines = np.nonzero((side[:depth] > least).mean(1) > 0.9)[0]
        if len(lines):
            side[: lines[-1] + 2] = 0


def keep_digit(ink: NDArray[np.bool_], contrast: NDArray[np.float32], photo: bool) -> NDArray[np.bool_]:
    """Return (h, w) ink without specks, other writing, and marks along the border, such as frames.

    A mark at the border is the digit only if nothing inside has BORDER_RATIO of its weight. It is part of a digit only
    in a drawing: a photograph also shows what lies around the page.
    Raises NoInkError if nothing is left.
    """
    count, marks, stats, _ = cv2.connectedComponentsWithStats(ink.view(np.uint8))
    weight = np.bincount(marks[ink], contrast[ink], count)
    weight[stats[:, 4] < 2] = 0
    if count == 1 or not weight.any():
        raise NoInkError
    height, width = ink.shape
    left, top, right, bottom = stats[:, 0], stats[:, 1], stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]
    margin = BORDER_SHARE * min(height, width)
    borders = np.stack([left < 1, top < 1, right >= width, bottom >= height]).sum(0)
    hugs = np.stack([left <= margin, top <= margin, right >= width - margin, bottom >= height - margin]).sum(0)
    inside = np.where(borders > 0, 0, weight)
    # A digit may touch the border itself: then it is by far the largest mark. A frame is never the digit.
    whole = (hugs >= 3) & (stats[:, 4] < 0.3 * stats[:, 2] * stats[:, 3])
    if inside[~whole].max(initial=0) > 0:
        inside = np.where(whole, 0, inside)
        weight = np.where(whole, 0, weight)
    # Nor is a long straight line, such as a fold or an edge, if there is anything else.
    line = (np.maximum(stats[:, 2] / width, stats[:, 3] / height) > 0.5) & (
        np.minimum(stats[:, 2], stats[:, 3]) < 0.1 * np.maximum(stats[:, 2], stats[:, 3])
    )
    everything = weight
    for without in (np.where(line, 0, inside), inside):
        if without.max() > BORDER_RATIO * weight.max():
            weight = without
            break
    main = int(weight.argmax())
    if not photo:
        weight = everything
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


def grow(strong: NDArray[np.bool_], weak: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected (h, w) marks of weak that contain a pixel of strong."""
    count, marks = cv2.connectedComponents(weak.view(np.uint8))
    holds = np.zeros(count, bool)
    holds[marks[strong]] = True
    holds[0] = False
    return holds[marks]


def cut_out(contrast: NDArray[np.float32], marks: NDArray[np.bool_], full: float) -> NDArray[np.uint8]:
    """Return (h, w) contrast as uint8 ink, cropped to the marks and one pixel around them for their soft edge."""
    box = extent(marks)
    edge = cv2.dilate(marks[box].astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.rint(np.clip(contrast[box] * (255 / full), 0, 255) * edge).astype(np.uint8)


def extent(ink: NDArray[np.generic]) -> tuple[slice, slice]:
    """Return the rows and the columns that (h, w) uint8 or bool ink covers, or empty slices if it is all black."""
    x, y, width, height = cv2.boundingRect(ink.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def stroke_width(marks: NDArray[np.bool_]) -> float:
    """Estimate the mean width, in pixels, of the strokes in (h, w) marks from their area and outline."""
    solid = np.pad(marks, 1)
    area = np.count_nonzero(solid)
    outline = np.count_nonzero(solid[1:] != solid[:-1]) + np.count_nonzero(solid[:, 1:] != solid[:, :-1])
    # A slanted edge counts once in each row and column: on average 4 / pi times its length.
    return 2 * area / max(1.0, outline * np.pi / 4)


def two_levels(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """Return the (h, w) contrast of a picture of two levels, where ink is positive, and the contrast of full ink.

    The background is the level with the larger shares of the border and of the whole.
    Raises NoInkError if there is only one level.
    """
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = grey > threshold
    if not bright.any() or bright.all():
        raise NoInkError
    border = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    bright_ground = border.mean() + bright.mean() > 1
    level = float(np.median(grey[bright == bright_ground]))
    contrast = (grey.astype(np.float32) - level) * (-1 if bright_ground else 1)
    full = float(np.percentile(contrast, 98))
    if full < LEAST_CONTRAST:
        raise NoInkError
    return contrast, full
