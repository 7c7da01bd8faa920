"""The page reads drawings and pictures in a real browser, and explains what fails."""

import base64
import contextlib
import csv
import io
import json
import math
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Error, Page, Route, expect, sync_playwright

from operate.gateway import Gateway
from tests.services import EXAMPLES, Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

Scheme = Literal["light", "dark"]

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
def origin(request: pytest.FixtureRequest, service: Service) -> str:
    """Where the page is: at scripts/serve, and for what is marked with both_origins also at the gateway."""
    if getattr(request, "param", "serve") == "gateway":
        gateway: Gateway = request.getfixturevalue("gateway")
        return gateway.address
    return service.config.page


both_origins = pytest.mark.parametrize("origin", ["serve", "gateway"], indirect=True)


@pytest.fixture
def page(browser: Browser, origin: str) -> Iterator[Page]:
    """The page, freshly opened; in the end nothing may stand on its console."""
    complaints: list[str] = []
    opened = browser.new_page()
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(origin)
    yield opened
    opened.close()
    # The browser itself reports each answer of 400 and 503; nothing else may be said.
    assert [text for text in complaints if "400 (Bad Request)" not in text and "503 (" not in text] == []


@both_origins
@pytest.mark.parametrize("digit", range(10))
def test_a_chosen_picture_is_read(digit: int, page: Page) -> None:
    choose(page, EXAMPLES[digit])
    expect(page.locator("#digit")).to_have_text(str(digit))
    expect(page.locator("#confidence")).to_contain_text("% sure")
    heights = [bar.evaluate("bar => bar.clientHeight") for bar in page.locator("#probabilities .bar").all()]
    assert len(heights) == 10
    assert heights.index(max(heights)) == digit


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
    """Draw strokes on the pad with the mouse."""
    scale, shift, lean = HANDS[hand]
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    assert box
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            x, y = 0.5 + scale * (x - 0.5 + lean * (y - 0.5)) + shift, 0.5 + scale * (y - 0.5)
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=3)
            if number == 0:
                page.mouse.down()
        page.mouse.up()


@pytest.mark.parametrize(
    ("hand", "origin"), [*((hand, "serve") for hand in HANDS), ("plain", "gateway")], indirect=["origin"]
)
@pytest.mark.parametrize("digit", range(10))
def test_a_drawn_digit_is_read(digit: int, hand: str, page: Page) -> None:
    draw(page, DIGITS[digit], hand)
    expect(page.locator("#digit")).to_have_text(str(digit))
    expect(page.locator("#time")).to_contain_text("ms")


