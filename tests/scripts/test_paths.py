"""Scripts work from any folder and by any way to them, and paths are relative to where the user stands."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from operate.config import ROOT
from tests.harness.management import manage
from tests.harness.service import EXAMPLES, Service

SCRIPTS = sorted((ROOT / "scripts").iterdir())
SHELLS = [shell for shell in ("dash", "bash", "busybox sh") if shutil.which(shell.split()[0])]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the user stands, with a picture, and modules that have the names of ours."""
    folder = tmp_path / "here"
    folder.mkdir()
    shutil.copy(EXAMPLES[7], folder)
    for name in ("json", "model", "operate", "requests"):
        (folder / f"{name}.py").write_text("raise SystemExit(__file__)")
    monkeypatch.chdir(folder)
    # A user's folders that "cd scripts/.." must not find.
    (tmp_path / "scripts").mkdir()
    monkeypatch.setenv("CDPATH", str(tmp_path))
    return folder


@pytest.mark.server
def test_a_script_is_found_by_any_way_to_it(here: Path, service: Service) -> None:
    script = ROOT / "scripts" / "predict"
    (here / "link").symlink_to(script)
    (here / "link to link").symlink_to("link")
    (here / "folder").symlink_to(ROOT)
    ways: list[list[str | Path]] = [
        [script],
        [os.path.relpath(script)],
        ["./link to link"],
        ["folder/scripts/predict"],
        ["env", f"PATH={script.parent}:{os.environ['PATH']}", "predict"],
    ]
    ways += [[*shell.split(), script] for shell in SHELLS]

    def run(way: list[str | Path]) -> "subprocess.CompletedProcess[str]":
        command = [*way, ".", "--url", service.config.inference]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    with ThreadPoolExecutor(3) as pool:
        for way, done in zip(ways, pool.map(run, ways), strict=True):
            assert re.fullmatch(r"7\.jpg: 7 \(.*\)\n", done.stdout), (way, done)


@pytest.mark.server
def test_output_and_archives_are_where_the_user_stands(here: Path, service: Service) -> None:
    command: list[str | Path] = [ROOT / "scripts" / "predict", "7.jpg", "--output", "digits.csv"]
    subprocess.run([*command, "--url", service.config.inference], check=True, capture_output=True)
    assert (here / "digits.csv").read_text().splitlines()[1].startswith("7.jpg,7,")
    assert manage(service, "deploy", "7.jpg").stderr.startswith("7.jpg is not a model archive")


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])
def test_no_script_depends_on_where_the_user_stands(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert text.count('dirname "$(readlink -f "$0")"') == 1
    # A failure ends it also where it is called as "sh scripts/...", unless its last line is the one that may fail.
    assert "\nset -e\n" in text or text.splitlines()[-1].startswith("exec ")


@pytest.mark.parametrize("name", ["archive", "manage", "predict", "serve"])
def test_help_lists_the_options(name: str) -> None:
    done = subprocess.run([ROOT / "scripts" / name, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: scripts/{name} [-h]")


def test_help_needs_no_installation(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for script in sorted((tmp_path / "scripts").iterdir()):
        done = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, script
        # What its first comment says.
        assert script.name == "setup" or script.read_text().splitlines()[1].removeprefix("# ") in done.stdout
        assert "#" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["scripts"]
