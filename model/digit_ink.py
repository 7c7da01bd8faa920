"""Finding the ink of one digit on whatever it was written: even grounds, shaded paper, ruling, frames, shadows."""

import cv2
import numpy as np
from numpy.typing import NDArray

from digit_ruling import erase_ruling

# Brightness steps of 255 that ink must differ from its background, and multiples of the picture's noise.
LEAST_CONTRAST = 16.0
LEAST_NOISE_RATIO = 4.0
# A drawing's background has one level, give or take this much or so many times its noise, over this share of it.
EVEN_STEPS, EVEN_NOISE_RATIO = 6, 3.0
EVEN_SHARE = 0.75
# A brush may cover more; then the picture is a drawing if this share of points is exactly like its neighbour or,
# under noise, if this share is near one of two levels.
FLAT_SHARE, TWO_LEVELS_SHARE = 0.6, 0.85
# A drawing has less than this share of points that are neither background nor ink.
DRAWING_SHADES, PHOTO_SHADES = 0.12, 0.01
# So it is if shades lie as near to ink as this share of the shorter side, but for this share of them.
SOFT_EDGE_SHARE, FAR_SHADES = 0.06, 0.003
# Widest strokes on a photographed page, as shares of the picture's shorter side: of a pen, and of a marker.
THIN_STROKE_SHARE, WIDE_STROKE_SHARE = 0.05, 0.15
# A lone line is no stroke of a digit if it takes this share of the width; in a drawing it always may be one.
LONE_LINE_IN_PHOTO, LONE_LINE_IN_DRAWING = 0.85, 1.1
# Smaller drawings have no ruling.
SMALLEST_RULED_PX = 150
# A mark inside a picture counts more than one at its rim even if it has only this share of its weight.
RIM_RATIO = 0.02
# A marker is darker by this much than what is found of it when only thin strokes are looked for.
WIDE_CONTRAST_RATIO = 1.1
# A line along a rim, as deep inside as this share of the shorter side, is a frame.
FRAME_SHARE = 0.06
# Marks that come this near to three sides of the picture, as a share of its shorter side, frame it.
RIM_SHARE = 0.03
# Noise with a lower standard deviation stays; more is blurred down to this, but with this sigma at most, as a share
# of the shorter side.
LEAST_NOISE, MOST_BLUR_SHARE = 3.0, 0.02
# The share of the darkest ink's contrast from which a point counts as ink.
INK_SHARE = 0.35
# Marks that lie within this share of the digit's height belong to it, unless they are specks beside it.
GAP_SHARE = 0.35
SPECK_SHARE = 0.04


class NoInkError(Exception):
    """Nothing stands out from the background."""


