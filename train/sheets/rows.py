"""Rows and grids of digits with signs among them, and the cells that are printed around them."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.numbers import MARK
from train.sheets.ink import FINE, Shape, log_uniform
from train.sheets.layout import vary
from train.strokes import Lines, Sample

# Most digits of a row, and rows of a page.
MOST_DIGITS, MOST_ROWS = 8, 12
LEAST_HEIGHT_PX, MOST_HEIGHT_PX = 14.0, 100.0
# Signs as strokes, each a list of points in percent of a digit's height, from the left end of the baseline; y grows
# downwards.
SIGNS = {
    "point": "4,-2 6,0",
    "comma": "8,-4 9,2 2,16",
    "dash": "0,-48 34,-50",
    "slash": "0,10 36,-105",
    "equals": "0,-60 40,-62; 0,-38 40,-38",
    "colon": "5,-60 6,-58; 5,-12 6,-10",
    "dollar": "50,-85 25,-98 4,-80 15,-58 42,-45 50,-22 28,-2 0,-14; 26,-112 26,12",
    "euro": "60,-85 40,-98 14,-70 14,-30 40,-2 60,-14; 0,-60 42,-60; 0,-40 40,-40",
    "hash": "20,-100 8,0; 45,-100 33,0; 0,-65 56,-66; 0,-35 54,-36",
    "plus": "0,-45 50,-45; 25,-70 25,-20",
    "cross": "0,-60 40,-10; 40,-60 0,-10",
    "point and dash": "4,-2 6,0; 18,-45 60,-48",
    "stroke and dash": "0,5 28,-100; 30,-45 60,-48",
}
# 0 and 1 are what is missed most.
FREQUENCIES = np.array([0.16, 0.16, *[0.085] * 8])
BETWEEN = ("point", "comma", "dash", "slash", "colon")
BEFORE = ("dollar", "euro", "hash", "equals", "plus", "dash", "cross")
AFTER = ("point and dash", "stroke and dash", "equals", "dollar", "euro", "point", "comma", "dash")


class Item(NamedTuple):
    """A digit or a mark on a page, its lines in the page's pixels."""

    label: int
    lines: Lines


def write_rows(
    samples: list[list[Sample]], shape: Shape, printed: NDArray[np.uint8], chance: Generator
) -> tuple[list[Item], float]:
    """Return one or more rows of digits and signs, and the height of the first; cells of some are printed."""
    rows = 1 if chance.random() < 0.75 else int(chance.integers(2, 5 if chance.random() < 0.7 else MOST_ROWS + 1))
    rows = min(rows, max(1, int(shape[0] / (1.6 * LEAST_HEIGHT_PX))))
    most = min(MOST_HEIGHT_PX, 0.95 * shape[0] / (1 if rows == 1 else 1.5 * rows))
    spread = chance.random()
    height = most * chance.uniform(0.6, 1) if spread < 0.6 else log_uniform(min(LEAST_HEIGHT_PX, most), most, chance)
    slope = math.radians(chance.normal(0, 5) if chance.random() < 0.7 else chance.uniform(-15, 15))
    turn = np.array([[math.cos(slope), math.sin(slope)], [-math.sin(slope), math.cos(slope)]])
    items: list[Item] = []
    y = chance.uniform(height, max(height + 1, shape[0] - 1.45 * height * (rows - 1)))
    for _ in range(rows):
        columns = 1 if rows == 1 or chance.random() < 0.6 else int(chance.integers(2, 4))
        for column in range(columns):
            own = height * math.exp(chance.normal(0, 0.06))
            row, cells = write_row(samples, own, shape[1] / columns, chance)
            points = np.concatenate([item.lines.reshape(-1, 2) for item in row])
            wide = float(points[:, 0].max())
            room = shape[1] / columns - wide
            x = column * shape[1] / columns + (chance.uniform(0, room) if room > 0 else room * chance.uniform(0, 1))
            middle, place = np.array([wide / 2, 0]), np.array([x + wide / 2, y])
            items += [Item(item.label, ((item.lines - middle) @ turn + place).astype(np.float32)) for item in row]
            thickness = int(chance.integers(1, 4))
            for cell in cells:
                draw_fine(printed, (cell - middle) @ turn + place, 255, thickness)
        y += height * chance.uniform(1.2, 1.6)
    if rows == 1 and chance.random() < 0.7:
        items, scale = fit(items, shape, printed, chance)
        height *= scale
    return items, height


def fit(items: list[Item], shape: Shape, printed: NDArray[np.uint8], chance: Generator) -> tuple[list[Item], float]:
    """Return items moved and scaled until they fill a page, as a picture that was cut around them, and the scale."""
    points = join([item.lines for item in items]).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    room = np.array(shape[::-1]) * (1 - chance.uniform(-0.02, 0.15, 2))
    scale = float(min(room / np.maximum(high - low, 1)))
    if printed.any() or not 0.3 < scale < 3:
        return items, 1.0
    corner = (np.array(shape[::-1]) - scale * (high - low)) * chance.uniform(0.1, 0.9, 2)
    return [Item(item.label, ((item.lines - low) * scale + corner).astype(np.float32)) for item in items], scale


