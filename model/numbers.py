"""Finding numbers in a picture: every digit with NumberNet, each read by DigitNet as well, and rows of them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.geometry import Box, Ink, Pixels, cut_out
from model.ink_input import standardise

Grey = NDArray[np.uint8]
# The classes of NumberNet: digits 0 to 9, and MARK for what is written and no digit.
CLASSES = 11
MARK = 10
# Pixels of the planes for each place of its maps, and places of ink within each.
STRIDE = 4
INK = 4
# Takes planes (1, 2, H, W) and returns ink 0..1 (4), the probabilities of middles (11), and sides in places (4):
# (1, 19, H/4, W/4).
Detect = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Classify = Callable[[Pixels], NDArray[np.float32]]

# The net first sees so many pixels, and if it finds nothing among them, more; then the picture is scaled until digits
# are so high.
VIEW_AREA, MORE_AREA, MOST_AREA = 34_000, 136_000, 600_000
DIGIT_PX = 60
# The height and the width of a view are multiples of this.
STEP_PX = 16
# Views that differ by less than this factor are the same.
SAME_VIEW = 1.2
# A digit's middle is at least so probable; what is less, but at least this, may be one that was missed.
LEAST_PEAK, LEAST_RIVAL = 0.3, 0.05
# Of two boxes that overlap by more than this share of their union, the less probable one is dropped.
MOST_OVERLAP = 0.45
# The most digits and marks of a view.
MOST_FOUND = 200
# The least level of ink, and the fewest pixels of a digit. A mark of which more than this share is foreign is parted.
LEAST_LEVEL, LEAST_PIXELS, MOST_FOREIGN = 60, 5, 0.15
BELOW = np.array([0, 1, 0, 1], np.float32)
# How much NumberNet's classes weigh beside DigitNet's.
NET_WEIGHT = 1.0
# Digits of a row differ in height by less than this factor, their middles by less than this share of the larger height.
LIKE_HEIGHT, LIKE_MIDDLE = 2.2, 0.55
# A gap of more than so many heights ends a number.
WIDE_GAP = 1.1
# Cells are at most so many heights wide, and a gap of more than so many of them ends a number. Digits whose distance is
# at most this factor of the least are in cells beside each other.
CELL_WIDTH, MOST_CELLS, BESIDE_CELL = 1.4, 4, 1.5
EMPTY = "_"
# A mark between two digits parts them if it is this high, as a slash, or this wide, as a dash, in heights of theirs. A
# dash is lower than the share LOW, and above the lowest share of the row, where points and commas stand.
SLASH_HEIGHT, DASH_WIDTH, DASH_HEIGHT, DASH_ABOVE = 0.7, 0.2, 0.3, 0.25
# The most confidence in a number that the rim of the picture may cut, or beside which there is ink of neither digit nor
# mark, more than this share of one of its digits.
SUSPECT = 0.5
MOST_UNEXPLAINED = 0.3
# What lies this close to a box, in pixels of the view, is explained by it.
BESIDE = np.array([-4, -4, 4, 4], np.float32)
DECIMALS = 6


class Digit(NamedTuple):
    """A digit of a number."""

    digit: int
    confidence: float
    # Of each digit 0..9.
    probabilities: list[float]
    # In pixels of the picture.
    box: Box
    ink: Ink


class Number(NamedTuple):
    """A row of digits, leading zeros among them, and the probability that the whole text is right."""

    # EMPTY stands for an empty cell.
    text: str
    confidence: float
    box: Box
    digits: list[Digit]
    # What the confidence was estimated from.
    signs: dict[str, float]


class View(NamedTuple):
    """What NumberNet finds in a picture at one scale."""

    # Of n digits and marks, the most probable first: (n, 11) and, in pixels of the view, (n, 4).
    classes: NDArray[np.float32]
    boxes: NDArray[np.float32]
    # Middles of what may be digits that were missed: x, y and probability, (m, 3).
    rivals: NDArray[np.float32]
    # (h/2, w/2) uint8, and without what lies in the boxes.
    ink: Grey
    loose: Grey
    # Pixels of the picture for one of the view, along x and y.
    scale: NDArray[np.float64]

    @property
    def is_digit(self) -> NDArray[np.bool_]:
        """Tell digits from marks, (n,)."""
        return np.asarray(self.classes[:, :MARK].sum(1) > self.classes[:, MARK])


def find_numbers(
    grey: Grey,
    detect: Detect,
    classify: Classify,
    weights: dict[str, float],
    finer: Callable[[], Grey] | None = None,
    in_cells: bool = False,
) -> list[Number]:
    """Return the numbers in (h, w) uint8 grey levels, in reading order, their boxes in its pixels.

    weights are those by which the confidence is estimated. finer returns the same picture with more pixels. Digits in
    cells of one width are one number with the empty cells between them.
    """
    first = look(grey, VIEW_AREA, 1.0, detect)
    if not first.is_digit.any() and grey.size > VIEW_AREA:
        first = look(grey, MORE_AREA, 1.0, detect)
    if not first.is_digit.any():
        return []
    looks = [read(first, grey.shape, classify, in_cells)]
    heights = (first.boxes[:, 3] - first.boxes[:, 1])[first.is_digit]
    nearer = DIGIT_PX / float(np.median(heights)) / float(first.scale.mean())
    fine = finer() if finer and nearer > SAME_VIEW else grey
    area = min(nearer**2 * grey.size, MOST_AREA)
    if not SAME_VIEW**-2 < area * float(first.scale.prod()) / grey.size < SAME_VIEW**2:
        second = look(fine, area, grey.shape[0] / fine.shape[0], detect)
        looks.insert(0, read(second, grey.shape, classify, in_cells))
    # What a single look finds counts as seen twice.
    others = [{each.text for each in numbers} for numbers in reversed(looks)]
    judged = [
        [judge(each, each.text in texts, weights) for each in numbers]
        for numbers, texts in zip(looks, others, strict=True)
    ]
    return max(judged, key=lambda numbers: sum(number.confidence for number in numbers))


def look(grey: Grey, area: float, scale: float, detect: Detect) -> View:
    """Return what the net finds in (h, w) grey levels, each scale pixels of the picture, scaled to an area."""
    factor = (area / grey.size) ** 0.5
    height, width = (max(2, round(side * factor / STEP_PX)) * STEP_PX for side in grey.shape)
    view = Image.fromarray(grey).resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)
    maps = detect(standardise(np.asarray(view))[None])[0]
    ink = maps[:INK].reshape(2, 2, *maps.shape[1:]).transpose(2, 0, 3, 1).reshape(height // 2, width // 2)
    scales = scale * np.array([grey.shape[1] / width, grey.shape[0] / height])
    classes, boxes, rivals = find_peaks(maps[INK:])
    levels = np.rint(ink * 255).astype(np.uint8)
    return View(classes, boxes, rivals, levels, remove(levels, boxes), scales)


def find_peaks(maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return classes, boxes and rivals, as View has them, at the peaks of (15, h, w) maps of classes and sides."""
    # A digit that may be one or another is as surely one.
    best = np.maximum(maps[:MARK].sum(0).clip(max=1), maps[MARK])
    padded = np.pad(best, 1)
    around = np.max([padded[y : y + best.shape[0], x : x + best.shape[1]] for y in range(3) for x in range(3)], 0)
    rows, columns = np.nonzero((best >= LEAST_RIVAL) & (best >= around))
    order = np.argsort(-best[rows, columns])[: 2 * MOST_FOUND]
    rows, columns = rows[order], columns[order]
    peaks = best[rows, columns]
    left, top, right, bottom = maps[CLASSES:, rows, columns]
    x, y = columns + np.float32(0.5), rows + np.float32(0.5)
    boxes = np.stack([x - left, y - top, x + right, y + bottom], 1) * STRIDE
    shared = overlap(boxes)
    kept: list[int] = []
    for number in np.flatnonzero(peaks >= LEAST_PEAK).tolist():
        if len(kept) < MOST_FOUND and not (shared[number, kept] > MOST_OVERLAP).any():
            kept.append(number)
    # What lies in the middle of a box that is kept is explained by it.
    is_rival = np.array([not (shared[number, kept] > MOST_OVERLAP).any() for number in range(len(peaks))], bool)
    is_rival[kept] = False
    rivals = np.stack([x, y, peaks / STRIDE], 1)[is_rival] * STRIDE
    return maps[:CLASSES, rows[kept], columns[kept]].T, boxes[kept], rivals.astype(np.float32)


