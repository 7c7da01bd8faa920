"""What InkNet leaves out counts: a lone mark is read if it sees nothing, other digits make an answer doubtful."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from evaluate.pictures import png
from model.decode import decode
from model.engine import Engine
from model.ink import find_ink
from model.recognise import Reading, recognise
from operate.config import read_model_config
from train.sheets.ink import draw_lines
from train.strokes import Lines, Sample

Grey = NDArray[np.uint8]
CERTAIN_FROM = read_model_config()["handler"]["certain_from"]


def read(engine: Engine, pages: Sequence[Grey]) -> list[tuple[int, float]]:
    """Return the digit and confidence of pages that are uploaded as PNG files; -1 and 0 of those that are refused."""
    readings = recognise([decode(png(page)) for page in pages], engine)
    return [(each.digit, each.confidence) if isinstance(each, Reading) else (-1, 0) for each in readings]


def read_digits(engine: Engine, pages: Sequence[Grey]) -> list[int]:
    """Return the digits of pages, -1 of those that are refused."""
    return [digit for digit, _ in read(engine, pages)]


def make_paper(shape: tuple[int, int], chance: Generator, kind: str = "shaded") -> NDArray[np.float64]:
    """Return grey levels of paper: white, or shaded from side to side and noisy, or ruled or squared too."""
    if kind == "white":
        return np.full(shape, 255.0)
    paper = np.linspace(215, 150, shape[1])[None] + chance.normal(0, 4, shape)
    if kind in ("ruled", "squared"):
        paper[20::30] -= 45
    if kind == "squared":
        paper[:, 20::30] -= 45
    return paper


def write(paper: NDArray[np.float64], ink: NDArray[np.number], level: float = 40) -> Grey:
    """Return paper with ink 0..1 of a grey level on it."""
    return np.rint(paper + (level - paper) * ink).clip(0, 255).astype(np.uint8)


def draw_line(shape: tuple[int, int], start: tuple[float, float], end: tuple[float, float], width: int) -> Grey:
    """Return a line, its ends (x, y) as shares of the sides: 0 or 1."""
    height, breadth = shape
    ends = [(round(x * (breadth - 1)), round(y * (height - 1))) for x, y in (start, end)]
    return cv2.line(np.zeros(shape, np.uint8), ends[0], ends[1], 1, width).astype(np.uint8)


@pytest.mark.parametrize("side", [20, 32, 40, 60, 100, 280, 560])
@pytest.mark.parametrize(("ink", "paper"), [(0, 255), (255, 0), (110, 255), (60, 128)])
def test_a_one_of_one_pixels_width_is_read(side: int, ink: int, paper: int, engine: Engine) -> None:
    ends = [((0.5, 0.2), (0.5, 0.8)), ((0.5, 0.1), (0.5, 0.9)), ((0.25, 0.3), (0.25, 0.75)), ((0.6, 0.2), (0.42, 0.8))]
    ones = [np.where(draw_line((side, side), *line, 1), ink, paper).astype(np.uint8) for line in ends]
    assert read_digits(engine, ones) == [1] * len(ones)


@pytest.mark.parametrize("kind", ["white", "shaded"])
@pytest.mark.parametrize("shape", [(400, 300), (300, 400), (280, 280)], ids=str)
def test_a_marker_stroke_from_rim_to_rim_is_a_one(kind: str, shape: tuple[int, int], engine: Engine) -> None:
    chance = np.random.default_rng(0)
    pages = []
    for colour in ((220, 30, 40), (90, 90, 90)):
        for width in (0.02, 0.1, 0.15):
            for top, bottom in ((0.5, 0.5), (0.6, 0.42)):
                stroke = draw_line(shape, (top, 0), (bottom, 1), round(width * shape[1]))
                paper = make_paper(shape, chance, kind)
                pages.append(np.stack([write(paper, 0.9 * stroke, level) for level in colour], 2))
    assert read_digits(engine, pages) == [1] * len(pages)


@pytest.mark.parametrize("kind", ["white", "shaded", "ruled", "squared"])
def test_paper_without_ink_is_blank(kind: str, engine: Engine) -> None:
    chance = np.random.default_rng(1)
    pages = [write(make_paper((300, 260), chance, kind), np.zeros((300, 260))) for _ in range(10)]
    assert read_digits(engine, pages) == [-1] * len(pages)


def place(lines: Lines, x: float, y: float, height: float) -> Lines:
    """Return lines of a digit with its upper left corner at a point of a page, so many pixels high."""
    low, high = lines.reshape(-1, 2).min(0), lines.reshape(-1, 2).max(0)
    return (lines - low) * (height / max(high - low)) + np.array([x, y], np.float32)


def scores(samples: Sequence[Sample], count: int, chance: Generator) -> Lines:
    """Return the lines of digits in so many of nine places on a page of 300x300 pixels."""
    written = []
    for cell in chance.permutation(9)[:count]:
        height = chance.uniform(35, 70)
        x, y = np.array([cell % 3, cell // 3]) * 98 + chance.uniform(5, 93 - height, 2)
        written.append(place(samples[int(chance.integers(len(samples)))].lines, x, y, height))
    return np.concatenate(written).astype(np.float32)


def number(samples: Sequence[Sample], count: int, chance: Generator) -> Lines:
    """Return the lines of so many digits in a row on a page of 300x300 pixels."""
    step = 260 / count
    return np.concatenate(
        [
            place(samples[int(chance.integers(len(samples)))].lines, 20 + step * index, 100, min(0.8 * step, 90))
            for index in range(count)
        ]
    ).astype(np.float32)


@pytest.mark.parametrize("kind", ["white", "ruled"])
@pytest.mark.parametrize("layout", [scores, number])
def test_several_digits_on_a_page_are_doubted(
    kind: str, layout: Callable[..., Lines], samples: list[Sample], engine: Engine
) -> None:
    chance = np.random.default_rng(2)
    pages = [
        write(make_paper((300, 300), chance, kind), draw_lines(layout(samples, count, chance), (300, 300), 4))
        for count in (2, 3, 4, 5)
        for _ in range(25)
    ]
    assert sum(confidence >= CERTAIN_FROM for _, confidence in read(engine, pages)) <= 1


def spoil(kind: str, paper: NDArray[np.float64], chance: Generator) -> NDArray[np.float64]:
    """Return paper of 300x300 pixels with something on it, outside the square from 100 to 200, that is no digit."""
    mark = np.zeros(paper.shape, np.uint8)
    if kind == "rule":
        cv2.line(mark, (15, 225), (285, 225), 1, 3)
    elif kind == "margin":
        cv2.line(mark, (60, 0), (60, 299), 1, 3)
    elif kind == "underline":
        cv2.line(mark, (90, 225), (210, 222), 1, 3)
    elif kind == "frame":
        cv2.rectangle(mark, (70, 70), (230, 230), 1, 3)
    elif kind == "edge of the paper":
        mark[:, :50] = 1
    elif kind == "specks":
        for x, y in chance.integers(5, 90, (12, 2)):
            cv2.circle(mark, (int(x), int(y)), 2, 1, -1)
    elif kind == "smudge":
        return paper - 60 * cv2.GaussianBlur(cv2.circle(mark.astype(np.float64), (50, 150), 25, 1, -1), (0, 0), 12)
    elif kind == "shadow":
        return paper * (1 - 0.4 / (1 + np.exp((np.arange(300) - 230) / 8)))
    return paper - 0.7 * mark * paper


KINDS = ["rule", "margin", "underline", "frame", "edge of the paper", "specks", "smudge", "shadow"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_digit_does_not_count(kind: str, samples: list[Sample], engine: Engine) -> None:
    chance = np.random.default_rng(3)
    pages = []
    for sample in samples[:60]:
        ink = draw_lines(place(sample.lines, 100, 100, 100).astype(np.float32), (300, 300), 6)
        pages.append(write(spoil(kind, make_paper((300, 300), chance), chance), ink))
    assert {ink.share for ink in find_ink(pages, engine.segment) if ink} == {1.0}