def write_row(
    samples: list[list[Sample]], height: float, wide: float, chance: Generator
) -> tuple[list[Item], list[NDArray[np.float64]]]:
    """Return digits and signs from the left end of a baseline at (0, 0), and the outlines of cells around them."""
    count = int(chance.integers(1, MOST_DIGITS + 1))
    count = max(1, min(count, round(wide / (0.65 * height))))
    in_cells = chance.random() < 0.33
    touching = chance.random() < 0.33
    gap = chance.normal(-0.02, 0.07) if touching else abs(chance.normal(0.18, 0.14))
    pitch = height * chance.uniform(0.75, 1.5)
    shear, squeeze, uneven = chance.normal(0, 0.15), math.exp(chance.normal(0, 0.15)), chance.uniform(0, 0.1)
    if chance.random() < 0.2:
        uneven = 0.25
    kerned = not in_cells and chance.random() < 0.6
    # Amounts end in zeros, which are often smaller and written in one go.
    rounded = int(chance.integers(1, count)) if count > 1 and chance.random() < 0.2 else count
    smaller = chance.uniform(0.45, 1) if rounded < count and chance.random() < 0.5 else 1.0
    linked = not in_cells and chance.random() < 0.2
    with_signs = not in_cells and chance.random() < 0.5
    items: list[Item] = []
    x = 0.0
    if with_signs and chance.random() < 0.4:
        x = add_sign(items, BEFORE, x, height, gap, chance)
    for number in range(count):
        if in_cells and count > 1 and chance.random() < 0.08:
            continue
        digit = int(chance.choice(10, p=FREQUENCIES)) if number < rounded else 0
        choices = samples[digit]
        lines = vary(choices[int(chance.integers(len(choices)))].lines, chance)
        low, high = lines.reshape(-1, 2).min(0), lines.reshape(-1, 2).max(0)
        size = max(high[1] - low[1], 0.7 * (high[0] - low[0]), 1e-3)
        own = height * math.exp(chance.normal(0, uneven)) / size * (smaller if number >= rounded else 1)
        lines = (lines - [low[0], high[1]]) * [own * squeeze, own]
        lines = lines @ np.array([[1, 0], [-shear, 1]])
        lines = lines - [lines[..., 0].min(), -chance.normal(0, 0.05) * height]
        breadth = float(lines[..., 0].max())
        if in_cells:
            x = number * pitch + max(0.0, (pitch - breadth) / 2) + chance.normal(0, 0.06) * pitch
        elif kerned and items and items[-1].label != MARK:
            nearer = x - measure_gap(items[-1].lines, lines + np.array([x, 0])) + max(gap, -0.2) * height
            x = max(x - 0.35 * height, nearer)
        items.append(Item(digit, (lines + np.array([x, 0])).astype(np.float32)))
        if linked and len(items) > 1 and MARK not in (items[-2].label, digit) and chance.random() < 0.6:
            link(items, height)
        x += breadth + max(gap + chance.normal(0, 0.05), -0.2) * height
        if with_signs and number < count - 1 and chance.random() < 0.2:
            x = add_sign(items, BETWEEN, x, height, gap, chance)
        elif not in_cells and number < count - 1 and chance.random() < 0.06:
            # A wide gap, as between two numbers.
            x += height * chance.uniform(0.8, 2)
    if with_signs and chance.random() < 0.3:
        add_sign(items, AFTER, x, height, gap, chance)
    if not items:
        return write_row(samples, height, wide, chance)
    return items, outline(count, pitch, height, chance) if in_cells else []


def link(items: list[Item], height: float) -> None:
    """Join the last two digits by a line between their nearest points, half of it each."""
    one, other = items[-2:]
    ends, starts = one.lines.reshape(-1, 2), other.lines.reshape(-1, 2)
    right = ends[ends[:, 0] > ends[:, 0].max() - 0.15 * height]
    left = starts[starts[:, 0] < starts[:, 0].min() + 0.15 * height]
    apart = np.linalg.norm(right[:, None] - left, axis=2)
    first, second = np.unravel_index(int(apart.argmin()), apart.shape)
    if apart[first, second] < 0.6 * height:
        middle = (right[first] + left[second]) / 2
        for place, item, end in ((-2, one, right[first]), (-1, other, left[second])):
            stroke = np.array([[end, middle]], np.float32)
            items[place] = Item(item.label, np.concatenate([item.lines, stroke]))


