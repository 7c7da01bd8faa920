"""What else is on a page with numbers: words, print, scribbles, and the fine waves of cheques."""

import math

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.numbers import MARK
from train.sheets.ink import FINE, Field, Shape, make_fine, reduce
from train.sheets.layout import scribble
from train.sheets.rows import Item, draw_fine, to_fine

WORD_FONTS = (cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX, cv2.FONT_HERSHEY_SIMPLEX)


def write_scraps(items: list[Item], height: float, shape: Shape, chance: Generator) -> list[Item]:
    """Return scribbles and lines of handwriting beside the digits."""
    scraps: list[Item] = []
    for _ in range(int(chance.integers(1, 4))):
        if chance.random() < 0.5:
            lines = scribble(chance) * height * chance.uniform(0.4, 1.2)
        else:
            # Loops in a row, as cursive writing.
            turns = chance.uniform(2, 8)
            along = np.linspace(0, turns * 2 * math.pi, int(14 * turns))
            loop, rise = chance.uniform(0.1, 0.5), chance.uniform(0.2, 0.5)
            step = chance.uniform(0.05, 0.15)
            points = np.stack([step * along + loop * np.sin(along), rise * np.cos(along * chance.uniform(0.9, 1.1))], 1)
            points = points * (height * chance.uniform(0.5, 1.1))
            lines = np.stack([points[:-1], points[1:]], 1)
        low, high = lines.reshape(-1, 2).min(0), lines.reshape(-1, 2).max(0)
        corner = find_room(items + scraps, high - low, shape, chance)
        if corner is not None:
            scraps.append(Item(MARK, (lines - low + corner).astype(np.float32)))
    return scraps


def write_words(
    items: list[Item], height: float, stroke: float, shape: Shape, chance: Generator
) -> tuple[Field, list[list[float]]]:
    """Return words beside the digits, as ink, and the box of each."""
    fine, boxes = make_fine(shape), []
    taken = list(items)
    for _ in range(int(chance.integers(1, 4)) if chance.random() < 0.3 else 0):
        font = int(chance.choice(WORD_FONTS))
        capital = chance.random() < 0.3
        letters = chance.integers(65 if capital else 97, 91 if capital else 123, int(chance.integers(1, 9)))
        word = "".join(chr(int(letter)) for letter in letters)
        scale = max(0.25, height * chance.uniform(0.4, 1.1) * FINE / 24)
        thickness = max(1, round(min(stroke, 0.12 * height) * FINE))
        (wide, tall), below = cv2.getTextSize(word, font, scale, thickness)
        size = np.array([wide, tall + below]) / FINE
        corner = find_room(taken, size, shape, chance)
        if corner is None:
            continue
        x, y = to_fine(corner[0], corner[1])
        cv2.putText(fine, word, (x, y + tall), font, scale, 255, thickness, cv2.LINE_AA)
        low, high = np.clip([corner, corner + size], 0, shape[::-1])
        if np.all(high - low > 2):
            boxes.append([*low.tolist(), *high.tolist()])
        taken.append(Item(MARK, np.array([[corner, corner + size]], np.float32)))
    return reduce(fine, shape), boxes


def write_text(height: float, stroke: float, shape: Shape, chance: Generator) -> tuple[Field, list[list[float]]]:
    """Return lines of print or of cursive writing as ink, printed figures among them, and the box of each word."""
    fine, boxes = make_fine(shape), []
    font = int(chance.integers(8)) | (cv2.FONT_ITALIC if chance.random() < 0.3 else 0)
    scale = max(0.22, min(height, 60) * FINE / 22)
    thickness = max(1, round(min(stroke, 0.14 * height) * FINE))
    (_, tall), below = cv2.getTextSize("0", font, scale, thickness)
    figures = chance.uniform(0, 0.4)
    y = chance.uniform(-0.5, 1) * tall
    while y < fine.shape[0]:
        x = chance.uniform(-1, 2) * tall
        while x < fine.shape[1]:
            low, high = (48, 58) if chance.random() < figures else (97, 123)
            word = "".join(chr(int(letter)) for letter in chance.integers(low, high, int(chance.integers(1, 10))))
            word = word.capitalize() if chance.random() < 0.2 else word
            wide = cv2.getTextSize(word, font, scale, thickness)[0][0]
            cv2.putText(fine, word, (int(x), int(y) + tall), font, scale, 255, thickness, cv2.LINE_AA)
            corners = np.array([[x, y], [x + wide, y + tall + below]]) / FINE
            first, last = np.clip(corners, 0, shape[::-1])
            if np.all(last - first > 2):
                boxes.append([*first.tolist(), *last.tolist()])
            x += wide + tall * chance.uniform(0.5, 1.2)
        y += tall * chance.uniform(1.6, 2.5)
    return reduce(fine, shape), boxes


def guilloche(printed: NDArray[np.uint8], chance: Generator) -> None:
    """Print fine waves across the page, as cheques have."""
    x = np.arange(0, printed.shape[1] + 6, 6)
    step = chance.uniform(5, 16) * FINE
    reach, period = chance.uniform(0.3, 1.6) * step, chance.uniform(20, 120) * FINE
    level = int(chance.integers(60, 200))
    slope = chance.uniform(-0.7, 0.7) if chance.random() < 0.6 else 0.0
    fall = abs(slope) * printed.shape[1]
    for first in np.arange(-reach - fall, printed.shape[0] + reach + fall, step):
        y = first + slope * x + reach * np.sin(2 * math.pi * x / period + chance.choice([0.0, first]))
        draw_fine(printed, np.stack([x, y], 1) / FINE, level, 1)


def find_room(
    items: list[Item], size: NDArray[np.float64], shape: Shape, chance: Generator
) -> NDArray[np.float64] | None:
    """Return the corner of a box of a size (w, h) that no item touches, or None if none was found."""
    boxes = [(item.lines.reshape(-1, 2).min(0) - 3, item.lines.reshape(-1, 2).max(0) + 3) for item in items]
    for _ in range(8):
        corner = chance.uniform(-0.2, 1, 2) * (np.array(shape[::-1]) - 0.6 * size)
        if all(np.any(corner > high) or np.any(corner + size < low) for low, high in boxes):
            return np.asarray(corner)
    return None
