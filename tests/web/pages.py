"""Drives the page in Chromium: chooses pictures, draws digits with the mouse, and looks at what it shows."""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

# On a busy machine.
expect.set_options(timeout=15_000)

both_origins = pytest.mark.parametrize("origin", ["serve", "gateway"], indirect=True)


@contextmanager
def run_chromium(*flags: str) -> Iterator[Browser]:
    """Run a headless Chromium."""
    if not CHROMIUM:
        pytest.skip("needs Chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        yield chromium
        chromium.close()


def choose(page: Page, *pictures: Path) -> None:
    """Choose picture files."""
    page.locator("#file").set_input_files(pictures)


# How ten digits are written, in shares of the pad: strokes of points.
def arc(x: float, y: float, wide: float, tall: float, start: float, end: float) -> list[tuple[float, float]]:
    """Return points on an ellipse from one angle to another, in degrees from the right, downwards."""
    angles = [math.radians(start + (end - start) * step / 20) for step in range(21)]
    return [(x + wide * math.cos(angle), y + tall * math.sin(angle)) for angle in angles]


DIGITS: dict[int, list[list[tuple[float, float]]]] = {
    0: [arc(0.5, 0.5, 0.2, 0.32, -90, 270)],
    1: [[(0.5, 0.18), (0.5, 0.82)]],
    2: [[*arc(0.5, 0.35, 0.18, 0.17, -170, 40), (0.32, 0.8), (0.7, 0.8)]],
    3: [[*arc(0.47, 0.34, 0.18, 0.15, -150, 90), *arc(0.47, 0.66, 0.2, 0.17, -90, 150)]],
    4: [[(0.4, 0.18), (0.28, 0.55), (0.72, 0.55)], [(0.62, 0.3), (0.6, 0.85)]],
    5: [[(0.38, 0.2), (0.36, 0.46), *arc(0.47, 0.62, 0.2, 0.19, -110, 140)], [(0.38, 0.2), (0.68, 0.2)]],
    6: [[(0.62, 0.18), (0.42, 0.4), *arc(0.5, 0.66, 0.17, 0.16, -180, 180)]],
    7: [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.82)]],
    8: [[*arc(0.5, 0.34, 0.14, 0.14, 90, -270), *arc(0.5, 0.66, 0.18, 0.18, -90, 270)]],
    9: [[*arc(0.5, 0.36, 0.16, 0.16, 0, -360), (0.64, 0.6), (0.6, 0.84)]],
}
# Three hands: size, offset and slant of their writing.
HANDS = {"plain": (1.0, 0.0, 0.0), "small": (0.5, 0.2, 0.0), "leaning": (0.8, -0.05, -0.2)}


def draw(page: Page, strokes: list[list[tuple[float, float]]], hand: str = "plain") -> None:
    """Draw strokes on the pad with the mouse, in a square of its height in its middle."""
    draw_at(page, strokes, hand, 0.5, 1.0)


def write(page: Page, number: str) -> None:
    """Write the digits of a number over the whole width of the pad with the mouse."""
    box = page.locator("#pad").bounding_box()
    assert box
    side = min(1.0, box["width"] / box["height"] / len(number) / 0.65)
    for index, digit in enumerate(number):
        draw_at(page, DIGITS[int(digit)], "plain", (index + 0.5) / len(number), side)


def draw_at(page: Page, strokes: list[list[tuple[float, float]]], hand: str, middle: float, side: float) -> None:
    """Draw strokes in a square: its middle at a share of the pad's width, its side a share of the pad's height."""
    scale, shift, lean = HANDS[hand]
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box
    side *= box["height"]
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            x, y = scale * (x - 0.5 + lean * (y - 0.5)) + shift, scale * (y - 0.5)
            page.mouse.move(box["x"] + middle * box["width"] + x * side, box["y"] + box["height"] / 2 + y * side)
            if number == 0:
                page.mouse.down()
        page.mouse.up()


def paint_bounds(page: Page, canvas: str, test: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the dark, blue or painted pixels of a canvas, as shares of it."""
    bounds: list[float] = page.locator(canvas).evaluate(
        """(canvas, test) => {
            const { width, height } = canvas;
            const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, width, height);
            const bounds = [1, 1, 0, 0];
            for (let index = 0; index < data.length; index += 4) {
                const [r, g, b, a] = data.subarray(index, index + 4);
                const isDark = r + g + b <= 240 && a === 255, isBlue = b >= r + 100 && a === 255;
                if (!{ dark: isDark, blue: isBlue, painted: a > 0 }[test]) continue;
                const [x, y] = [(index / 4) % width / width, Math.floor(index / 4 / width) / height];
                [bounds[0], bounds[1]] = [Math.min(bounds[0], x), Math.min(bounds[1], y)];
                [bounds[2], bounds[3]] = [Math.max(bounds[2], x), Math.max(bounds[3], y)];
            }
            return bounds;
        }""",
        test,
    )
    return bounds[0], bounds[1], bounds[2], bounds[3]
