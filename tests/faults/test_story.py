"""A hand whose 7s are misread: kept, corrected on the page, reviewed, learned, deployed under load, and then read."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from operate.archive import read_version
from operate.config import ROOT
from tests.harness.hand import SHORT, write_sevens
from tests.harness.load import PAUSE_S, load
from tests.harness.management import manage, status
from tests.harness.service import Service, clone, poll, start, stop
from tests.versions import CURRENT
from tests.web.pages import choose, run_chromium

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.browser]

# Sevens of the hand that are sent, and others to measure with.
SENT, MEASURED = 70, 60


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone, whose weights may change."""
    root = tmp_path_factory.mktemp("story") / "clone"
    clone(root)
    shutil.copytree(ROOT / "train", root / "train")
    (root / "data").symlink_to(ROOT / "data")
    return root


def run(*command: str | Path) -> str:
    """Run a command that succeeds; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def measure(service: Service) -> float:
    """Return the share of sevens, not sent before, that are read as sevens."""
    digits = [service.client.predict(picture)["digit"] for picture in write_sevens(MEASURED, seed=1)]
    return digits.count(7) / MEASURED


def list_kept(kept: Path, kind: str) -> list[Path]:
    """Return the pictures that are kept as doubted or corrected."""
    return sorted((kept / kind).glob("*.png"))


def send(service: Service, kept: Path) -> list[bytes]:
    """Send sevens, of which the doubted ones are kept; return those that are misread with certainty."""
    misread: list[bytes] = []
    doubted: list[bytes] = []
    for picture in write_sevens(SENT):
        answer = service.client.predict(picture)
        if not answer["certain"]:
            doubted.append(picture)
        elif answer["digit"] != 7:
            misread.append(picture)
        # More than ten a second would not be kept.
        poll(lambda: len(list_kept(kept, "doubted")) == len(doubted))
    return misread


def correct(browser: Browser, address: str, picture: Path) -> None:
    """Choose a picture on the page, which says that it is kept, and press the key 7."""
    page = browser.new_page()
    page.goto(address)
    expect(page.locator("header p")).to_contain_text("are kept on this server")
    choose(page, picture)
    expect(page.locator("#result:not(.old)")).to_be_visible()
    page.locator("#correction summary").click()
    page.get_by_role("group", name="It is a").get_by_role("button", name="7", exact=True).click()
    expect(page.locator("#thanks")).to_have_text("Thank you, noted as 7.")
    page.close()


@contextmanager
def review(root: Path, kept: Path) -> Iterator[str]:
    """Yield the address of scripts/review, and end that as Ctrl-C does."""
    command = [root / "scripts" / "review", kept]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        announced = re.search(r"http://\S+", process.stdout.readline())
        assert announced
        yield announced[0]
        process.send_signal(signal.SIGINT)
        # Else it might have nobody to print to.
        process.communicate(timeout=30)
    assert process.returncode == 0


def label_all(browser: Browser, address: str, count: int) -> None:
    """Press the key 7 for each picture of a review."""
    page = browser.new_page()
    page.goto(address)
    for number in range(1, count + 1):
        expect(page.locator("#progress")).to_have_text(f"{number} of {count}.")
        page.keyboard.press("7")
    expect(page.locator("#end")).to_be_visible()
    page.close()


def test_a_misread_hand_is_learned_and_deployed(root: Path, tmp_path: Path) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "service"
    folder.mkdir()
    service = start(folder, None, "--keep", str(kept), program=(root / "scripts" / "serve",))
    misread = send(service, kept)
    doubted = list_kept(kept, "doubted")
    with run_chromium() as browser:
        (tmp_path / "seven.png").write_bytes(misread[0])
        correct(browser, service.config.page, tmp_path / "seven.png")
        poll(lambda: len(list_kept(kept, "corrected")) == 1)
        refused = subprocess.run([root / "scripts" / "train", "--more", kept], capture_output=True, text=True)
        assert "it must be a digit from 0 to 9, or none" in refused.stderr
        with review(root, kept) as address:
            label_all(browser, address, len(doubted) + 1)
    printed = run(root / "scripts" / "train", "--more", kept, *SHORT)
    assert re.search(r"^\d+ pictures to learn from, \d+ held out by file\.$", printed, re.MULTILINE)
    archive = tmp_path / "mnist.mar"
    run(root / "scripts" / "archive", "--model-store", tmp_path)
    assert str(read_version(archive, "mnist")) == f"{CURRENT}.post1"
    with load(service.predictions, clients=4, pause_s=PAUSE_S) as counts:
        poll(lambda: counts["right"] > 20)
        deployed = manage(service, "deploy", archive)
        assert deployed.returncode == 0, deployed.stderr
        after = counts["right"]
        poll(lambda: counts["right"] > after + 20)
    assert set(counts) == {"right"}, counts
    assert status(service)["default"] == f"{CURRENT}.post1"
    assert measure(service) > 0.6
    assert manage(service, "rollback").returncode == 0
    assert measure(service) < 0.5
    assert {path.name for path in kept.iterdir()} == {"doubted", "corrected", "labels.csv"}
    stop(service)
