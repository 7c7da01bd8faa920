"""The commands of README and docs/api.md run as they stand there and print what is shown; links between pages work."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operate.config import ROOT, read_config
from tests.harness.service import Service

README = ROOT / "README.md"
DOCUMENTS = (README, ROOT / "docs" / "api.md")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md")]
# Processors with and without bfloat16 agree on this many decimals of the shown answers.
DECIMALS = 2


def find_blocks(language: str) -> list[str]:
    """Return the blocks of code in a language, of all documents."""
    block = rf"^```{language}\n(.*?)^```"
    return [code for each in DOCUMENTS for code in re.findall(block, each.read_text(), re.MULTILINE | re.DOTALL)]


# Commands, each with what it prints.
STEPS = [
    step
    for block in find_blocks("console")
    for step in re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    # The tests run in a clone.
    if not step[0].startswith("git clone")
]
PROGRAMS = find_blocks("python")


def readdress(text: str, service: Service) -> str:
    """Return the text with the addresses of the service under test instead of the configured ones."""
    for name, address in read_config().values.items():
        if address.startswith("http://"):
            text = text.replace(address, service.config.value(name))
    return text


def round_numbers(text: str) -> str:
    """Return the text with its fractions rounded."""
    return re.sub(r"\d+\.\d+|\d+e-\d+", lambda number: f"{float(number[0]):.{DECIMALS}f}", text)


@pytest.mark.server
@pytest.mark.parametrize(("command", "expected"), STEPS, ids=[command for command, _ in STEPS])
def test_a_command_prints_what_is_shown(command: str, expected: str, service: Service) -> None:
    if command.startswith("curl") and not shutil.which("curl"):
        pytest.skip("needs curl (Debian: apt install curl)")
    if command == "scripts/serve":
        printed = service.output
    else:
        command = command.replace("scripts/predict", f"scripts/predict --url {service.config.inference}")
        run = subprocess.run(readdress(command, service), shell=True, cwd=ROOT, capture_output=True, text=True)  # noqa: S602
        assert run.returncode == 0, run.stderr
        printed = run.stdout
    assert round_numbers(printed).strip() == round_numbers(readdress(expected, service)).strip()


@pytest.mark.server
@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_program_prints_what_is_shown(program: str, service: Service) -> None:
    run = subprocess.run([sys.executable, "-c", readdress(program, service)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == re.findall(r"# -> (.*)", program)


def test_the_first_commands_start_the_service_and_read_a_digit() -> None:
    start = README.read_text().splitlines()[:40]
    commands = [line.split()[1] for line in start if line.startswith("$ ")]
    assert commands == ["git", "scripts/serve", "curl", "curl"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_page_works(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)(\S+?)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        assert not anchor or anchor in find_anchors(linked), target


def find_anchors(page: Path) -> list[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_every_script_is_explained() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    for script in (ROOT / "scripts").iterdir():
        assert f"`scripts/{script.name}" in contributing
