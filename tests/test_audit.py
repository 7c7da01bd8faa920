"""scripts/audit lists all that serving installs, with licences, in forms that other tools read."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from operate.config import ROOT

LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / "serve.txt").read_text(), re.MULTILINE))


@pytest.mark.slow
def test_every_package_is_listed_with_its_licence(tmp_path: Path) -> None:
    command: list[str | Path] = [ROOT / "scripts" / "audit", "--output", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith(f"Wrote {tmp_path}/sbom.json and {tmp_path}/licences.md.\n")
    # What it finds depends on the day, and needs the Internet.
    assert done.returncode == ("pip-audit names it above" in done.stderr)
    assert len(LOCKED) > 15
    components = json.loads((tmp_path / "sbom.json").read_text())["components"]
    assert {each["purl"] for each in components} == {f"pkg:pypi/{name}@{LOCKED[name]}" for name in LOCKED}
    rows = re.findall(r"^\| (\S+) +\| (\S+) +\| (.+?) +\|$", (tmp_path / "licences.md").read_text(), re.MULTILINE)
    licences = {name.lower().replace("_", "-"): licence for name, _, licence in rows[1:]}
    assert licences.keys() == LOCKED.keys()
    assert licences["openvino"] == "Apache-2.0"
    assert "UNKNOWN" not in licences.values()
