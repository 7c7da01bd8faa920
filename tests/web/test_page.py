"""The page reads chosen, dropped and pasted pictures in a real browser, lists them, and explains what fails."""

import base64
import contextlib
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Error, Page, Route, expect

from tests.harness.service import EXAMPLES, Service
from tests.web.pages import DIGITS, both_origins, choose, draw, paint_bounds

pytestmark = [pytest.mark.server, pytest.mark.browser]


@both_origins
def test_chosen_pictures_are_read(page: Page) -> None:
    for digit, picture in EXAMPLES.items():
        choose(page, picture)
        expect(page.locator("#digit")).to_have_text(str(digit))
        expect(page.locator("#confidence")).to_contain_text("% sure")
        heights = [bar.evaluate("bar => bar.clientHeight") for bar in page.locator("#probabilities .bar").all()]
        assert len(heights) == 10
        assert heights.index(max(heights)) == digit


@both_origins
def test_there_are_examples_to_try(page: Page) -> None:
    for source in ("2048.webp", "examples/2.webp", "examples/3.gif", "examples/6.png"):
        example = page.locator(f"#examples button:has([src='{source}'])")
        assert example.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
        example.click()
        expect(page.locator("#digit")).to_have_text(Path(source).stem)


def write_turned(path: Path, *, is_true: bool) -> Path:
    """Write a photo of a 7 whose EXIF data say that it is to be turned by 90 degrees, which may be true or not."""
    picture = Image.new("L", (600, 400), 220)
    ImageDraw.Draw(picture).line([(90, 60), (210, 60), (130, 250)], fill=20, width=22)
    exif = Image.Exif()
    exif[0x0112] = 6
    (picture.transpose(Image.Transpose.ROTATE_90) if is_true else picture).save(path, exif=exif)
    return path


@pytest.mark.parametrize("turned", ["", "true", "false"])
def test_the_digit_is_outlined_where_it_is(turned: str, page: Page, tmp_path: Path) -> None:
    choose(page, write_turned(tmp_path / "7.jpg", is_true=turned == "true") if turned else EXAMPLES[7])
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#result:not(.old)")).to_be_visible()
    ink, outline = paint_bounds(page, "#picture", "dark"), paint_bounds(page, "#found", "blue")
    # All around it, with a margin of 2 % of the longer side and the precision of the net that finds the ink.
    across, down = page.locator("#picture").evaluate("({ width, height }) => [24 / width, 24 / height]")
    assert outline == pytest.approx((ink[0] - across, ink[1] - down, ink[2] + across, ink[3] + down), abs=0.025)


def test_of_a_picture_that_the_browser_cannot_show_the_ink_is_shown(page: Page, tmp_path: Path) -> None:
    Image.open(EXAMPLES[7]).save(tmp_path / "7.tiff")
    choose(page, tmp_path / "7.tiff")
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.locator("#hint")).to_contain_text("cannot show")
    assert paint_bounds(page, "#found", "dark") == pytest.approx((0.27, 0.25, 0.73, 0.75), abs=0.05)


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
        photo = np.random.default_rng(0).integers(200, 256, (1800, 2400, 3), np.uint8)
        photo[360:1440, 1140:1260] = 30
        picture = Image.fromarray(photo)
    else:
        picture = Image.new("1", (6000, 5000), 1)
        picture.paste(0, (2850, 1000, 3150, 4000))
    path = tmp_path / f"photo.{suffix}"
    picture.save(path, compress_level=1)
    assert (path.stat().st_size > 8_388_608) == (kind == "png")
    with page.expect_request("**/predictions/mnist", timeout=60_000) as sent:
        choose(page, path)
    expect(page.locator("#digit")).to_have_text("1")
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
    expect(page.locator("#digit")).to_have_text("5")
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
    expect(page.locator("#digit")).to_have_text("7")
    expect(page.get_by_role("alert")).to_have_text("")
    page.context.set_offline(True)
    choose(page, EXAMPLES[5])
    expect(page.get_by_role("alert")).to_contain_text("offline")
    page.context.set_offline(False)
    expect(page.locator("#digit")).to_have_text("5")
    page.close()


def test_an_older_answer_never_covers_a_newer_one(page: Page) -> None:
    held: list[Route] = []

    def answer(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    page.evaluate(
        """() => {
            window.shown = [];
            const digit = document.getElementById("digit");
            new MutationObserver(() => shown.push(digit.textContent)).observe(digit, { childList: true });
        }"""
    )
    page.route("**/predictions/mnist", answer)
    with page.expect_request("**/predictions/mnist"):
        choose(page, EXAMPLES[2])
    choose(page, EXAMPLES[9])
    expect(page.locator("#digit")).to_have_text("9")
    with contextlib.suppress(Error):
        held[0].continue_()
    choose(page, EXAMPLES[4])
    expect(page.locator("#digit")).to_have_text("4")
    assert set(page.evaluate("shown")) == {"9", "4"}


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
