"""scripts/manage shows and scales the workers; no request is lost when they change or die."""

import json
import re
import subprocess
from pathlib import Path

import psutil
import pytest

from operate.config import ROOT, read_model_config
from tests.harness.load import PAUSE_S, load
from tests.harness.management import manage, status
from tests.harness.service import Service, poll, write_config
from tests.versions import CURRENT

pytestmark = pytest.mark.server


def test_status_shows_versions_workers_and_a_real_reading(own: Service) -> None:
    shown = manage(own, "status")
    assert shown.returncode == 0
    capacity = read_model_config()["jobQueueSize"]
    assert re.search(rf"^{CURRENT} +yes +2 +2 +4 +0 +{capacity}$", shown.stdout, re.MULTILINE)
    assert "Ready: a shipped picture was read correctly in" in shown.stdout
    found = json.loads(manage(own, "--json", "status").stdout)
    (version,) = found["versions"]
    assert found["ready"]
    for worker in version["workers"]:
        assert "operate.worker" in " ".join(psutil.Process(worker["pid"]).cmdline())
        assert 50 < worker["memory_mb"] < 2000


def test_status_of_no_service_is_one_sentence(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "manage"), "--config", str(write_config(tmp_path)), "status"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 1
    assert "start it with scripts/serve" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_scaling_waits_until_the_workers_are_ready(own: Service) -> None:
    for count in (3, 1, 2):
        scaled = manage(own, "scale", "--min", count, "--wait")
        assert scaled.returncode == 0
        assert "until the service stops: a start uses minWorkers" in scaled.stderr
        (version,) = status(own)["versions"]
        assert [worker["status"] for worker in version["workers"]] == ["READY"] * count


@pytest.mark.slow
def test_a_killed_worker_loses_no_request(own: Service) -> None:
    with load(own.predictions, pause_s=PAUSE_S) as counts:
        for _ in range(2):
            done = counts["right"] + 200
            poll(lambda done=done: counts["right"] >= done)  # type: ignore[misc]
            (version,) = status(own)["versions"]
            psutil.Process(version["workers"][0]["pid"]).kill()
            poll(lambda: [each["ready_workers"] for each in status(own)["versions"]] == [2])
    assert set(counts) == {"right"}, counts
