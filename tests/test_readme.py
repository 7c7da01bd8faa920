"""README's commands run as they stand there and print what it shows."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from operate.config import ROOT, read_config
from tests.services import Service

pytestmark = pytest.mark.server
README = (ROOT / "README.md").read_text()
CONSOLE = [
    tuple(step.split("\n", 1))
    for block in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    # This is a run of it.
    if not step.startswith("scripts/test\n")
]
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def two_workers_again(service: Service) -> Iterator[None]:
    """README scales the workers up: scale them down again."""
    yield
    model = service.config.management + "/models/mnist"
    requests.put(f"{model}?min_worker=2&max_worker=2&synchronous=true", timeout=120)


def readdress(text: str, service: Service) -> str:
    """Return the text with the addresses of the service under test instead of the configured ones."""
    for name, address in read_config().values.items():
        if address.startswith("http://"):
            text = text.replace(address, service.config.value(name))
    return text


def shows(expected: str, printed: str) -> bool:
    """Return whether the printed text is the expected one, in which ... stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in expected.strip().split("..."))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


@pytest.mark.parametrize(("command", "expected"), CONSOLE, ids=[command for command, _ in CONSOLE])
def test_a_command_prints_what_is_shown(command: str, expected: str, service: Service) -> None:
    if command.startswith("curl") and not shutil.which("curl"):
        pytest.skip("needs curl")
    if command == "scripts/serve":
        printed = service.output
    else:
        command = command.replace("scripts/predict", f"scripts/predict --url {service.config.inference}")
        command = command.replace("scripts/manage", f"scripts/manage --config {service.config.path}")
        run = subprocess.run(readdress(command, service), shell=True, cwd=ROOT, capture_output=True, text=True)  # noqa: S602
        assert run.returncode == 0, run.stderr
        printed = run.stdout
    assert shows(readdress(expected, service), printed), printed


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_an_example_in_python_prints_what_is_shown(number: int, service: Service) -> None:
    run = subprocess.run(
        [sys.executable, "-c", readdress(PYTHON[number], service)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for expected in re.findall(r"# -> (.*)", PYTHON[number]):
        assert expected in run.stdout


def test_both_commands_are_at_the_top_with_their_output() -> None:
    top = README.splitlines()[:15]
    assert "$ scripts/serve" in top
    assert "$ scripts/test" in top


def test_every_link_to_a_file_works() -> None:
    for document in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name} links to {target}"


def test_every_script_is_explained_and_has_help() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    scripts = sorted((ROOT / "scripts").iterdir())
    with ThreadPoolExecutor(4) as pool:
        helps = pool.map(lambda script: subprocess.run([script, "--help"], capture_output=True), scripts)
    for script, printed in zip(scripts, helps, strict=True):
        assert f"`scripts/{script.name}" in contributing
        assert printed.returncode == 0, script
        assert printed.stdout, script
