"""A person says on the page which digit a picture shows, is thanked for it, and sees what is kept."""

import csv
import json
import re
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from operate.config import read_config
from operate.page import serve_page
from tests.harness.service import EXAMPLES, free_port
from tests.web.pages import both_origins, choose, draw

pytestmark = [pytest.mark.server, pytest.mark.browser]

SCRIBBLE = [[(0.2, 0.2), (0.8, 0.8)], [(0.8, 0.2), (0.2, 0.8)], [(0.1, 0.5), (0.9, 0.5)]]


# Notes the pictures that the page sends: the truth in the address, which gateways see, that in the form, and the size.
NOTE = """() => {
    window.sent = [];
    const send = window.fetch;
    window.fetch = (address, options) => {
        const { body } = options ?? {};
        const truth = new URL(address, location).searchParams.get("truth");
        if (body) sent.push([truth, body.get("truth"), body.get("picture").size]);
        return send(address, options);
    };
}"""


def press(page: Page, name: str) -> None:
    """Press one of the keys, and wait for the thanks."""
    page.get_by_role("group", name="It is a").get_by_role("button", name=name, exact=True).click()
    expect(page.locator("#thanks")).to_have_text(f"Thank you, noted as {name.lower()}.")


@both_origins
def test_a_doubted_answer_is_corrected_with_one_click(page: Page) -> None:
    page.evaluate(NOTE)
    draw(page, SCRIBBLE)
    press(page, "No digit")
    press(page, "8")
    *_, (_, _, size) = page.evaluate("sent.filter(([truth]) => !truth)")
    assert page.evaluate("sent.filter(([truth]) => truth)") == [["none", "none", size], ["8", "8", size]]
    expect(page.locator("#keys [aria-pressed=true]")).to_have_text(["8"])


@both_origins
def test_a_certain_answer_is_corrected_with_the_keyboard(page: Page) -> None:
    choose(page, EXAMPLES[3])
    expect(page.locator("#result:not(.old)")).to_be_visible()
    keys = page.get_by_role("group", name="It is a")
    expect(keys).to_be_hidden()
    wrong = page.locator("#correction summary")
    expect(wrong).to_have_text("Wrong?")
    wrong.press("Enter")
    expect(wrong).to_have_text("It is a …")
    for _ in range(6):
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("Thank you, noted as 5.")
    expect(keys.get_by_role("button", name="5", pressed=True)).to_be_focused()


def test_a_new_stroke_forgets_the_keys(page: Page) -> None:
    draw(page, SCRIBBLE)
    press(page, "2")
    page.locator("#pad").hover()
    page.mouse.down()
    expect(page.locator("#correction")).to_be_hidden()
    page.mouse.up()
    expect(page.locator("#keys")).to_be_visible()
    expect(page.locator("#keys [aria-pressed=true]")).to_have_count(0)
    expect(page.locator("#thanks")).to_be_empty()


def test_corrections_are_on_the_cards_and_in_what_is_saved(page: Page) -> None:
    draw(page, SCRIBBLE)
    press(page, "No digit")
    choose(page, EXAMPLES[3], EXAMPLES[4])
    expect(page.locator("#cards li")).to_have_count(3)
    page.locator("#correction summary").click()
    press(page, "9")
    cards = page.locator("#cards button")
    expect(cards.first).to_contain_text("read as 4, ")
    expect(page.locator("#cards .digit")).to_have_text([re.compile(shown) for shown in ("^9$", "^3$", r"^\W$")])
    page.locator("#cards button").first.click()
    expect(page.locator("#hint")).to_have_text(EXAMPLES[4].name)
    expect(page.locator("#correction")).to_be_visible()
    expect(page.locator("#keys [aria-pressed=true]")).to_have_text(["9"])
    with page.expect_download() as csv_download:
        page.get_by_role("button", name="Save as CSV").click()
    with page.expect_download() as json_download:
        page.get_by_role("button", name="Save as JSON").click()
    rows = list(csv.DictReader(csv_download.value.path().read_text().splitlines()))
    assert [row["truth"] for row in rows] == ["none", "", "9"]
    assert [entry["truth"] for entry in json.loads(json_download.value.path().read_text())] == ["none", None, 9]


def test_a_correction_that_fails_is_explained_and_tried_again(browser: Browser, origin: str) -> None:
    page = browser.new_page()
    page.goto(origin)
    choose(page, EXAMPLES[3])
    expect(page.locator("#result:not(.old)")).to_be_visible()
    page.locator("#correction summary").click()
    allow = {"Access-Control-Allow-Origin": "*"}
    refusals = iter([(429, "Too many."), (400, "The truth must be 0 to 9, or none.")])

    def answer(route: Route) -> None:
        status, sentence = next(refusals)
        route.fulfill(status=status, json={"error": sentence}, headers=allow)

    page.route("**/predictions/mnist?truth=*", answer, times=2)
    page.get_by_role("button", name="7", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("busy")
    expect(page.get_by_role("alert")).to_contain_text("The truth must be")
    expect(page.locator("#keys [aria-pressed=true]")).to_have_count(0)
    expect(page.locator("#digit")).to_have_text("3")
    press(page, "7")
    expect(page.get_by_role("alert")).to_be_empty()
    page.close()


def test_a_doubted_drawing_is_kept_once_it_rests(browser: Browser, origin: str) -> None:
    page = browser.new_page()
    kinds: list[str] = []
    page.on("request", lambda request: kinds.append(request.headers.get("content-type", "")[:9]))
    page.route("**/config.json", lambda route: route.fulfill(json=route.fetch().json() | {"keeps": True}))
    page.goto(origin)
    # Until then it is sent in forms, with the field keep.
    with page.expect_request(lambda request: request.headers.get("content-type") == "image/png"):
        draw(page, SCRIBBLE)
    assert kinds.count("image/png") == 1
    assert kinds.count("multipart") >= 2
    assert kinds[-1] == "image/png"
    page.close()


@pytest.mark.parametrize("keeps", [True, False])
def test_the_first_line_says_what_is_kept(keeps: bool, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_FOLDER", "/kept" if keeps else "")
    config = read_config()
    origin = f"http://127.0.0.1:{free_port()}"
    config = replace(config, values=config.values | {"cors_allowed_origin": origin})
    sentence = "Pictures it doubts, and corrections, are kept on this server" if keeps else "No picture is kept."
    with serve_page(config):
        page = browser.new_page()
        page.goto(origin)
        expect(page.locator("header p")).to_contain_text(sentence)
        page.close()
