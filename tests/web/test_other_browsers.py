"""The page reads what is drawn and chosen in Firefox and in WebKit, Safari's engine, as well."""

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.harness.service import EXAMPLES, Service, free_port, poll
from tests.web.pages import DIGITS

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
WEBKIT_DRIVER = shutil.which("WebKitWebDriver")
MINI_BROWSER = next(iter(sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))), None)
XVFB = shutil.which("xvfb-run")

pytestmark = [pytest.mark.server, pytest.mark.browser]


class Firefox:
    """Firefox, driven by WebDriver BiDi, which it speaks itself."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.number = 0
        port = free_port()
        command = [str(FIREFOX), "--headless", "--no-remote", "--profile", str(folder)]
        command += [f"--remote-debugging-port={port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        poll(lambda: is_listening(f"http://127.0.0.1:{port}/"))
        self.loop.run_until_complete(self.connect(f"ws://127.0.0.1:{port}/session"))
        self.ask("session.new", {"capabilities": {}})
        self.context = self.ask("browsingContext.getTree", {})["contexts"][0]["context"]

    async def connect(self, address: str) -> None:
        """Connect to it."""
        self.session = aiohttp.ClientSession()
        self.socket = await self.session.ws_connect(address, max_msg_size=0)

    def ask(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Run a command and return its result."""
        self.number += 1

        async def exchange() -> dict[str, Any]:
            await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
            while True:
                answer: dict[str, Any] = await self.socket.receive_json(timeout=60)
                if answer.get("id") == self.number:
                    return answer

        answer = self.loop.run_until_complete(exchange())
        assert answer["type"] == "success", answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Open a page."""
        self.ask("browsingContext.navigate", {"context": self.context, "url": address, "wait": "complete"})

    def run(self, expression: str) -> dict[str, Any]:
        """Return the result of an expression as BiDi describes it."""
        target = {"context": self.context}
        result: dict[str, Any] = self.ask(
            "script.evaluate", {"expression": expression, "target": target, "awaitPromise": False}
        )["result"]
        return result

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression."""
        return json.loads(self.run(f"JSON.stringify({expression})")["value"])

    def perform(self, actions: list[dict[str, Any]]) -> None:
        """Move pointers."""
        self.ask("input.performActions", {"context": self.context, "actions": actions})

    def choose(self, picture: Path) -> None:
        """Choose a picture file."""
        field = {"sharedId": self.run("document.getElementById('file')")["sharedId"]}
        self.ask("input.setFiles", {"context": self.context, "element": field, "files": [str(picture)]})

    def close(self) -> None:
        """End it."""
        self.loop.run_until_complete(self.socket.close())
        self.loop.run_until_complete(self.session.close())
        self.loop.close()
        self.process.terminate()
        self.process.wait(60)


