"""The committed Java classes are those of the source beside them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from operate.config import ROOT


def has_jdk_17() -> bool:
    """Tell whether javac is here in the version that the committed classes were made with."""
    javac = shutil.which("javac")
    return bool(javac) and b"javac 17." in subprocess.run([str(javac), "-version"], capture_output=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(not has_jdk_17(), reason="needs javac 17 (Debian: apt install openjdk-17-jdk-headless)")
def test_the_committed_jar_is_compiled_from_its_source(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "compile", tmp_path / "again.jar"], check=True)
    assert (tmp_path / "again.jar").read_bytes() == (ROOT / "frontend" / "digit-server.jar").read_bytes()
