"""scripts/review shows the pictures that labels.csv lacks, and each key is a line in it at once."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from evaluate.pictures import read_folder
from operate.config import ROOT, OperatorError
from operate.review import main, read_png
from tests.harness.service import EXAMPLES, free_port
from tests.web.pages import run_chromium


@dataclass
class Running:
    """A scripts/review that waits for its page."""

    process: "subprocess.Popen[str]"
    address: str

    def label(self, index: int, label: str) -> requests.Response:
        """Send a label as the page does."""
        return requests.put(f"{self.address}labels/{index}", label, timeout=10)

    def end(self) -> str:
        """Press Ctrl-C, and return what is printed then."""
        self.process.send_signal(signal.SIGINT)
        printed = self.process.communicate(timeout=10)[0]
        assert self.process.returncode == 0
        return printed

    def list_pictures(self) -> list[dict[str, object]]:
        """Return what the page is given to show."""
        listed: list[dict[str, object]] = requests.get(f"{self.address}pictures.json", timeout=10).json()["pictures"]
        return listed


def command(*arguments: "str | Path") -> list["str | Path"]:
    """Return the command line of scripts/review."""
    return [ROOT / "scripts" / "review", *arguments]


@contextmanager
def review(folder: Path, *options: str) -> Iterator[Running]:
    """Run scripts/review while the context lasts, and end it with Ctrl-C."""
    with subprocess.Popen(command(folder, *options), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        address = re.search(r"http://\S+/", process.stdout.readline())
        assert address
        running = Running(process, address[0])
        try:
            yield running
        finally:
            if process.poll() is None:
                running.end()


@pytest.fixture(scope="module")
def pngs() -> list[bytes]:
    """The shipped pictures, as the service reads them."""
    return [read_png(path) for path in EXAMPLES.values()]


@pytest.fixture
def kept(tmp_path: Path, pngs: list[bytes]) -> Path:
    """A folder as scripts/serve --keep fills it: 24 doubted pictures, two corrected ones, and what is no picture."""
    folder = tmp_path / "kept"
    for kind, count in (("doubted", 24), ("corrected", 2)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            name = folder / kind / f"{number:016x}"
            name.with_suffix(".png").write_bytes(pngs[number % 10])
            answer: dict[str, object] = {"digit": number % 10, "confidence": 0.5, "certain": False}
            if kind == "corrected":
                answer["truth"] = ("7", "none")[number]
            name.with_suffix(".json").write_text(json.dumps(answer))
    (folder / "doubted" / f"{2:016x}.png").write_text("two")
    (folder / "notes.txt").write_text("no picture")
    return folder


def read_table(folder: Path) -> list[str]:
    """Return the lines of labels.csv."""
    return (folder / "labels.csv").read_text().splitlines()


def test_the_list_has_answers_and_proposals_and_each_label_is_saved_at_once(kept: Path) -> None:
    with review(kept) as running:
        listed = running.list_pictures()
        assert len(listed) == 26
        assert listed[0] == {"file": "corrected/0000000000000000.png", "digit": 0, "confidence": 0.5, "truth": "7"}
        assert "truth" not in listed[2]
        assert requests.get(f"{running.address}pictures/0", timeout=10).content.startswith(b"\x89PNG")
        refused = requests.get(f"{running.address}pictures/4", timeout=10)
        assert "not a picture" in refused.json()["error"]
        for label in ("", "10", "seven"):
            assert running.label(0, label).status_code == 400
        assert running.label(26, "1").status_code == 400
        assert running.label(0, "1").status_code == 204
        assert running.label(1, "none").status_code == 204
        assert running.label(0, "3").status_code == 204
        requests.delete(f"{running.address}labels/1", timeout=10)
        assert read_table(kept) == ["file,label", "corrected/0000000000000000.png,3"]
        assert running.label(5, "3").status_code == 204
        # Stopped without notice, it has lost nothing.
        running.process.kill()
        running.process.wait()
    (digits,) = read_folder(kept, None)
    assert list(digits.digits) == [3, 3]
    with review(kept) as running:
        assert len(running.list_pictures()) == 24
        assert "Labelled: 0 of 24," in running.end()


@pytest.mark.parametrize("start", ["\ufefffile,writer,label\r\n", "file,writer,label\n"])
def test_lines_and_columns_that_are_there_stay(start: str, kept: Path) -> None:
    table = kept / "labels.csv"
    before = f'{start}"doubted/0000000000000000.png","Zoë, ""Z""",0\n./doubted/0000000000000001.png,,1'
    table.write_text(before, newline="")
    with review(kept) as running:
        assert len(running.list_pictures()) == 24
        running.label(0, "7")
        running.label(2, "none")
        requests.delete(f"{running.address}labels/2", timeout=10)
    assert table.read_bytes().decode() == before + "\ncorrected/0000000000000000.png,,7\n"