def measure_gap(left: Lines, right: NDArray[np.float64]) -> float:
    """Return the least distance along a row between what is written at like heights; below 0 they overlap."""
    height = max(1.0, float(np.ptp(left[..., 1])), float(np.ptp(right[..., 1])))
    ends, starts = np.full(24, -np.inf), np.full(24, np.inf)
    for lines, sides, choose in ((left, ends, np.maximum), (right, starts, np.minimum)):
        points = np.concatenate([lines[:, 0] * (1 - part) + lines[:, 1] * part for part in (0.0, 0.5, 1.0)])
        bands = np.clip((points[:, 1] / height * 10).astype(int) + 16, 0, 23)
        choose.at(sides, bands, points[:, 0])
    # Ink has a width: what is a band higher or lower is near as well.
    ends = np.max([np.roll(ends, step) for step in (-1, 0, 1)], 0)
    gaps = (starts - ends)[np.isfinite(starts) & np.isfinite(ends)]
    return float(gaps.min()) if len(gaps) else 0.0


def outline(count: int, pitch: float, height: float, chance: Generator) -> list[NDArray[np.float64]]:
    """Return cells about a baseline: boxes, boxes apart, or a comb."""
    top, bottom = -height * chance.uniform(1.08, 1.5), height * chance.uniform(0.06, 0.4)
    kind, apart = chance.random(), pitch * chance.uniform(0, 0.12)
    lines = []
    edge = bottom - 0.3 * height
    for number in range(count):
        left, right = number * pitch + apart, (number + 1) * pitch - apart
        if kind < 0.65:
            lines.append(np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]))
        elif kind < 0.85:
            lines.append(np.array([[left, edge], [left, bottom], [right, bottom], [right, edge]]))
        else:
            lines.append(np.array([[left, bottom], [right, bottom]]))
    return lines


def add_sign(
    items: list[Item], signs: tuple[str, ...], x: float, height: float, gap: float, chance: Generator
) -> float:
    """Add a random sign at x on the baseline; return where the next digit begins."""
    strokes = SIGNS[signs[int(chance.integers(len(signs)))]].split(";")
    pieces = []
    for stroke in strokes:
        points = np.array([point.split(",") for point in stroke.split()], float) / 100
        points = points * np.exp(chance.normal(0, 0.3, 2)) + chance.normal(0, 0.02, points.shape)
        pieces.append(np.stack([points[:-1], points[1:]], 1))
    lines = np.concatenate(pieces) * height
    lines = lines - [lines[..., 0].min(), -chance.normal(0, 0.04) * height]
    items.append(Item(MARK, (lines + np.array([x, 0])).astype(np.float32)))
    return x + float(lines[..., 0].max()) + max(abs(gap), 0.06) * height


def write_grid(
    samples: list[list[Sample]], shape: Shape, printed: NDArray[np.uint8], chance: Generator
) -> tuple[list[Item], float]:
    """Return single digits in the cells of a printed grid, such as a sudoku or a table, and their height."""
    pitch = np.array([log_uniform(16, 60, chance)] * 2)
    if chance.random() < 0.4:
        pitch[0] *= chance.uniform(1, 2)
    rows, columns = max(1, min(10, int(shape[0] / pitch[1]))), max(1, min(10, int(shape[1] / pitch[0])))
    corner = np.array([shape[1] - columns * pitch[0], shape[0] - rows * pitch[1]]) * chance.random(2)
    height = pitch[1] * chance.uniform(0.45, 0.8)
    share = chance.uniform(0.15, 0.9)
    items = []
    for row in range(rows):
        for column in range(columns):
            if chance.random() < share:
                own, _ = write_row(samples, height, 0.6 * height, chance)
                lines = own[0].lines
                middle = (lines.reshape(-1, 2).min(0) + lines.reshape(-1, 2).max(0)) / 2
                place = corner + (np.array([column, row]) + 0.5 + chance.normal(0, 0.05, 2)) * pitch
                items.append(Item(own[0].label, (lines - middle + place).astype(np.float32)))
    thickness = int(chance.integers(1, 3))
    end = corner + np.array([columns, rows]) * pitch
    for column in range(columns + 1):
        x = corner[0] + column * pitch[0]
        bold = thickness + 2 * (column % 3 == 0)
        cv2.line(printed, to_fine(x, corner[1]), to_fine(x, end[1]), 255, bold, cv2.LINE_AA)
    for row in range(rows + 1):
        y = corner[1] + row * pitch[1]
        cv2.line(printed, to_fine(corner[0], y), to_fine(end[0], y), 255, thickness + 2 * (row % 3 == 0), cv2.LINE_AA)
    return items, height


def to_fine(x: float, y: float) -> tuple[int, int]:
    """Return a point in the pixels of fine ink."""
    return round(x * FINE), round(y * FINE)


def draw_fine(fine: NDArray[np.uint8], points: NDArray[np.float64], level: int, thickness: int) -> None:
    """Draw a line through (n, 2) points, in pixels of the page, in fine ink."""
    cv2.polylines(fine, [np.rint(points * FINE * 16).astype(np.int32)], False, level, thickness, cv2.LINE_AA, 4)


def join(lines: list[Lines]) -> Lines:
    """Return all lines as one array."""
    return np.concatenate(lines).astype(np.float32) if lines else np.zeros((0, 2, 2), np.float32)
