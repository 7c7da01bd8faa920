"""The committed jars: one is compiled from the sources beside it, the others are libraries with their checksums."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from operate.config import ROOT

JAR = ROOT / "server" / "digit-server.jar"


def test_the_jar_names_its_sources() -> None:
    sources = sorted((ROOT / "server" / "src" / "digits" / "server").iterdir(), key=str)
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()
    with zipfile.ZipFile(JAR) as jar:
        # A line of a manifest has 72 bytes at most, and goes on after a space.
        manifest = jar.read("META-INF/MANIFEST.MF").decode().replace("\r\n ", "")
    assert f"Source-SHA-256: {digest}\r\n" in manifest, "server/digit-server.jar is old: run scripts/compile."


def test_the_libraries_are_those_of_the_checksums() -> None:
    folder = ROOT / "server" / "lib"
    lines = (f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(folder.glob("*.jar")))
    assert (folder / "SHA256SUMS").read_text() == "".join(lines)


@pytest.mark.slow
def test_compiling_again_gives_the_same_bytes(tmp_path: Path) -> None:
    javac = shutil.which("javac")
    if not javac or b"javac 17." not in subprocess.run([javac, "-version"], capture_output=True).stdout:
        needed = "needs javac 17 (Debian: apt install openjdk-17-jdk-headless)"
        if os.environ.get("CI"):
            pytest.fail(needed)
        pytest.skip(needed)
    subprocess.run([ROOT / "scripts" / "compile", tmp_path / "again.jar"], check=True)
    assert (tmp_path / "again.jar").read_bytes() == JAR.read_bytes()
