"""What is on and around a sheet besides the digit: other writing, print, specks, a frame, a table, a cup, a finger.

A side is 0 to 3: left, top, right, bottom.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.sheets.ink import FINE, Field, Shape, draw_lines, make_fine, reduce
from train.sheets.layout import Layout, pick, scribble, vary
from train.sheets.paper import texture
from train.strokes import Sample


def neighbours(layout: Layout, samples: list[Sample], chance: Generator) -> Field | None:
    """Return other writing and print outside the digit's box, smaller than it or cut off by the rim.

    Without samples it is scribbles.
    """
    if chance.random() < 0.55:
        return None
    shape, has_digit = layout.shape, len(layout.lines) > 0
    low, high = layout.box
    size = float((high - low).max())
    pieces = []
    for _ in range(int(chance.integers(1, 7))):
        kind = chance.random()
        other = scribble(chance) if kind < 0.25 or not samples else pick(samples, chance).lines
        height = chance.uniform(0.12, 0.55) * size if has_digit else chance.uniform(0.03, 0.1) * max(shape)
        at_rim = chance.random() < 0.55
        if at_rim:
            height = chance.uniform(0.3, 1.1) * size
        lines = vary(other, chance) * height
        half = np.abs(lines.reshape(-1, 2)).max(0)
        if at_rim:
            axis, end = int(chance.integers(2)), int(chance.integers(2))
            centre = chance.uniform(0, 1, 2) * shape[::-1]
            centre[axis] = end * shape[1 - axis] + chance.uniform(-0.3, 0.3) * half[axis] * (1 if end else -1)
        else:
            centre = chance.uniform(0, 1, 2) * shape[::-1]
        gap = 0.18 * size
        if has_digit and np.all(centre + half > low - gap) and np.all(centre - half < high + gap):
            continue
        pieces.append(lines + centre)
    ink: Field | None = None
    if pieces:
        ink = draw_lines(np.concatenate(pieces).astype(np.float32), shape, layout.stroke_px * chance.uniform(0.6, 1.2))
    if chance.random() < 0.25:
        text = print_text(layout, chance)
        ink = text if ink is None else np.maximum(ink, text)
    return ink


def print_text(layout: Layout, chance: Generator) -> Field:
    """Return lines of small print above or below the digit's box."""
    fine = make_fine(layout.shape)
    low, high = layout.box
    scale = chance.uniform(0.25, 0.6)
    step = 40 * scale
    top = int(chance.uniform(0, 2) * step)
    font = int(chance.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_PLAIN]))
    rows = np.arange(top, fine.shape[0] + step, step)
    for row in rows[: int(chance.integers(1, 20))]:
        if low[1] * FINE - step < row < high[1] * FINE + 1.5 * step:
            continue
        words = "".join(chr(int(c)) for c in chance.choice([32, *range(97, 123), *range(48, 58)], 40))
        cv2.putText(fine, words, (int(chance.uniform(-50, 40)), int(row)), font, scale, 255, 1, cv2.LINE_AA)
    return reduce(fine, layout.shape)


def specks(ink: Field, chance: Generator) -> Field:
    """Return a few dots and short hairs away from the ink."""
    fine = make_fine(ink.shape)
    for _ in range(int(chance.integers(1, 14))):
        x, y = (int(chance.integers(side)) for side in ink.shape[::-1])
        if ink[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7].any():
            continue
        if chance.random() < 0.7:
            cv2.circle(fine, (x * FINE, y * FINE), int(chance.integers(1, 5)), 255, -1, cv2.LINE_AA)
        else:
            end = (int(x * FINE + chance.normal(0, 14)), int(y * FINE + chance.normal(0, 14)))
            cv2.line(fine, (x * FINE, y * FINE), end, 255, 1, cv2.LINE_AA)
    return reduce(fine, ink.shape)


def frame(shape: Shape, chance: Generator) -> Field:
    """Return a rectangle along the rim, whole or in part."""
    fine = make_fine(shape)
    inset = chance.uniform(-0.02, 0.1, 4) * min(fine.shape)
    left, top, right, bottom = inset[0], inset[1], fine.shape[1] - 1 - inset[2], fine.shape[0] - 1 - inset[3]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    corners = corners + chance.normal(0, 0.01 * min(fine.shape), corners.shape)
    first = int(chance.integers(0, 3)) if chance.random() < 0.4 else 0
    points = np.rint(corners[first : first + int(chance.integers(2, 6))]).astype(np.int32)
    cv2.polylines(fine, [points], isClosed=False, color=255, thickness=int(chance.integers(1, 9)), lineType=cv2.LINE_AA)
    return reduce(fine, shape)