@both_origins
def test_a_digit_is_drawn_with_a_finger(browser: Browser, origin: str) -> None:
    page = browser.new_page(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    page.goto(origin)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    box = page.locator("#pad").bounding_box()
    assert box
    finger = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(DIGITS[7][0]):
        point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        kind = "touchMove" if number else "touchStart"
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(page.locator("#digit")).to_have_text("7")
    page.close()


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


def paint_bounds(page: Page, canvas: str, test: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of the pixels r, g, b, a of a canvas that pass a test, as shares of it."""
    bounds: list[float] = page.locator(canvas).evaluate(
        """(canvas, test) => {
            const { width, height } = canvas;
            const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
            copy.drawImage(canvas, 0, 0);
            const { data } = copy.getImageData(0, 0, width, height);
            const bounds = [1, 1, 0, 0];
            for (let index = 0; index < data.length; index += 4) {
                const [r, g, b, a] = data.subarray(index, index + 4);
                if (test === "dark" ? r + g + b > 240 || a < 255 : b < r + 100 || a < 255) continue;
                const [x, y] = [(index / 4) % width / width, Math.floor(index / 4 / width) / height];
                [bounds[0], bounds[1]] = [Math.min(bounds[0], x), Math.min(bounds[1], y)];
                [bounds[2], bounds[3]] = [Math.max(bounds[2], x), Math.max(bounds[3], y)];
            }
            return bounds;
        }""",
        test,
    )
    return bounds[0], bounds[1], bounds[2], bounds[3]


def write_turned(path: Path, *, is_true: bool) -> Path:
    """Write a photo of a 7 whose EXIF data say that it is to be turned by 90 degrees, which may be true or not."""
    picture = Image.new("L", (600, 400), 220)
    ImageDraw.Draw(picture).line([(90, 60), (210, 60), (130, 250)], fill=20, width=22)
    exif = Image.Exif()
    exif[0x0112] = 6
    (picture.transpose(Image.Transpose.ROTATE_90) if is_true else picture).save(path, exif=exif)
    return path


@both_origins
@pytest.mark.parametrize("turned", ["", "true", "false"])
def test_the_digit_is_outlined_where_it_is(turned: str, page: Page, tmp_path: Path) -> None:
    choose(page, write_turned(tmp_path / "7.jpg", is_true=turned == "true") if turned else EXAMPLES[7])
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#result:not(.old)")).to_be_visible()
    ink, outline = paint_bounds(page, "#picture", "dark"), paint_bounds(page, "#found", "blue")
    # All around it, with a margin of 2 % and the precision of the net that finds the ink.
    assert outline == pytest.approx((ink[0] - 0.02, ink[1] - 0.02, ink[2] + 0.02, ink[3] + 0.02), abs=0.025)


@both_origins
def test_what_the_net_saw_is_shown_beside_the_answer(page: Page) -> None:
    blank = page.locator("#seen").evaluate("canvas => canvas.toDataURL()")
    draw(page, DIGITS[8])
    expect(page.locator("#digit")).to_have_text("8")
    expect(page.locator("#result:not(.old)")).to_be_visible()
    assert page.locator("#seen").evaluate("canvas => canvas.toDataURL()") != blank
    outline = paint_bounds(page, "#found", "blue")
    assert outline == pytest.approx((0.27, 0.15, 0.73, 0.89), abs=0.04)
    # It is gone as soon as the next stroke begins.
    page.mouse.down()
    assert paint_bounds(page, "#found", "blue") == (1, 1, 0, 0)


def test_of_a_picture_that_the_browser_cannot_show_the_ink_is_shown(page: Page, tmp_path: Path) -> None:
    Image.open(EXAMPLES[7]).save(tmp_path / "7.tiff")
    choose(page, tmp_path / "7.tiff")
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#hint")).to_contain_text("cannot show")
    assert paint_bounds(page, "#found", "dark") == pytest.approx((0.27, 0.25, 0.73, 0.75), abs=0.05)


@both_origins
@pytest.mark.parametrize("digit", [1, 2, 3, 6])
def test_there_are_examples_to_try(digit: int, page: Page) -> None:
    example = page.locator(f"#examples button:has([src*='/{digit}.'])")
    assert example.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    example.click()
    expect(page.locator("#digit")).to_have_text(str(digit))


@both_origins
def test_a_picture_may_be_dropped_or_pasted(page: Page) -> None:
    for event, field, digit in (("drop", "dataTransfer", 4), ("paste", "clipboardData", 6)):
        content = base64.b64encode(EXAMPLES[digit].read_bytes()).decode()
        page.evaluate(
            """async ([name, field, content]) => {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], "picture"));
                const event = name === "drop"
                    ? new DragEvent(name, { [field]: transfer, bubbles: true, cancelable: true })
                    : new ClipboardEvent(name, { [field]: transfer, bubbles: true });
                document.body.dispatchEvent(event);
            }""",
            [event, field, content],
        )
        expect(page.locator("#digit")).to_have_text(str(digit))


@both_origins
@pytest.mark.parametrize("kind", ["png", "jpg", "many pixels in few bytes"])
def test_a_large_picture_is_reduced_before_it_is_sent(kind: str, page: Page, tmp_path: Path) -> None:
    suffix = "png" if kind != "jpg" else kind
    if suffix == kind:
        photo = np.random.default_rng(0).integers(200, 256, (3000, 4000, 3), np.uint8)
        photo[600:2400, 1900:2100] = 30
        picture = Image.fromarray(photo)
    else:
        picture = Image.new("1", (6000, 5000), 1)
        picture.paste(0, (2850, 1000, 3150, 4000))
    path = tmp_path / f"photo.{suffix}"
    picture.save(path, compress_level=1)
    assert (path.stat().st_size > 8_388_608) == (kind == "png")
    with page.expect_request("**/predictions/mnist", timeout=60_000) as sent:
        choose(page, path)
    expect(page.locator("#digit")).to_have_text("1", timeout=20_000)
    body = sent.value.post_data_buffer
    # Chromium keeps no body of a file for its tests.
    assert body is None or max(Image.open(io.BytesIO(body)).size) == 1600


@both_origins
def test_a_file_that_is_no_picture_is_refused_with_the_sentence_of_the_service(page: Page, tmp_path: Path) -> None:
    choose(page, EXAMPLES[2])
    expect(page.locator("#digit")).to_have_text("2")
    text = tmp_path / "seven.png"
    text.write_text("seven")
    choose(page, text)
    expect(page.get_by_role("alert")).to_contain_text("not a picture")
    expect(page.locator("#result")).to_be_hidden()
    choose(page, EXAMPLES[3])
    expect(page.locator("#digit")).to_have_text("3")
    expect(page.get_by_role("alert")).to_have_text("")


@both_origins
def test_a_picture_that_is_too_large_is_refused_before_it_is_sent(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(bytes(8_400_000))
    choose(page, large)
    expect(page.get_by_role("alert")).to_contain_text("larger than 8 MB")


def test_a_service_that_is_gone_is_named(browser: Browser, start_service: Callable[[], Service]) -> None:
    running = start_service()
    page = browser.new_page()
    page.goto(running.config.page)
    running.process.terminate()
    running.process.wait(60)
    choose(page, EXAMPLES[5])
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.close()


@both_origins
def test_a_busy_service_is_asked_again(page: Page) -> None:
    answers = iter([503, 503])

    def answer(route: Route) -> None:
        status = next(answers, None)
        if status is None:
            route.continue_()
        else:
            route.fulfill(status=status, json={"error": "busy"}, headers={"Access-Control-Allow-Origin": "*"})

    page.route("**/predictions/mnist", answer)
    choose(page, EXAMPLES[5])
    expect(page.get_by_role("alert")).to_contain_text("busy")
    expect(page.locator("#digit")).to_have_text("5", timeout=10_000)
    expect(page.get_by_role("alert")).to_have_text("")


def test_a_service_that_comes_back_is_found_again(browser: Browser, service: Service) -> None:
    page = browser.new_page()
    page.goto(service.config.page)
    left = iter(range(2))

    def answer(route: Route) -> None:
        if next(left, None) is None:
            route.continue_()
        else:
            route.abort("connectionrefused")

    page.route("**/predictions/mnist", answer)
    draw(page, DIGITS[7])
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.locator("#digit")).to_have_text("7", timeout=10_000)
    expect(page.get_by_role("alert")).to_have_text("")
    page.context.set_offline(True)
    choose(page, EXAMPLES[5])
    expect(page.get_by_role("alert")).to_contain_text("offline")
    page.context.set_offline(False)
    expect(page.locator("#digit")).to_have_text("5", timeout=10_000)
    page.close()


def test_an_older_answer_never_covers_a_newer_one(page: Page) -> None:
    delays = iter([1.0])

    def answer(route: Route) -> None:
        time.sleep(next(delays, 0))
        with contextlib.suppress(Error):
            route.continue_()

    page.route("**/predictions/mnist", answer)
    choose(page, EXAMPLES[2])
    choose(page, EXAMPLES[9])
    expect(page.locator("#digit")).to_have_text("9")
    page.wait_for_timeout(1500)
    expect(page.locator("#digit")).to_have_text("9")


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


@both_origins
def test_several_pictures_become_cards_that_can_be_saved(page: Page, tmp_path: Path) -> None:
    bad = tmp_path / "=bad, one.png"
    bad.write_text("no picture")
    choose(page, *EXAMPLES.values(), bad)
    rows = page.locator("#cards li")
    expect(rows).to_have_count(11)
    expect(rows.first).to_contain_text("not a picture")
    with page.expect_download() as csv_download:
        page.get_by_role("button", name="Save as CSV").click()
    table = list(csv.DictReader(csv_download.value.path().read_text().splitlines()))
    assert [row["name"] for row in table] == [path.name for path in EXAMPLES.values()] + ["'=bad, one.png"]
    assert [row["digit"] for row in table] == [*(str(digit) for digit in EXAMPLES), ""]
    assert table[-1]["error"].startswith("This is text, not a picture: send a PNG, JPEG, HEIC,")
    with page.expect_download() as json_download:
        page.get_by_role("button", name="Save as JSON").click()
    entries = json.loads(json_download.value.path().read_text())
    assert [entry.get("digit") for entry in entries] == [*EXAMPLES, None]
    page.get_by_role("button", name="Forget all").click()
    expect(page.locator("#earlier")).to_be_hidden()


@both_origins
def test_an_earlier_picture_is_shown_again(page: Page) -> None:
    choose(page, EXAMPLES[2], EXAMPLES[3])
    expect(page.locator("#digit")).to_have_text("3")
    page.locator("#cards button").last.click()
    expect(page.locator("#digit")).to_have_text("2")
    expect(page.locator("#hint")).to_have_text("2.webp")
    expect(page.locator("#cards li")).to_have_count(2)


def test_the_same_file_may_be_chosen_again(page: Page, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    for digit in (5, 6):
        shutil.copy(EXAMPLES[digit], picture)
        choose(page, picture)
        expect(page.locator("#digit")).to_have_text(str(digit))
        assert page.locator("#file").evaluate("field => field.value") == ""


def test_a_drawing_is_kept_when_the_pad_is_cleared(page: Page) -> None:
    for digit in (2, 7):
        draw(page, DIGITS[digit])
        expect(page.locator("#status")).to_contain_text(f"{digit}, ")
        page.get_by_role("button", name="Clear").click()
    expect(page.locator("#cards li")).to_have_count(2)
    expect(page.locator("#cards li").first).to_contain_text("7")


@both_origins
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_the_page_is_accessible(width: int, scheme: Scheme, browser: Browser, origin: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page.goto(origin)
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
    page.close()


def test_at_400_percent_everything_is_reached_without_sideways_scrolling(browser: Browser, service: Service) -> None:
    # A window of 1280 x 1024 pixels, enlarged four times.
    page = browser.new_page(viewport={"width": 320, "height": 256}, device_scale_factor=4)
    page.goto(service.config.page)
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
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_high_contrast_every_part_stands_out(scheme: Scheme, browser: Browser, service: Service) -> None:
    page = browser.new_page(color_scheme=scheme, forced_colors="active")
    page.goto(service.config.page)
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
    page.close()


@both_origins
def test_the_first_view_is_small(browser: Browser, origin: str) -> None:
    page = browser.new_page()
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())))
    page.goto(origin, wait_until="networkidle")
    assert 0 < sum(sizes) < 60_000
    page.close()
