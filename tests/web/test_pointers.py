"""Mouse, finger, pen and palm draw on the pad what a person means, in whatever order they come and go."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import CDPSession, Page, expect

from tests.harness.service import poll
from tests.web.pages import DIGITS, draw, paint_bounds

pytestmark = [pytest.mark.server, pytest.mark.browser]

SEVEN = DIGITS[7][0]
PALM = (0.85, 0.85)


@dataclass
class Hands:
    """The pointers of a device, in front of a page."""

    page: Page
    session: CDPSession

    def place(self, x: float, y: float) -> dict[str, float]:
        """Return the place of a point that is given in shares of the pad."""
        box = self.page.locator("#pad").bounding_box()
        assert box
        return {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Send "Start", "Move", "End" or "Cancel" of touches; these are the fingers, or palms, that are down then."""
        touches = [self.place(*point) | {"id": number} for number, point in enumerate(points)]
        self.session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": touches})

    def point(self, kind: str, point: tuple[float, float], device: str = "pen", *, is_down: bool = True) -> None:
        """Send "Pressed", "Moved" or "Released" of a pen or mouse."""
        event: dict[str, Any] = {"type": f"mouse{kind}", "pointerType": device, "force": 0.5, "clickCount": 1}
        event |= {"button": "left" if is_down else "none", "buttons": int(is_down and kind != "Released")}
        self.session.send("Input.dispatchMouseEvent", event | self.place(*point))

    def stroke(self, points: list[tuple[float, float]], device: str = "pen", *beside: tuple[float, float]) -> None:
        """Draw one stroke, with a finger beside other touches that are down already, or with another device."""
        if device == "touch":
            self.trace(points, *beside)
            self.touch("End", *beside)
            return
        for number, point in enumerate(fill(points)):
            self.point("Moved" if number else "Pressed", point, device)
        self.point("Released", points[-1], device)

    def trace(self, points: list[tuple[float, float]], *beside: tuple[float, float]) -> None:
        """Draw with a finger, which stays down, beside other touches that are down already."""
        for number, point in enumerate(fill(points)):
            self.touch("Move" if number else "Start", *beside, point)

    def expect_seven(self) -> None:
        """Assert that the pad has a 7 and nothing where the palm was."""
        expect(self.page.locator("#status")).to_have_text(re.compile(r"^7, 9\d\.\d % sure\.$|^7, 100\.0 % sure\.$"))
        self.expect_no_palm()

    def expect_no_palm(self) -> None:
        """Assert that the pad has ink, but none as far to the right as the palm was."""
        _, _, right, _ = paint_bounds(self.page, "#pad", "dark")
        assert 0.4 < right < PALM[0] - 0.05


def fill(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points with more between them, as a hand's movement has."""
    shares = (0, 0.25, 0.5, 0.75)
    between = [(x + t * (u - x), y + t * (v - y)) for (x, y), (u, v) in pairwise(points) for t in shares]
    return [*between, points[-1]]


@pytest.fixture
def hands(open_page: Callable[..., Page]) -> Hands:
    """A tablet with the page open."""
    page = open_page(viewport={"width": 600, "height": 960}, has_touch=True)
    return Hands(page, page.context.new_cdp_session(page))


def test_a_pen_wins_over_a_palm_that_touched_first(hands: Hands) -> None:
    hands.touch("Start", PALM)
    hands.stroke(SEVEN)
    hands.touch("Move", (0.84, 0.86))
    hands.touch("End")
    hands.expect_seven()


def test_a_palm_that_touches_only_for_a_moment_leaves_no_dot(hands: Hands) -> None:
    hands.touch("Start", PALM)
    hands.touch("End")
    hands.stroke(SEVEN)
    hands.touch("Start", PALM)
    hands.touch("End")
    hands.expect_seven()


def test_a_palm_that_comes_while_a_pen_draws_is_ignored(hands: Hands) -> None:
    first, *rest = fill(SEVEN)
    hands.point("Pressed", first)
    for point in rest:
        hands.point("Moved", point)
        hands.touch("Start", PALM)
        hands.touch("End")
    hands.point("Released", rest[-1])
    hands.expect_seven()


@pytest.mark.parametrize("lost", ["pen", "mouse"])
def test_others_can_draw_after_a_pointer_up_that_the_page_never_saw(lost: str, hands: Hands) -> None:
    hands.point("Pressed", (0.3, 0.2), lost)
    hands.point("Moved", (0.31, 0.21), lost)

    def draws() -> bool:
        hands.stroke(SEVEN, "touch")
        return paint_bounds(hands.page, "#pad", "dark")[2] > SEVEN[1][0] - 0.1

    # A touch right after a pen is taken for its palm.
    poll(draws)
    hands.expect_seven()


def test_a_mouse_draws_on_after_its_button_was_released_outside(hands: Hands) -> None:
    hands.point("Pressed", (0.3, 0.2), "mouse")
    hands.point("Moved", (0.31, 0.21), "mouse")
    # It comes back without its button.
    hands.point("Moved", PALM, "mouse", is_down=False)
    hands.stroke(SEVEN, "mouse")
    hands.expect_seven()


def test_a_stroke_goes_on_outside_the_pad_and_ends_there(hands: Hands) -> None:
    hands.stroke([(0.5, 0.2), (0.5, 0.8), (0.5, 1.3)], "mouse")
    expect(hands.page.locator("#status")).to_contain_text("1, ")
    hands.point("Moved", PALM, "mouse", is_down=False)
    hands.expect_no_palm()


def test_a_second_finger_draws_nothing(hands: Hands) -> None:
    hands.trace(SEVEN)
    hands.touch("Start", SEVEN[-1], PALM)
    hands.touch("Move", SEVEN[-1], (0.86, 0.86))
    hands.touch("End", SEVEN[-1])
    hands.touch("End")
    hands.expect_seven()


def test_a_finger_draws_while_another_holds_the_page(hands: Hands) -> None:
    holding = (1.2, 0.5)
    hands.touch("Start", holding)
    hands.stroke(SEVEN, "touch", holding)
    hands.touch("End")
    hands.expect_seven()


def test_a_gesture_of_the_browser_leaves_no_dot(hands: Hands) -> None:
    hands.stroke(SEVEN, "touch")
    hands.touch("Start", PALM)
    hands.touch("Cancel")
    hands.expect_seven()


def test_a_stroke_ends_where_the_screen_is_turned(hands: Hands) -> None:
    hands.trace(SEVEN)
    hands.page.set_viewport_size({"width": 740, "height": 360})
    hands.page.wait_for_function("() => document.getElementById('pad').clientWidth < 400")
    hands.touch("Move", PALM)
    hands.touch("End")
    hands.expect_seven()


def test_strokes_survive_a_turn_of_the_screen(hands: Hands) -> None:
    first, second = DIGITS[4]
    hands.stroke(first, "touch")
    hands.page.set_viewport_size({"width": 740, "height": 360})
    hands.stroke(second, "touch")
    expect(hands.page.locator("#status")).to_contain_text("4, ")


def test_two_fingers_may_zoom_out_where_the_pad_fills_the_screen(hands: Hands) -> None:
    pad = hands.page.locator("#pad")
    expect(pad).to_have_css("touch-action", "none")
    hands.session.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 2.5})
    expect(pad).to_have_css("touch-action", "pinch-zoom")
    hands.session.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1})
    expect(pad).to_have_css("touch-action", "none")


