"""scripts/setup installs whatever the environment says, or refuses with a sentence before it downloads anything."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from operate.config import ROOT

# Prints its own path, its arguments, and the modules that a user's folder must not replace.
MODULE = 'import json, sys\nprint(__file__, *sys.argv[1:])\nassert json.dumps("") == chr(34) * 2\n'
CONTAINERS = "scripts/image, then docker compose -f docker/compose.yaml up --wait"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with one module and nothing installed, in a folder whose name is hard to quote."""
    root = tmp_path / "a #1?" / "dig%20its é"
    root.mkdir(parents=True)
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "operate").mkdir()
    (root / "operate" / "hello.py").write_text(MODULE)
    return root


def run(*command: "str | Path", **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with further environment variables."""
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=120)


def program(folder: Path, name: str, text: str) -> str:
    """Write a program into a folder, and return the PATH that finds it first."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("platform", ["Darwin arm64", "MINGW64_NT-10.0-22631 x86_64", "Linux armv7l", "FreeBSD amd64"])
def test_other_systems_are_one_sentence_that_leads_to_containers(platform: str, clone: Path, tmp_path: Path) -> None:
    system, machine = platform.split()
    path = program(tmp_path / "bin", "uname", f'case $1 in -s) echo "{system}" ;; -m) echo "{machine}" ;; esac')
    refused = run(clone / "scripts" / "serve", PATH=path)
    assert refused.returncode == 1
    assert f"not {system} on {machine}; containers run" in refused.stderr
    assert refused.stderr.endswith(f"{CONTAINERS}\n")
    assert refused.stderr.count("\n") == 1
    assert not (clone / ".venv").exists()


# What a Python that is not ours answers to the questions of scripts/setup.
OTHERS = {
    "not glibc 2.17;": 'platform.libc_ver = lambda: ("glibc", "2.17")',
    "not musl or another C library;": 'platform.libc_ver = lambda: ("", "")',
    "not free-threaded": "sysconfig.get_config_var = lambda name: 1",
    "64-bit": "sys.maxsize = 2**31 - 1",
    "CPython": 'sys.implementation.name = "pypy"',
    "3.11 to 3.14": "sys.version_info = (3, 15)",
}


@pytest.mark.parametrize("words", OTHERS)
def test_a_python_that_will_not_do_is_one_sentence(words: str, clone: Path, tmp_path: Path) -> None:
    imports = "import platform, sys, sysconfig"
    path = program(
        tmp_path, "other", f"exec {sys.executable} -c '{imports}; {OTHERS[words]}; exec(sys.argv[1])' \"$3\""
    )
    refused = run(clone / "scripts" / "setup", PATH=path, PYTHON="other")
    assert refused.returncode == 1
    assert words in refused.stderr
    assert refused.stderr.endswith(f"{CONTAINERS}\n")
    assert refused.stderr.count("\n") == 1


def test_a_variable_that_names_no_python_is_named(clone: Path) -> None:
    refused = run(clone / "scripts" / "setup", PYTHON="/nowhere/python")
    assert refused.returncode == 1
    assert "is needed, not PYTHON=/nowhere/python; install it" in refused.stderr


def test_the_versions_that_are_asked_for_are_those_of_the_packages() -> None:
    least = re.search(r"manylinux_(2_\d+)_(\w+)", distribution("openvino").read_text("WHEEL") or "")
    assert least
    name = {"x86_64": "x86-64", "aarch64": "ARM64"}[least[2]]
    version = least[1].replace("_", ".")
    for file in ("README.md", "scripts/setup"):
        assert re.search(rf"{re.escape(version)} (or later )?on {name}", (ROOT / file).read_text())


@pytest.mark.parametrize("fault", ["a file in the way", "not executable"])
def test_a_folder_that_cannot_be_used_is_one_sentence(fault: str, clone: Path) -> None:
    if fault == "not executable":
        # As on a file system that is mounted with noexec.
        (clone / "scripts" / "setup").chmod(0o644)
    else:
        (clone / ".venv").touch()
    refused = run("sh", clone / "scripts" / "serve")
    assert refused.returncode == 1
    assert ("noexec" if fault == "not executable" else "cannot be written") in refused.stderr
    assert refused.stderr.count("\n") == 1


def make_wheel(folder: Path) -> str:
    """Write a package that scripts/setup looks for into a folder, and return the line that requires it."""
    about = "certifi-1.0.dist-info"
    files = {
        "certifi/__init__.py": "",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: certifi\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    folder.mkdir()
    wheel = folder / "certifi-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
        made.writestr(f"{about}/RECORD", "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"]))
    return f"certifi==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


# With each of these pip would install nothing, elsewhere or something else, or Python would not start.
VARIABLES = {
    "PIP_USER": "1",
    "PIP_TARGET": "/nowhere",
    "PIP_PREFIX": "/nowhere",
    "PIP_ROOT": "/nowhere",
    "PIP_PYTHON": "/nowhere/python",
    "PIP_DRY_RUN": "1",
    "PIP_CONSTRAINT": "/nowhere/constraints.txt",
    "PIP_NO_BINARY": ":all:",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_NO_INDEX": "1",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": ".",
    "CDPATH": "/",
}


@pytest.mark.slow
def test_it_installs_whatever_is_set_and_the_folder_may_be_moved(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone / "requirements" / "serve.txt").write_text(make_wheel(tmp_path / "wheels"))
    # The user stands where modules have the names of ours; the interpreter of an old installation is gone.
    for name in ("json", "operate", "pip", "platform", "venv"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(__file__)")
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    command: list[str | Path] = [clone / "scripts" / "run", "scripts/hello", "operate.hello", "a b"]

    failed = run(*command, PIP_FIND_LINKS="")
    assert failed.returncode == 1
    assert re.search(r"^pip did not install into .* It obeys your .*PIP_NO_INDEX ", failed.stderr, re.MULTILINE)

    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    two = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120) for process in two]
    assert [out for out, _ in printed] == [f"{clone}/operate/hello.py a b\n"] * 2, printed
    assert "".join(err for _, err in printed).count("Installing into") == 1

    moved = clone.rename(tmp_path / "moved")
    done = run(moved / "scripts" / "run", *command[1:])
    assert (done.stdout, done.stderr) == (f"{moved}/operate/hello.py a b\n", "")