def find_ink(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digit in (h, w) grey levels as bright ink on black, cropped to it.

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
    # A marker's strokes are wider than that: then these are only their ends and crossings.
    wide = shade(paper, WIDE_STROKE_SHARE)
    if percentile(wide[marks], 85) > WIDE_CONTRAST_RATIO * full:
        strokes, wide_full = find_in(wide, noise, photo=True)
        if strokes[marks].mean() > 0.7 and is_written(strokes):
            return cut_out(wide, strokes, wide_full)
    return cut_out(thin, marks, full)


def denoise(grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """Blur (h, w) grey levels as much as their noise asks for; return them and the noise that is left, in steps.

    Noise is the standard deviation of what neighbours differ by; below 3 steps it stays.
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
    """Return (h, w) contrast of the ink, in brightness steps, if the background has one level, as drawings do.

    Nearly all of such a picture is background or ink; a photograph has shades between them.
    """
    levels = np.bincount(grey.reshape(-1), minlength=256)
    near = np.convolve(levels, np.ones(2 * even_steps + 1, np.int64), "same")
    ground = int(near.argmax())
    if near[ground] < EVEN_SHARE * grey.size and 15 < ground < 240:
        # A thick brush may cover as much as the background: of two levels, that with more of the rim is the background.
        other = near.copy()
        other[max(0, ground - 3 * even_steps) : ground + 3 * even_steps + 1] = 0
        if np.count_nonzero(grey[:, 1:] == grey[:, :-1]) < FLAT_SHARE * grey.size and (
            even_steps == EVEN_STEPS or near[ground] + other.max() < TWO_LEVELS_SHARE * grey.size
        ):
            return None
        inset = 1 + round(FRAME_SHARE * min(grey.shape))
        inner = grey[inset:-inset, inset:-inset]
        rim = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]]).astype(np.int64)
        ground = min(ground, int(other.argmax()), key=lambda level: np.count_nonzero(abs(rim - level) > even_steps))
    above = np.arange(256) - ground
    excess = np.clip(np.abs(above) - even_steps, 0, None) * levels
    # The thousandth of the points that is farthest from the background is ink.
    farthest = np.bincount(np.abs(above), levels, 256)[::-1].cumsum()[::-1]
    full = np.nonzero(farthest >= max(4, grey.size // 1000))[0][-1]
    shades = levels[(np.abs(above) > even_steps) & (np.abs(above) < INK_SHARE * full)].sum()
    if near[ground] < EVEN_SHARE * grey.size:
        most_shades /= 3
    contrast = grey.astype(np.float32) - ground
    if shades >= most_shades * grey.size:
        # Out of focus, ink has shades around it; a photograph has them elsewhere too.
        reach = 2 * round(SOFT_EDGE_SHARE * min(grey.shape)) + 1
        distance = np.abs(contrast)
        beside = cv2.dilate((distance >= INK_SHARE * full).view(np.uint8), np.ones((reach, reach), np.uint8)) == 0
        if np.count_nonzero((distance > even_steps) & beside) >= FAR_SHADES * grey.size:
            return None
    return contrast if excess[above > 0].sum() >= excess[above < 0].sum() else -contrast


def flatten(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (h, w) grey levels without the slow changes of light over them."""
    surface = background(grey)
    middle = surface[surface.shape[0] // 2, surface.shape[1] // 2]
    return cv2.convertScaleAbs(np.clip(grey - surface + middle, 0, 255))


def background(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Estimate the paper under (h, w) grey levels as a smooth (h, w) surface that ignores the ink.

    A quadratic in both directions, fitted by iteratively reweighted least squares (Cauchy weights): it
    follows the light over a page, and ink counts as outliers whether it is darker or brighter.
    """
    height, width = grey.shape
    step = max(1, min(height, width) // 25)
    y, x = np.mgrid[0:height:step, 0:width:step].reshape(2, -1)
    level = grey[::step, ::step].reshape(-1).astype(np.float64)
    terms = _quadratic(y / height - 0.5, x / width - 0.5)
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


def noise_of(contrast: NDArray[np.float32]) -> float:
    """Return the standard deviation of (h, w) contrast, of which less than half is ink."""
    return 1.4826 * float(np.median(np.abs(contrast[::3, ::3])))


def find_in(contrast: NDArray[np.float32], noise: float, photo: bool) -> tuple[NDArray[np.bool_], float]:
    """Return the marks (h, w) that are the digit in (h, w) contrast, ink positive, and the contrast of full ink.

    Raises NoInkError if nothing stands out from the noise.
    """
    least = max(LEAST_CONTRAST, LEAST_NOISE_RATIO * noise)
    blank_frame(contrast, least)
    marks = keep_digit(contrast > least, contrast, photo)
    # How strong its own ink is says what else belongs to it.
    full = percentile(contrast[marks], 85)
    strong = contrast > max(INK_SHARE * full, least)
    # Half as strong is ink too where it continues such a stroke: a pencil does not press evenly.
    weak = contrast > max(INK_SHARE * full / 2, 0.6 * least)
    return keep_digit(grow(strong & marks, weak), contrast, photo), full


def is_written(marks: NDArray[np.bool_]) -> bool:
    """Tell whether (h, w) marks are strokes, several times longer than they are wide, not patches."""
    return bool(np.count_nonzero(marks) > 5 * stroke_width(marks) ** 2)


def percentile(numbers: NDArray[np.float32], share: int) -> float:
    """Return the number that a share, in percent, of (n,) numbers do not exceed: numpy's costs ten times as much."""
    place = (len(numbers) - 1) * share // 100
    return float(np.partition(numbers, place)[place])


def blank_frame(contrast: NDArray[np.float32], least: float) -> None:
    """Set the rows and columns of (h, w) contrast to 0 up to a line along a rim: a frame or an edge of the paper."""
    depth = max(3, round(FRAME_SHARE * min(contrast.shape)))
    for side in (contrast, contrast[::-1], contrast.T, contrast.T[::-1]):
        lines = np.nonzero((side[:depth] > least).mean(1) > 0.9)[0]
        if len(lines):
            side[: lines[-1] + 2] = 0


def keep_digit(ink: NDArray[np.bool_], contrast: NDArray[np.float32], photo: bool) -> NDArray[np.bool_]:
    """Return (h, w) ink without specks, other writing, and marks along the rim, such as frames.

    A mark at the rim is the digit only if nothing inside weighs RIM_RATIO of it, and a part of the digit only in
    a drawing: a photograph shows what lies around.
    Raises NoInkError if nothing is left.
    """
    count, marks, stats, _ = cv2.connectedComponentsWithStats(ink.view(np.uint8))
    weight = np.bincount(marks[ink], contrast[ink], count)
    weight[stats[:, 4] < 2] = 0
    if count == 1 or not weight.any():
        raise NoInkError
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
    everything = weight
    for without in (np.where(line, 0, inside), inside):
        if without.max() > RIM_RATIO * weight.max():
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
    """Return the (h, w) marks of weak that hold a point of strong."""
    count, marks = cv2.connectedComponents(weak.view(np.uint8))
    holds = np.zeros(count, bool)
    holds[marks[strong]] = True
    holds[0] = False
    return holds[marks]


def cut_out(contrast: NDArray[np.float32], marks: NDArray[np.bool_], full: float) -> NDArray[np.uint8]:
    """Return ink 0..255 from (h, w) contrast: the marks and one point around them, their soft edge, cropped."""
    box = extent(marks)
    edge = cv2.dilate(marks[box].astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.rint(np.clip(contrast[box] * (255 / full), 0, 255) * edge).astype(np.uint8)


def extent(ink: NDArray[np.generic]) -> tuple[slice, slice]:
    """Return the rows and the columns that (h, w) uint8 or bool ink covers: none if it is all black."""
    x, y, width, height = cv2.boundingRect(ink.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def stroke_width(marks: NDArray[np.bool_]) -> float:
    """Estimate the mean width of the strokes in (h, w) marks in pixels, from their area and their outline."""
    solid = np.pad(marks, 1)
    area = np.count_nonzero(solid)
    outline = np.count_nonzero(solid[1:] != solid[:-1]) + np.count_nonzero(solid[:, 1:] != solid[:, :-1])
    # A slanted edge counts once a row and once a column: 4 / pi times its length on average.
    return 2 * area / max(1.0, outline * np.pi / 4)


def two_levels(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
    """Return (h, w) contrast to the background, ink positive, and that of full ink, in a picture of two levels.

    The background is the level that has more of the rim and more of the whole.
    Raises NoInkError if there are no two.
    """
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = grey > threshold
    if not bright.any() or bright.all():
        raise NoInkError
    rim = np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]])
    bright_ground = rim.mean() + bright.mean() > 1
    level = float(np.median(grey[bright == bright_ground]))
    contrast = (grey.astype(np.float32) - level) * (-1 if bright_ground else 1)
    full = float(np.percentile(contrast, 98))
    if full < LEAST_CONTRAST:
        raise NoInkError
    return contrast, full
