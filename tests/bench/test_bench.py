"""scripts/bench measures the running service and checks its answers."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from operate.config import ROOT
from tests.services import EXAMPLES, Service

pytestmark = [pytest.mark.server, pytest.mark.slow]
needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="needs wrk (Debian: apt install wrk)")


@needs_wrk
def test_a_short_run_writes_the_whole_report(service: Service, tmp_path: Path) -> None:
    command: list[str | Path] = [
        ROOT / "scripts" / "bench",
        "--url",
        service.config.inference,
        "--seconds",
        "1",
    ]
    done = subprocess.run([*command, "--rounds", "1", "--report", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "bench.json").read_text())
    for point in results["load"].values():
        assert point["requests"] > 100
        assert point["wrong"] == point["failed"] == 0
        assert 0 < point["p50"] <= point["p95"] <= point["p99"]
        assert point["memory_mb"] > 100
    assert results["bulk"]["1024"] > results["bulk"]["1"] > 0
    assert "| 256 | " in (tmp_path / "report.md").read_text()
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


@needs_wrk
def test_wrong_answers_are_counted(service: Service) -> None:
    url = service.predictions
    environment = {"PICTURE": str(EXAMPLES[7]), "DIGIT": "3", "PATH": "/usr/bin:/bin"}
    command = ["wrk", "-t1", "-c2", "-d1s", "-s", str(ROOT / "bench" / "bench.lua"), url]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    result = json.loads(printed.split("RESULT ")[1].splitlines()[0])
    assert result["wrong"] == result["requests"] > 0
