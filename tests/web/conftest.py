"""Chromium with the page open, at scripts/serve or at the gateway."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from operate.gateway import Gateway
from tests.harness.service import Service
from tests.web.pages import run_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with run_chromium() as chromium:
        yield chromium


@pytest.fixture
def origin(request: pytest.FixtureRequest, service: Service) -> str:
    """Where the page is: at scripts/serve, and for what is marked with both_origins also at the gateway."""
    if getattr(request, "param", "serve") == "gateway":
        gateway: Gateway = request.getfixturevalue("gateway")
        return gateway.address
    return service.config.page


@pytest.fixture
def open_page(browser: Browser, origin: str) -> Iterator[Callable[..., Page]]:
    """A function that opens the page in a window with these options; in the end nothing may stand on its console."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_one(**options: Any) -> Page:
        page = browser.new_page(**options)
        pages.append(page)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(origin)
        return page

    yield open_one
    for page in pages:
        page.close()
    # The browser itself reports each answer of 400 and 503; nothing else may be said.
    assert [text for text in complaints if "400 (Bad Request)" not in text and "503 (" not in text] == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """The page, freshly opened."""
    return open_page()