def test_other_pages_in_the_browser_are_refused(kept: Path) -> None:
    with review(kept, "--port", str(port := free_port())) as running:
        assert running.address.startswith(f"http://127.0.0.1:{port}/")
        guessed = f"http://127.0.0.1:{port}/{'A' * 22}/"
        for address, host in ((guessed, "127.0.0.1"), (guessed[:-23], "127.0.0.1"), (running.address, "evil.example")):
            headers = {"Host": f"{host}:{port}"}
            for path in ("", "review.js", "pictures.json", "pictures/0"):
                assert requests.get(address + path, headers=headers, timeout=10).status_code == 404
            assert requests.put(f"{address}labels/0", "7", headers=headers, timeout=10).status_code == 400
            assert requests.delete(f"{address}labels/0", headers=headers, timeout=10).status_code == 404
        policy = requests.get(running.address, timeout=10).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "connect-src 'self';" in policy
    assert not (kept / "labels.csv").exists()


def test_what_cannot_be_reviewed_is_said(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, wrong, done = (tmp_path / name for name in ("empty", "wrong", "done"))
    for folder, table in ((empty, ""), (wrong, "name,digit\n7.jpg,7\n"), (done, "file,label\n7.jpg,7\n")):
        folder.mkdir()
        (folder / "notes.txt").write_text("7")
        if table:
            shutil.copy(EXAMPLES[7], folder)
            (folder / "labels.csv").write_text(table)
    for arguments, sentence in (
        ([empty], "has no picture files."),
        ([wrong], "needs the columns file and label in its first line."),
        ([kept, "--port", "99999"], "name another with --port."),
    ):
        monkeypatch.setattr("sys.argv", ["review", *map(str, arguments)])
        with pytest.raises(OperatorError, match=sentence):
            main()
    monkeypatch.setattr("sys.argv", ["review", str(done)])
    assert main() == 0
    assert f"has a line in labels.csv. Next: scripts/train --more {done}" in capsys.readouterr().out
    run = subprocess.run(command(tmp_path / "nowhere"), capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (1, f"{tmp_path / 'nowhere'}: No such file or directory.\n")


def test_a_folder_of_thousands_opens_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "thousands"
    folder.mkdir()
    shutil.copy(EXAMPLES[7], tmp_path)
    for number in range(5000):
        os.link(tmp_path / EXAMPLES[7].name, folder / f"{number}.jpg")
    started = time.monotonic()
    with review(folder) as running:
        assert len(running.list_pictures()) == 5000
        running.label(4999, "7")
        assert time.monotonic() - started < 10
    assert len(read_table(folder)) == 2


@pytest.fixture
def page() -> Iterator[Page]:
    """A window of Chromium; nothing may be on its console but that a file is no picture and that the server ended."""
    complaints: list[str] = []
    with run_chromium() as chromium:
        window = chromium.new_page(viewport={"width": 320, "height": 640})
        window.on("console", lambda message: complaints.append(message.text))
        window.on("pageerror", lambda error: complaints.append(str(error)))
        yield window
    assert [text for text in complaints if "422 (" not in text and "REFUSED" not in text] == []


@pytest.mark.browser
def test_twenty_pictures_are_labelled_with_the_keyboard(kept: Path, page: Page) -> None:
    with review(kept) as running:
        page.goto(running.address)
        progress, proposal, end = page.locator("#progress"), page.locator("#proposal"), page.locator("#end")
        expect(progress).to_have_text("1 of 26.")
        expect(proposal).to_have_text("Its sender says: 7. Read as 0, 50.0 % sure.")
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        started = time.monotonic()
        # What the sender says, no digit, another digit, which is undone, and skipped.
        for key, shown in {"Space": 2, "n": 3, "5": 4, "Backspace": 3, "s": 4}.items():
            page.keyboard.press(key)
            expect(progress).to_have_text(f"{shown} of 26.")
        # What the service read; the fifth file is no picture.
        for shown in range(6, 27):
            page.keyboard.press("Enter")
            expect(progress).to_have_text(f"{shown} of 26.")
            expect(page.get_by_role("alert")).to_have_text(re.compile("skipped. This is text" if shown == 6 else "^$"))
        assert time.monotonic() - started < 20
        page.keyboard.press("Enter")
        expect(end).to_be_visible()
        expect(end).to_contain_text(f"scripts/train --more {kept}")
        page.keyboard.press("Backspace")
        expect(end).to_be_hidden()
        page.get_by_role("button", name="No digit").click()
        expect(end).to_be_visible()
        expected = ["file,label", "corrected/0000000000000000.png,7", "corrected/0000000000000001.png,none"]
        expected += [f"doubted/{number:016x}.png,{number % 10}" for number in (1, *range(3, 23))]
        assert read_table(kept) == [*expected, f"doubted/{23:016x}.png,none"]
        assert f"Labelled: 24 of 26, in {kept}/labels.csv." in running.end()
        page.keyboard.press("Backspace")
        expect(page.get_by_role("alert")).to_contain_text("has ended")