class WebKit:
    """WebKitGTK's small browser on a screen that nobody sees, driven by WebDriver."""

    def __init__(self) -> None:
        port = free_port()
        command = [str(XVFB), "--auto-servernum", str(WEBKIT_DRIVER), f"--port={port}"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.address = f"http://127.0.0.1:{port}/session"
        poll(lambda: is_listening(f"http://127.0.0.1:{port}/status"))
        options = {"binary": str(MINI_BROWSER), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"browserName": "MiniBrowser", "webkitgtk:browserOptions": options}}
        self.address += "/" + self.ask("", {"capabilities": wanted})["sessionId"]

    def ask(self, path: str, parameters: dict[str, Any]) -> Any:
        """Run a command and return its value."""
        answer = requests.post(self.address + path, json=parameters, timeout=60)
        assert answer.ok, answer.text
        return answer.json()["value"]

    def open(self, address: str) -> None:
        """Open a page."""
        self.ask("/url", {"url": address})

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression."""
        return self.ask("/execute/sync", {"script": f"return {expression}", "args": []})

    def perform(self, actions: list[dict[str, Any]]) -> None:
        """Move pointers."""
        self.ask("/actions", {"actions": actions})

    def choose(self, picture: Path) -> None:
        """Choose a picture file."""
        field = self.ask("/element", {"using": "css selector", "value": "#file"})
        self.ask(f"/element/{next(iter(field.values()))}/value", {"text": str(picture)})

    def close(self) -> None:
        """End it."""
        requests.delete(self.address, timeout=60)
        self.process.terminate()
        self.process.wait(60)


Driven = Firefox | WebKit


def is_listening(address: str) -> bool:
    """Return whether a browser or its driver answers."""
    with contextlib.suppress(requests.ConnectionError):
        requests.get(address, timeout=5)
        return True
    return False


@pytest.fixture(scope="module", params=["Firefox", "WebKit"])
def driven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    """One of the browsers."""
    if request.param == "Firefox":
        if not FIREFOX:
            pytest.skip("needs Firefox (Debian: apt install firefox-esr)")
        browser: Driven = Firefox(tmp_path_factory.mktemp("firefox"))
    else:
        if not (WEBKIT_DRIVER and MINI_BROWSER and XVFB):
            pytest.skip("needs WebKitGTK's driver (Debian: apt install webkit2gtk-driver xvfb xauth)")
        browser = WebKit()
    yield browser
    browser.close()


def stroke(browser: Driven, points: list[tuple[float, float]], device: str) -> list[dict[str, Any]]:
    """Return the actions that draw a stroke, its points in shares of the square in the middle of the pad."""
    box = "document.getElementById('pad').getBoundingClientRect()"
    left, top, width, side = (browser.evaluate(f"{box}.{name}") for name in ("left", "top", "width", "height"))
    middle = left + width / 2
    moves = [
        {"type": "pointerMove", "x": round(middle + (x - 0.5) * side), "y": round(top + y * side), "duration": 20}
        for x, y in points
    ]
    down, up = ({"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp"))
    parameters = {"pointerType": device}
    return [{"type": "pointer", "id": device, "parameters": parameters, "actions": [moves[0], down, *moves[1:], up]}]


def expect_text(browser: Driven, element: str, test: Callable[[str], bool]) -> None:
    """Wait until an element has a text."""

    def read(name: str) -> str:
        text: str = browser.evaluate(f"document.getElementById('{name}').textContent")
        return text

    try:
        poll(lambda: test(read(element)), 60)
    except AssertionError as late:
        raise AssertionError(f"{element} is {read(element)!r}, the status {read('status')!r}") from late


# Neither browser's driver moves a pen.
@pytest.mark.parametrize("device", ["mouse", "touch"])
@pytest.mark.parametrize("digit", [4, 7])
def test_a_drawn_digit_is_read(digit: int, device: str, driven: Driven, service: Service) -> None:
    driven.open(service.config.page)
    for points in DIGITS[digit]:
        driven.perform(stroke(driven, points, device))
    expect_text(driven, "status", lambda text: text.startswith(f"{digit}, "))
    assert driven.evaluate("document.getElementById('status').textContent").endswith(" % sure.")


@pytest.mark.parametrize("digit", [0, 7, 8])
def test_a_chosen_picture_is_read_and_outlined(digit: int, driven: Driven, service: Service) -> None:
    driven.open(service.config.page)
    for _ in range(2):
        driven.choose(EXAMPLES[digit])
        expect_text(driven, "digit", lambda text: text == str(digit))
    poll(lambda: driven.evaluate("document.querySelectorAll('#cards li').length") == 2)
    poll(lambda: not driven.evaluate("document.getElementById('result').classList.contains('old')"))
    outlined = """(() => {
        const found = document.getElementById("found");
        const { data } = found.getContext("2d").getImageData(0, 0, found.width, found.height);
        return data.filter((level, index) => index % 4 === 3 && level > 0).length;
    })()"""
    assert driven.evaluate(outlined) > 1000
