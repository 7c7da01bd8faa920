"""The page reads a chosen picture in a real browser, and says what is wrong when something is."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PICTURES, Service
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

pytestmark = [
    pytest.mark.server,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, service: Service) -> Iterator[Page]:
    """The page, freshly opened; in the end nothing may stand on its console."""
    complaints: list[str] = []
    opened = browser.new_page()
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(service.settings["cors_allowed_origin"])
    yield opened
    opened.close()
    # The browser itself reports each answer of 400; nothing else may be said.
    assert [text for text in complaints if "400 (Bad Request)" not in text] == []


@pytest.mark.parametrize("digit", range(10))
def test_a_chosen_picture_is_read(digit: int, page: Page) -> None:
    page.get_by_label("Picture", exact=True).set_input_files(PICTURES[digit])
    expect(page.locator("#digit")).to_have_text(str(digit))
    expect(page.locator("#confidence")).to_contain_text("% sure")
    bars = page.locator("progress").all()
    assert len(bars) == 10
    lengths = [float(bar.get_attribute("value") or 0) for bar in bars]
    assert lengths.index(max(lengths)) == digit
    assert page.locator("#picture").evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 0


def test_a_file_that_is_no_picture_is_refused_with_the_sentence_of_the_service(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Picture", exact=True).set_input_files(PICTURES[2])
    expect(page.locator("#digit")).to_have_text("2")
    text = tmp_path / "seven.png"
    text.write_text("seven")
    page.get_by_label("Picture", exact=True).set_input_files(text)
    expect(page.get_by_role("alert")).to_contain_text("not a picture")
    expect(page.locator("#result")).to_be_hidden()
    page.get_by_label("Picture", exact=True).set_input_files(PICTURES[3])
    expect(page.locator("#digit")).to_have_text("3")
    expect(page.get_by_role("alert")).to_have_text("")


def test_a_picture_that_is_too_large_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(8_400_000))
    page.get_by_label("Picture", exact=True).set_input_files(large)
    expect(page.get_by_role("alert")).to_contain_text("larger than 8 MB")


def test_a_service_that_is_gone_is_named(browser: Browser, start_service: Callable[[], Service]) -> None:
    running = start_service()
    page = browser.new_page()
    page.goto(running.settings["cors_allowed_origin"])
    running.process.terminate()
    running.process.wait(60)
    page.get_by_label("Picture", exact=True).set_input_files(PICTURES[5])
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.close()


def test_the_page_needs_nothing_from_other_origins(browser: Browser, service: Service) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(service.settings["cors_allowed_origin"])
    page.get_by_label("Picture", exact=True).set_input_files(PICTURES[5])
    expect(page.locator("#digit")).to_have_text("5")
    own = (service.settings["cors_allowed_origin"], service.settings["inference_address"], "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    page.close()
