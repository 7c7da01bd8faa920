"""scripts/audit lists all that serving installs, in a bill of materials that other tools read."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import ts
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from operate.config import ROOT

LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / "serve.txt").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes; what it finds depends on the day, and needs the Internet."""
    folder = tmp_path_factory.mktemp("audit")
    command = [sys.executable, "requirements/audit.py", "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout.startswith(f"Wrote {folder}/sbom.json and {folder}/licences.md: ")
    return folder


@pytest.fixture
def listed(written: Path) -> set[str]:
    """The package URLs in the bill of materials."""
    return {each["purl"] for each in json.loads((written / "sbom.json").read_text())["components"]}


def test_the_bill_of_materials_is_valid_and_whole(written: Path, listed: set[str]) -> None:
    text = (written / "sbom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert len(LOCKED) > 20
    assert listed >= {f"pkg:pypi/{name}@{version}" for name, version in LOCKED.items()}


def test_the_java_libraries_are_those_of_torchserve(listed: set[str]) -> None:
    with zipfile.ZipFile(Path(ts.__file__).parent / "frontend" / "model-server.jar") as jar:
        netty = jar.read("META-INF/io.netty.versions.properties").decode()
    (version,) = re.findall(r"^netty-codec-http\.version=(.*)$", netty, re.MULTILINE)
    assert f"pkg:maven/io.netty/netty-all@{version}" in listed


def test_the_newer_java_libraries_are_listed(listed: set[str]) -> None:
    assert "pkg:maven/io.netty/netty-transport-native-epoll@4.2.18.Final?classifier=linux-x86_64" in listed
    for prefix, group in (("netty", "io.netty"), ("log4j", "org.apache.logging.log4j")):
        jars = list((ROOT / "server" / "lib").glob(f"{prefix}-*.jar"))
        # One more is in TorchServe's jar.
        assert len([purl for purl in listed if purl.startswith(f"pkg:maven/{group}/")]) == len(jars) + 1


def test_every_package_has_a_licence(written: Path) -> None:
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \|$", (written / "licences.md").read_text(), re.MULTILINE)
    licences = {name: licence for name, _, licence in rows[1:]}
    assert licences.keys() >= LOCKED.keys()
    assert licences["openvino"] == "Apache-2.0"
