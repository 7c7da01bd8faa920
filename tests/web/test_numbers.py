"""Whole numbers, written on the pad or in a picture, are read and listed, and each of their digits is shown."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.harness.service import EXAMPLES
from tests.web.pages import DIGITS, choose, draw, paint_bounds, write

pytestmark = [pytest.mark.server, pytest.mark.browser]

# Numbers, and where their first digit is, in pixels.
ROWS = {"2048": (60, 30), "63": (330, 280), "529": (150, 530)}
SIDE_PX = 240


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    """A picture of a page with three numbers."""
    picture = Image.new("L", (800, 800), 245)
    pen = ImageDraw.Draw(picture)
    for text, (left, top) in ROWS.items():
        for index, digit in enumerate(text):
            for stroke in DIGITS[int(digit)]:
                points = [(left + (0.55 * index + x - 0.2) * SIDE_PX, top + y * SIDE_PX) for x, y in stroke]
                pen.line(points, fill=30, width=14, joint="curve")
    picture.save(tmp_path / "page.png")
    return tmp_path / "page.png"


@pytest.mark.parametrize(("width", "shape"), [(360, 1.0), (1200, 1.5)])
def test_a_number_written_on_the_pad_is_read(width: int, shape: float, open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": width, "height": 800}, bypass_csp=True)
    box = page.locator("#pad").bounding_box()
    assert box
    assert box["width"] / box["height"] == pytest.approx(shape, abs=0.02)
    write(page, "639")
    expect(page.locator("#digit")).to_have_text("639")
    expect(page.get_by_role("status")).to_contain_text("6 3 9, ")
    expect(page.locator("#correction")).to_be_hidden()
    expect(page.locator("#result:not(.old)")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert Axe().run(page).response["violations"] == []
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#cards .digit")).to_contain_text("639")
    # A lone digit is shown as ever.
    draw(page, DIGITS[7])
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.get_by_role("radio")).to_have_count(0)
    expect(page.locator("#correction")).to_be_visible()


def test_what_is_written_stays_on_the_pad_when_the_screen_is_turned(open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": 740, "height": 360}, has_touch=True)
    write(page, "77")
    left, top, right, bottom = paint_bounds(page, "#pad", "dark")
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_function("() => document.getElementById('pad').width === document.getElementById('pad').height")
    turned = paint_bounds(page, "#pad", "dark")
    assert turned == pytest.approx((left, 0.5 + (top - 0.5) / 1.5, right, 0.5 + (bottom - 0.5) / 1.5), abs=0.01)


def test_each_digit_of_a_number_is_shown(page: Page, sheet: Path) -> None:
    choose(page, sheet)
    expect(page.locator("#result:not(.old)")).to_be_visible()
    digits = page.get_by_role("radio")
    expect(digits).to_have_count(9)
    chosen = page.locator("#digit label:has(:checked)")
    heading, best = page.locator("#chances"), page.locator("#probabilities .best .name")
    # The 6 of 63.
    digits.nth(4).focus()
    page.keyboard.press("ArrowRight")
    expect(chosen).to_have_text("3")
    expect(heading).to_have_text("Digit 2 of 63: probabilities, in %")
    expect(best).to_have_text("3")
    seen = page.locator("#seen").evaluate("canvas => canvas.toDataURL()")
    page.keyboard.press("ArrowRight")
    expect(heading).to_have_text("Digit 1 of 529: probabilities, in %")
    assert page.locator("#seen").evaluate("canvas => canvas.toDataURL()") != seen
    # A tap on the 8 in the picture, which fills the stage's width or height.
    box = page.locator("#picture").bounding_box()
    assert box
    scale = min(box["width"], box["height"]) / 800
    x, y = 60 + (0.55 * 3 + 0.3) * SIDE_PX, 30 + 0.5 * SIDE_PX
    x, y = box["width"] / 2 + (x - 400) * scale, box["height"] / 2 + (y - 400) * scale
    page.locator("#picture").click(position={"x": x, "y": y})
    expect(heading).to_have_text("Digit 4 of 2048: probabilities, in %")
    expect(best).to_have_text("8")
    page.get_by_text("9", exact=True).first.click()
    expect(heading).to_have_text("Digit 3 of 529: probabilities, in %")


def test_the_numbers_of_a_page_are_listed_and_saved(page: Page, sheet: Path) -> None:
    choose(page, sheet, EXAMPLES[7])
    expect(page.locator("#cards li")).to_have_count(2)
    page.locator("#cards button").last.click()
    numbers = page.get_by_role("radiogroup")
    expect(numbers).to_have_count(3)
    for number, text in zip(numbers.all(), ROWS, strict=True):
        expect(number).to_have_accessible_name(re.compile(rf"^{text}, \d+\.\d % sure$"))
    expect(page.locator("#confidence")).to_contain_text("3 numbers")
    expect(page.get_by_role("status")).to_contain_text("2 0 4 8")
    expect(page.locator("#result:not(.old)")).to_be_visible()
    # The text of each is above it.
    assert paint_bounds(page, "#found", "painted")[1] < paint_bounds(page, "#picture", "dark")[1] - 0.05
    with page.expect_download() as csv_download:
        page.get_by_role("button", name="Save as CSV").click()
    with page.expect_download() as json_download:
        page.get_by_role("button", name="Save as JSON").click()
    rows = list(csv.DictReader(csv_download.value.path().read_text().splitlines()))
    assert [row["numbers"] for row in rows] == ["2048 63 529", ""]
    entries = json.loads(json_download.value.path().read_text())
    assert [entry.get("numbers") for entry in entries] == ["2048 63 529", None]