def overlap(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the area that each two of (n, 4) boxes share, as a share of what either covers: (n, n)."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    both = (high - low).clip(0).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1)
    return np.asarray(both / (areas[:, None] + areas - both).clip(1e-6))


def read(view: View, shape: tuple[int, ...], classify: Classify, in_cells: bool) -> list[Number]:
    """Return the numbers of a view of a picture of a shape (h, w), not yet judged: with a confidence of 0."""
    inks = {number: cut(view, number) for number in np.flatnonzero(view.is_digit).tolist()}
    found = {number: ink for number, ink in inks.items() if ink}
    if not found:
        return []
    numbers = list(found)
    probabilities = fuse(view.classes[numbers, :MARK], classify(np.stack([ink.pixels for ink in found.values()])))
    digits = {
        number: Digit(int(each.argmax()), float(each.max()), each.round(DECIMALS).tolist(), ink.box, ink)
        for (number, ink), each in zip(found.items(), probabilities, strict=True)
    }
    rows = find_rows(view, numbers, in_cells)
    return order([join(view, row, [digits[number] for number in row], shape, in_cells) for row in rows])


def cut(view: View, number: int) -> Ink | None:
    """Return the ink in the box of a digit of a view, without that of digits and marks beside it."""
    own, others = view.boxes[number] / 2, np.delete(view.boxes, number, 0) / 2
    margin = 0.06 * float(own[3] - own[1]) + 1
    left, top = (max(0, int(side - margin)) for side in own[:2])
    right, bottom = (
        min(end, int(np.ceil(side + margin))) for side, end in zip(own[2:], view.ink.shape[::-1], strict=True)
    )
    part = view.ink[top:bottom, left:right]
    if not part.size:
        return None
    is_near = (others[:, 0] < right) & (others[:, 2] > left) & (others[:, 1] < bottom) & (others[:, 3] > top)
    mine = np.ones(part.shape, bool)
    for other in others[is_near]:
        mine &= claim(view.ink[top:bottom], left, right, own - BELOW * top, other - BELOW * top)
    marks = cc3d.connected_components(part > LEAST_LEVEL, connectivity=8)
    chosen = np.zeros(part.shape, bool)
    for mark in range(1, int(marks.max()) + 1):
        pixels = marks == mark
        share = float((pixels & mine).sum() / pixels.sum())
        if share > MOST_FOREIGN:
            chosen |= pixels if share > 1 - MOST_FOREIGN else pixels & mine
    if np.count_nonzero(chosen) < LEAST_PIXELS:
        return None
    ink = cut_out(part, chosen)
    x, y = 2 * view.scale
    first, high, last, low = ink.box
    return ink._replace(box=((left + first) * x, (top + high) * y, (left + last) * x, (top + low) * y))


def claim(ink: Grey, left: int, right: int, own: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pixels between two columns of (h, w) ink belong to one of two boxes rather than to the other.

    Beside each other, the path of least ink from top to bottom parts them, so that slanted digits stay whole; otherwise
    the line between their middles does.
    """
    shared = min(own[3], other[3]) - max(own[1], other[1])
    middles = (own[0] + own[2]) / 2, (other[0] + other[2]) / 2
    first, last = (min(max(0, int(each)), ink.shape[1] - 1) for each in sorted(middles))
    if shared < 0.5 * min(own[3] - own[1], other[3] - other[1]) or last - first < 2:
        y = np.arange(len(ink))[:, None] + 0.5
        nearer = abs(y - (own[1] + own[3]) / 2) <= abs(y - (other[1] + other[3]) / 2)
        return np.broadcast_to(nearer, (len(ink), right - left))
    middle = (max(own[0], other[0]) + min(own[2], other[2])) / 2
    straight = min(max(first, int(middle)), last)
    # Most digits do not touch.
    if ink[:, straight].max() <= LEAST_LEVEL:
        seam = np.full(len(ink), straight)
    else:
        seam = first + find_seam(ink[:, first : last + 1], middle - first)
    columns = np.arange(left, right)
    return columns < seam[:, None] if middles[0] < middles[1] else columns > seam[:, None]


def find_seam(ink: Grey, middle: float) -> NDArray[np.int64]:
    """Return for each row of (h, w) ink the column of the path from top to bottom that crosses the least ink, (h,).

    Of paths that cross as little it is the one nearest to the column in the middle.
    """
    costs = np.pad(ink.astype(np.float32), ((0, 0), (1, 1)), constant_values=np.inf)
    costs += 2 * np.abs(np.arange(-1, ink.shape[1] + 1) - middle).astype(np.float32)
    for last, costs_of_row in pairwise(costs):
        costs_of_row[1:-1] += np.minimum(np.minimum(last[:-2], last[2:]), last[1:-1])
    seam = np.zeros(len(costs), np.int64)
    column = int(costs[-1].argmin())
    for row in range(len(costs) - 1, -1, -1):
        column += int(costs[row, column - 1 : column + 2].argmin()) - 1
        seam[row] = column - 1
    return seam


def fuse(classes: NDArray[np.float32], read: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities (n, 10) of digits by NumberNet's peaks and by DigitNet's probabilities."""
    net = classes.astype(np.float64) + 1e-3
    logarithms = np.log(read.astype(np.float64) + 1e-4) + NET_WEIGHT * np.log(net / net.sum(1, keepdims=True))
    fused = np.exp(logarithms - logarithms.max(1, keepdims=True))
    return np.asarray(fused / fused.sum(1, keepdims=True))


def find_rows(view: View, numbers: Sequence[int], in_cells: bool = False) -> list[list[int]]:
    """Return the digits of a view that are one number each, from left to right."""
    return [part for row in group(view, numbers, in_cells) for part in divide(view, row)]


def group(view: View, numbers: Sequence[int], in_cells: bool) -> list[list[int]]:
    """Return the rows of digits, each from left to right."""
    widest = CELL_WIDTH * MOST_CELLS if in_cells else WIDE_GAP
    rows: list[list[int]] = []
    for number in sorted(numbers, key=lambda each: float(view.boxes[each, 0] + view.boxes[each, 2])):
        left, top, _, bottom = view.boxes[number].tolist()
        nearest, least = None, widest
        for row in rows:
            _, last_top, last_right, last_bottom = view.boxes[row[-1]].tolist()
            heights = bottom - top, last_bottom - last_top
            apart = abs(top + bottom - last_top - last_bottom) / 2
            gap = (left - last_right) / max(heights)
            if max(heights) < LIKE_HEIGHT * min(heights) and apart < LIKE_MIDDLE * max(heights) and gap < least:
                nearest, least = row, gap
        if nearest is None:
            rows.append([number])
        else:
            nearest.append(number)
    return rows


def divide(view: View, row: list[int]) -> list[list[int]]:
    """Return the parts of a row between slashes and dashes; points and commas join."""
    parts = [row[:1]]
    marks = view.boxes[~view.is_digit]
    for last, number in pairwise(row):
        left, right = view.boxes[last], view.boxes[number]
        top, bottom = min(left[1], right[1]), max(left[3], right[3])
        height = max(1.0, float(bottom - top))
        middles = (marks[:, :2] + marks[:, 2:]) / 2
        is_between = (middles[:, 0] > (left[0] + left[2]) / 2) & (middles[:, 0] < (right[0] + right[2]) / 2)
        is_between &= (middles[:, 1] > top) & (middles[:, 1] < bottom)
        wide, high = ((marks[:, 2:] - marks[:, :2]) / height).T
        is_dash = (wide > DASH_WIDTH) & (high < DASH_HEIGHT) & (middles[:, 1] < bottom - DASH_ABOVE * height)
        if (is_between & ((high > SLASH_HEIGHT) | is_dash)).any():
            parts.append([])
        parts[-1].append(number)
    return parts


def count_empty(boxes: NDArray[np.float32]) -> list[int]:
    """Return how many cells are empty before each of a row's digits, whose boxes are (n, 4)."""
    if len(boxes) == 1:
        return [0]
    steps = np.diff(boxes[:, 0] + boxes[:, 2]) / 2
    widest = CELL_WIDTH * float(np.median(boxes[:, 3] - boxes[:, 1]))
    pitch = max(1.0, min(widest, float(np.median(steps[steps <= BESIDE_CELL * steps.min()]))))
    return [0, *(max(0, round(step / pitch) - 1) for step in steps.tolist())]


def join(view: View, row: list[int], digits: list[Digit], shape: tuple[int, ...], in_cells: bool) -> Number:
    """Return the number of a row's digits in a picture of a shape (h, w), with the signs to judge it by."""
    boxes = view.boxes[row]
    left, top, right, bottom = cover(boxes)
    height = float(np.median(boxes[:, 3] - boxes[:, 1]))
    # A digit that was missed stands within the row or beside it.
    x, y, chances = view.rivals.T
    is_near = (x > left - height) & (x < right + height) & (y > top) & (y < bottom)
    classes = view.classes[row]
    chosen = classes[np.arange(len(row)), [each.digit for each in digits]]
    box = cover(np.array([each.box for each in digits]))
    margin = 1.5 * float(view.scale.max())
    signs = {
        "digits": float(sum(np.log(max(each.confidence, 1e-6)) for each in digits)),
        "least": float(np.log(1 - min(min(each.confidence for each in digits), 1 - 1e-5))),
        "peak": float(np.log(classes[:, :MARK].sum(1).clip(max=1)).min()),
        "agreement": float(np.log((chosen + 1e-3) / (classes.sum(1) + 1e-2)).min()),
        "rival": float(chances[is_near].max(initial=0.0)),
        "unexplained": len(digits) * measure_unexplained(view, (left - height, top, right + height, bottom)),
        "count": float(len(digits)),
        "alone": float(len(digits) == 1),
        "rim": float(min(box[0], box[1], shape[1] - box[2], shape[0] - box[3]) < margin),
    }
    empty = count_empty(boxes) if in_cells else [0] * len(row)
    text = "".join(EMPTY * cells + str(each.digit) for cells, each in zip(empty, digits, strict=True))
    return Number(text, 0.0, box, digits, signs)


def cover(boxes: NDArray[np.floating]) -> Box:
    """Return the least box around (n, 4) boxes."""
    left, top = boxes[:, :2].min(0).tolist()
    right, bottom = boxes[:, 2:].max(0).tolist()
    return left, top, right, bottom


def measure_unexplained(view: View, around: Box) -> float:
    """Return the share of the digits' ink in a part of a view that lies in no box."""
    left, top, right, bottom = (max(0, round(side / 2)) for side in around)
    whole = float(view.ink[top:bottom, left:right].sum())
    return float(view.loose[top:bottom, left:right].sum()) / max(1.0, whole)


def remove(ink: Grey, boxes: NDArray[np.float32]) -> Grey:
    """Return (h, w) ink without what lies in (n, 4) boxes in pixels of twice its size, or close to one."""
    loose = ink.copy()
    for left, top, right, bottom in ((boxes + BESIDE) / 2).round().astype(int).clip(0).tolist():
        loose[top:bottom, left:right] = 0
    return loose


def judge(number: Number, is_seen_twice: bool, weights: dict[str, float]) -> Number:
    """Return a number with its confidence by a logistic regression on its signs."""
    signs = number.signs | {"twice": float(is_seen_twice), "bias": 1.0}
    confidence = 1 / (1 + np.exp(-sum(weight * signs[name] for name, weight in weights.items())))
    if is_suspect(signs):
        confidence = min(confidence, SUSPECT)
    return number._replace(confidence=round(float(confidence), DECIMALS), signs=signs)


def is_suspect(signs: dict[str, float]) -> bool:
    """Return whether a number with these signs may have a digit that was not seen, or not wholly."""
    return signs["rim"] > 0 or signs["unexplained"] > MOST_UNEXPLAINED


def order(numbers: list[Number]) -> list[Number]:
    """Return numbers line by line, each from left to right."""
    lines: list[list[Number]] = []
    for number in sorted(numbers, key=lambda each: each.box[1] + each.box[3]):
        middle = (number.box[1] + number.box[3]) / 2
        if lines and middle < lines[-1][0].box[3]:
            lines[-1].append(number)
        else:
            lines.append([number])
    return [number for line in lines for number in sorted(line, key=lambda each: each.box[0])]
