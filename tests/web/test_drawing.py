"""What is drawn on the pad is read while it is drawn, can be undone, and is kept."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.web.pages import DIGITS, HANDS, both_origins, draw, paint_bounds

pytestmark = [pytest.mark.server, pytest.mark.browser]


@pytest.mark.parametrize("hand", HANDS)
def test_drawn_digits_are_read(hand: str, page: Page) -> None:
    for digit, strokes in DIGITS.items():
        draw(page, strokes, hand)
        expect(page.locator("#digit")).to_have_text(str(digit))
        expect(page.locator("#time")).to_contain_text("ms")
        page.get_by_role("button", name="Clear").click()


def test_strokes_are_undone_and_the_pad_is_cleared(page: Page) -> None:
    undo, clear = page.get_by_role("button", name="Undo"), page.get_by_role("button", name="Clear")
    expect(undo).to_be_disabled()
    draw(page, DIGITS[1])
    expect(page.locator("#digit")).to_have_text("1")
    draw(page, [[(0.25, 0.2), (0.5, 0.18)]])
    draw(page, [[(0.1, 0.9), (0.9, 0.9)]])
    undo.click()
    page.locator("#pad").press("Control+z")
    expect(page.locator("#digit")).to_have_text("1")
    clear.click()
    expect(page.locator("#result")).to_be_hidden()
    expect(clear).to_be_disabled()


def test_doubt_is_shown_as_doubt(page: Page) -> None:
    draw(page, [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)], [(0.1, 0.5), (0.9, 0.5)], [(0.5, 0.1), (0.5, 0.9)]])
    expect(page.locator("#doubt")).to_have_text(re.compile(r"It could be \d or \d.*|This may not be a digit."))
    page.get_by_role("button", name="Clear").click()
    draw(page, DIGITS[3])
    expect(page.locator("#digit")).to_have_text("3")
    expect(page.locator("#doubt")).to_have_text("")


@both_origins
def test_what_the_net_saw_is_shown_beside_the_answer(page: Page) -> None:
    blank = page.locator("#seen").evaluate("canvas => canvas.toDataURL()")
    draw(page, DIGITS[8])
    expect(page.locator("#digit")).to_have_text("8")
    expect(page.locator("#result:not(.old)")).to_be_visible()
    assert page.locator("#seen").evaluate("canvas => canvas.toDataURL()") != blank
    outline = paint_bounds(page, "#found", "blue")
    assert outline == pytest.approx((0.35, 0.14, 0.65, 0.9), abs=0.04)
    # It is gone as soon as the next stroke begins.
    page.mouse.down()
    assert paint_bounds(page, "#found", "blue") == (1, 1, 0, 0)


def test_a_drawing_is_kept_when_the_pad_is_cleared(page: Page) -> None:
    for digit in (2, 7):
        draw(page, DIGITS[digit])
        expect(page.locator("#status")).to_contain_text(f"{digit}, ")
        page.get_by_role("button", name="Clear").click()
    expect(page.locator("#cards li")).to_have_count(2)
    expect(page.locator("#cards li").first).to_contain_text("7")
