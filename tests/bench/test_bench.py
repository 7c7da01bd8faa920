"""scripts/bench measures the running service and checks its answers."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from operate.config import ROOT
from tests.harness.service import EXAMPLES, Service, free_port

pytestmark = pytest.mark.slow
needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="needs wrk (Debian: apt install wrk)")


def bench(url: str, *options: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run scripts/bench."""
    command = [ROOT / "scripts" / "bench", "--url", url, *options]
    return subprocess.run(command, capture_output=True, text=True)


def read_tables(report: str) -> list[list[list[float]]]:
    """Return the numbers in the rows of each Markdown table."""
    tables = [part.splitlines() for part in report.split("\n\n") if part.startswith("|")]
    return [
        [[float(cell) for cell in row.replace(",", "").strip("|").split("|")] for row in rows[2:]] for rows in tables
    ]


@needs_wrk
@pytest.mark.server
def test_a_short_run_reports_every_figure(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    done = bench(service.config.inference, "--seconds", "2", "--rounds", "1", "--report", file)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == done.stdout
    assert "; workers: 2." in done.stdout
    load, bulk, sizes = read_tables(done.stdout)
    assert [clients for clients, *_ in load] == [1, 8, 64, 256, 512]
    for _, rate, p50, p95, p99, cpu_ms, memory_mb, wrong, failed in load:
        assert rate > 10
        assert 0 < p50 <= p95 <= p99
        assert cpu_ms > 0
        assert memory_mb > 100
        assert wrong == failed == 0
    assert bulk[-1][1] > bulk[0][1] > 0
    assert sizes[-1][1] > sizes[0][1] > 0


@needs_wrk
def test_without_a_service_it_says_how_to_start_one() -> None:
    done = bench(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert re.fullmatch(r"No service answers at \S+: start it with scripts/serve\.\n", done.stderr)


@needs_wrk
@pytest.mark.server
def test_wrong_answers_are_counted(service: Service) -> None:
    url = service.predictions
    environment = {"PICTURE": str(EXAMPLES[7]), "DIGIT": "3", "PATH": "/usr/bin:/bin"}
    command = ["wrk", "-t1", "-c2", "-d1s", "-s", str(ROOT / "bench" / "bench.lua"), url]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    result = json.loads(printed.split("RESULT ")[1].splitlines()[0])
    assert result["wrong"] == result["requests"] > 0
