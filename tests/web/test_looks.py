"""The page is small, stands alone, and can be used at any size, in any colours and without a mouse."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.harness.service import EXAMPLES, Service
from tests.web.pages import DIGITS, both_origins, choose, draw

pytestmark = [pytest.mark.server, pytest.mark.browser]


@both_origins
def test_the_page_needs_nothing_from_other_origins(browser: Browser, service: Service, origin: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(origin)
    choose(page, EXAMPLES[5])
    expect(page.locator("#digit")).to_have_text("5")
    own = (origin, service.config.inference, "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_the_page_is_accessible(width: int, scheme: str, open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    assert Axe().run(page).response["violations"] == []
    choose(page, EXAMPLES[2], EXAMPLES[3])
    expect(page.locator("#digit")).to_have_text("3")
    expect(page.locator("#result:not(.old)")).to_be_visible()
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Draw").click()
    draw(page, [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)], [(0.1, 0.5), (0.9, 0.5)]])
    expect(page.locator("#doubt")).not_to_be_empty()
    assert Axe().run(page).response["violations"] == []


def test_at_400_percent_everything_is_reached_without_sideways_scrolling(open_page: Callable[..., Page]) -> None:
    # A window of 1280 x 1024 pixels, enlarged four times.
    page = open_page(viewport={"width": 320, "height": 256}, device_scale_factor=4)
    draw(page, DIGITS[2])
    expect(page.locator("#digit")).to_have_text("2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    # Beside the pad there is room to scroll by touch.
    box = page.locator("#stage").bounding_box()
    assert box
    assert box["height"] <= 256 - 64
    for name in ("Undo", "Clear", "Picture", "Example: white on black"):
        button = page.get_by_role("button", name=name)
        button.scroll_into_view_if_needed()
        expect(button).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_high_contrast_every_part_stands_out(scheme: str, open_page: Callable[..., Page]) -> None:
    page = open_page(color_scheme=scheme, forced_colors="active")
    draw(page, DIGITS[7])
    expect(page.locator("#digit")).to_have_text("7")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for part, style in {"#undo": "borderColor", "#stage": "borderColor", ".bar": "backgroundColor"}.items():
        colour = page.locator(part).first.evaluate("(part, style) => getComputedStyle(part)[style]", style)
        assert colour != ground
    best = page.locator(".best .bar").evaluate("bar => getComputedStyle(bar).backgroundColor")
    assert best not in (ground, page.locator(".bar").first.evaluate("bar => getComputedStyle(bar).backgroundColor"))
    # What a person draws stays as black on white as what is sent.
    assert page.locator("#pad").evaluate("pad => getComputedStyle(pad).filter") == "none"


@both_origins
def test_the_first_view_is_small(browser: Browser, origin: str) -> None:
    page = browser.new_page()
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())))
    page.goto(origin, wait_until="networkidle")
    assert 0 < sum(sizes) < 68_000
    page.close()