def test_scribble_gets_no_stroke_of_a_pencil(hands: Hands) -> None:
    taken = hands.page.evaluate(
        """() => {
            const pad = document.getElementById("pad");
            const send = (count) => {
                const touch = (_, identifier) => new Touch({ identifier, target: pad });
                const touches = Array.from({ length: count }, touch);
                return !pad.dispatchEvent(new TouchEvent("touchmove", { touches, cancelable: true }));
            };
            return [send(1), send(2), getComputedStyle(pad).userSelect];
        }"""
    )
    assert taken == [True, False, "none"]


@pytest.mark.parametrize("device", ["pen", "touch", "mouse"])
def test_one_sentence_per_stroke_is_read_aloud(device: str, hands: Hands) -> None:
    live = "output, [aria-live], [role=status], [role=alert], [role=log]"
    regions = hands.page.locator(live)
    assert [region.get_attribute("id") for region in regions.all()] == ["message", "status"]
    for region in regions.all():
        assert region.evaluate("region => region.checkVisibility() && region.textContent") == ""
    hands.page.evaluate(
        """() => {
            window.said = [];
            const listen = () => said.push(document.getElementById("status").textContent);
            new MutationObserver(listen).observe(document.getElementById("status"), { childList: true });
        }"""
    )

    def move(index: int, point: tuple[float, float]) -> None:
        if device == "touch":
            hands.touch("Move" if index else "Start", point)
        else:
            hands.point("Moved" if index else "Pressed", point, device)

    for number, stroke in enumerate(DIGITS[4], 1):
        first, *rest = fill(stroke)
        # It is also read while it is drawn.
        with hands.page.expect_response("**/predictions/mnist"):
            for index, point in enumerate([first, *rest[: len(rest) // 2]]):
                move(index, point)
        expect(hands.page.locator("#result")).to_be_visible()
        for point in rest[len(rest) // 2 :]:
            move(1, point)
        if device == "touch":
            hands.touch("End")
        else:
            hands.point("Released", rest[-1], device)
        hands.page.wait_for_function("count => said.length >= count", arg=number)
    expect(hands.page.locator("#result:not(.old)")).to_be_visible()
    said = hands.page.evaluate("said")
    assert len(said) == 2
    assert re.fullmatch(r"4, \d+\.\d % sure\.", said[1])


def test_doubt_is_read_aloud(hands: Hands) -> None:
    draw(hands.page, [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)], [(0.1, 0.5), (0.9, 0.5)]])
    heard = re.compile(r"^\d, \d+\.\d % sure, (it could be \d or \d.*|this may not be a digit)\.$")
    expect(hands.page.locator("#status")).to_have_text(heard)


def test_the_pad_tells_its_keys_and_what_to_do_without_a_pointer(hands: Hands) -> None:
    pad = hands.page.get_by_role("img", name="Drawing pad for mouse, finger or pen; by keyboard, choose a picture")
    expect(pad).to_have_accessible_name(re.compile(r"Escape clears it, Control Z undoes a stroke\."))
    assert pad.get_attribute("aria-keyshortcuts") == "Escape Control+Z"
    hands.stroke(SEVEN)
    hands.expect_seven()
    pad.press("Escape")
    expect(hands.page.locator("#cards li")).to_have_count(1)
    expect(hands.page.locator("#result")).to_be_hidden()