def surround(grey: Field, layout: Layout, chance: Generator) -> Field:
    """Return the sheet with things around the digit: a table beyond its edges, a spiral, a cup, or a finger."""
    shape = layout.shape
    low, high = layout.box
    kind = chance.random()
    margin = 0.03 * min(shape)
    # The room on each side of the digit.
    gaps = (low[0], low[1], shape[1] - high[0], shape[0] - high[1])
    rooms = [gap - margin for gap in gaps]
    side = int(np.argmax(np.array(gaps) * chance.uniform(0.3, 1, 4)))
    if kind < 0.6:
        return lay_on_table(grey, rooms, chance)
    if kind < 0.8 and rooms[side] > 4:
        cover = spiral(side, rooms[side], shape, chance)
    elif kind < 0.92:
        cover = arc(low * FINE, high * FINE, shape, chance)
    elif rooms[side] > 6:
        cover = finger(side, rooms[side], shape, chance)
    else:
        cover = np.zeros(shape, np.float32)
    return np.asarray(grey + cover * (chance.uniform(0.05, 0.9) - grey), np.float32)


def lay_on_table(grey: Field, rooms: Sequence[float], chance: Generator) -> Field:
    """Return the sheet with one to three edges, as far as there is room, and another surface beyond them."""
    shape = grey.shape
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    for _ in range(int(chance.integers(1, 4))):
        side = int(chance.integers(4))
        if rooms[side] < 3:
            continue
        depth = chance.uniform(0.1, 1) * min(rooms[side], 0.4 * max(shape))
        offset = (x, y, shape[1] - 1 - x, shape[0] - 1 - y)[side]
        other, length = ((y, shape[0]), (x, shape[1]))[side % 2]
        line = depth + chance.normal(0, 0.05) * (other - chance.uniform(0, 1) * length)
        beyond = np.clip((line - offset) / chance.uniform(0.5, 3) + 0.5, 0, 1)
        level = chance.uniform(0.05, 1.0)
        ground = level * texture(str(chance.choice(["plain", "wood", "cloth"])), shape, chance)
        grey = grey + beyond * (ground - grey)
        if chance.random() < 0.5:
            # The paper's shadow, or its thickness, along the edge.
            darkness = chance.uniform(0.1, 0.6)
            grey = grey * (1 - darkness * np.exp(-(((offset - line) / chance.uniform(0.8, 4)) ** 2)))
    return np.asarray(grey, np.float32)


def spiral(side: int, room: float, shape: Shape, chance: Generator) -> Field:
    """Return the holes and the wire of a spiral along a side."""
    fine = make_fine(shape)
    height, width = fine.shape
    step = chance.uniform(0.04, 0.12) * max(shape) * FINE
    depth = chance.uniform(0.2, 0.6) * min(room, 0.15 * max(shape)) * FINE
    has_holes, has_wire = chance.random() < 0.7, chance.random() < 0.7
    size = max(1, round(chance.uniform(0.15, 0.35) * step))
    rim = (0, 0, width, height)[side]
    inner = (depth, depth, width - depth, height - depth)[side]
    for along in np.arange(chance.uniform(0, 1) * step, (height, width)[side % 2], step):
        hole, end = (int(inner), int(along)), (int(rim), int(along - size))
        if side % 2:
            hole, end = hole[::-1], end[::-1]
        if has_holes:
            cv2.circle(fine, hole, size, 230, -1, cv2.LINE_AA)
        if has_wire:
            cv2.line(fine, hole, end, 255, max(1, size // 2), cv2.LINE_AA)
    return reduce(fine, shape)


def arc(low: NDArray[np.float64], high: NDArray[np.float64], shape: Shape, chance: Generator) -> Field:
    """Return a circle that avoids the digit's fine box: a cup, a plate, a coin, a stain; at times none."""
    fine = make_fine(shape)
    centre = chance.uniform(-0.3, 1.3, 2) * fine.shape[::-1]
    corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
    distance = np.linalg.norm(corners - centre, axis=1)
    around = chance.random() < 0.3
    radius = distance.max() * chance.uniform(1.15, 1.6) if around else distance.min() * chance.uniform(0.3, 0.8)
    within = np.all(centre > low) and np.all(centre < high)
    if 4 < radius < 2000 and (around or not within):
        thickness = -1 if chance.random() < 0.4 and not around else int(chance.integers(1, 14))
        cv2.circle(fine, np.rint(centre).astype(int).tolist(), int(radius), 255, thickness, cv2.LINE_AA)
    return reduce(fine, shape)


def finger(side: int, room: float, shape: Shape, chance: Generator) -> Field:
    """Return a finger or a pencil that reaches in from a side."""
    fine = make_fine(shape)
    height, width = fine.shape
    middle = np.array([(0, 0.5 * height), (0.5 * width, 0), (width, 0.5 * height), (0.5 * width, height)][side])
    start = middle + chance.normal(0, 0.2, 2) * min(fine.shape)
    inward = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][side])
    thickness = max(2, int(chance.uniform(0.1, 0.5) * room * FINE))
    end = start + inward * max(0.0, chance.uniform(0.2, 0.8) * room * FINE - thickness)
    first, last = np.rint([start, end]).astype(int).tolist()
    cv2.line(fine, first, last, 255, thickness, cv2.LINE_AA)
    return reduce(fine, shape)
