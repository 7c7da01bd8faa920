"""A digit held in front of the camera is read, and the camera is only on while it is needed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from operate.gateway import Gateway
from tests.harness.service import EXAMPLES, Service
from tests.web.pages import both_origins, run_chromium

pytestmark = [pytest.mark.server, pytest.mark.browser]

WIDTH, HEIGHT = 1280, 720


def film(path: Path) -> Path:
    """Write a film, for Chromium to take for what the camera sees: a sheet with a 7 in the middle."""
    frame = Image.new("RGB", (WIDTH, HEIGHT), (196, 190, 178))
    sheet = Image.open(EXAMPLES[7]).convert("RGB")
    sheet.thumbnail((420, 420))
    frame.paste(sheet, ((WIDTH - sheet.width) // 2, (HEIGHT - sheet.height) // 2))
    light, blue, red = frame.convert("YCbCr").split()
    half = (WIDTH // 2, HEIGHT // 2)
    picture = light.tobytes() + blue.resize(half).tobytes() + red.resize(half).tobytes()
    head = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F10:1 Ip A1:1 C420jpeg\n".encode()
    path.write_bytes(head + (b"FRAME\n" + picture) * 3)
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium with a camera that shows a 7."""
    seen = film(tmp_path_factory.mktemp("camera") / "seen.y4m")
    flags = ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={seen}"]
    # Another name for this machine, which is no secure origin.
    flags += ["--host-resolver-rules=MAP digits.example 127.0.0.1"]
    with run_chromium(*flags) as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may use the camera."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, permissions=["camera"])
    yield context.new_page()
    context.close()


@both_origins
def test_a_digit_in_the_frame_is_read(page: Page, origin: str) -> None:
    page.goto(origin)
    page.get_by_role("button", name="Camera").click()
    page.wait_for_function("() => document.getElementById('view').videoWidth > 0")
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#cards li")).to_have_count(1)
    expect(page.get_by_role("button", name="Draw")).to_be_focused()
    assert page.evaluate("document.getElementById('view').srcObject") is None


@pytest.mark.parametrize("how", ["Cancel", "Escape", "another picture"])
def test_the_camera_is_off_when_it_is_no_longer_needed(how: str, page: Page, service: Service) -> None:
    page.goto(service.config.page)
    page.get_by_role("button", name="Camera").click()
    page.wait_for_function("() => document.getElementById('view').videoWidth > 0")
    track = page.evaluate_handle("document.getElementById('view').srcObject.getVideoTracks()[0]")
    assert track.evaluate("track => track.readyState") == "live"
    if how == "Cancel":
        page.get_by_role("button", name="Cancel").click()
    elif how == "Escape":
        page.keyboard.press("Escape")
    else:
        page.locator("#file").set_input_files(EXAMPLES[3])
        expect(page.locator("#digit")).to_have_text("3")
    expect(page.locator("#camera")).to_be_hidden()
    assert track.evaluate("track => track.readyState") == "ended"


def test_a_camera_that_is_not_allowed_is_explained(browser: Browser, service: Service) -> None:
    context = browser.new_context(permissions=[])
    page = context.new_page()
    page.goto(service.config.page)
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_role("alert")).to_contain_text("The camera is blocked")
    expect(page.locator("#pad")).to_be_visible()
    context.close()


def test_no_camera_is_offered_where_the_browser_gives_none(page: Page, gateway: Gateway) -> None:
    page.goto(gateway.address.replace("127.0.0.1", "digits.example"))
    page.get_by_role("button", name="Example: pencil").click()
    expect(page.locator("#digit")).to_have_text("2")
    expect(page.locator("#open")).to_be_hidden()
