"""A worker that hangs, dies or works without end costs its requests seconds and loses none."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

from tests.harness.load import PAUSE_S, load
from tests.harness.management import manage, remake, status, use_handler
from tests.harness.service import Service, poll
from tests.versions import NEXT

pytestmark = [pytest.mark.server, pytest.mark.slow]

# Three or four seconds until it is ended. Where it was the only one, a second's pause and the start of the next follow.
LONGEST_S = {2: 7.0, 1: 15.0}


@pytest.fixture(scope="module")
def poisoned(own: Service, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a handler that uploads can make die or never end."""
    archive = remake(built, tmp_path_factory.mktemp("poisoned"), NEXT, use_handler("poisoned"))
    assert manage(own, "deploy", archive).returncode == 0
    yield own
    assert manage(own, "rollback").returncode == 0
    assert manage(own, "undeploy", NEXT).returncode == 0


def are_ready(service: Service, count: int) -> bool:
    """Return whether that many workers are ready."""
    return [each["ready_workers"] for each in status(service)["versions"]] == [count]


@pytest.mark.parametrize("workers", [2, 1])
def test_a_frozen_worker_is_replaced_within_seconds(workers: int, own: Service) -> None:
    assert manage(own, "scale", "--min", workers, "--max", workers, "--wait").returncode == 0
    waits_s: list[float] = []
    with load(own.predictions, waits_s=waits_s, pause_s=PAUSE_S) as counts:
        poll(lambda: counts["right"] >= 200)
        (version,) = status(own)["versions"]
        frozen = psutil.Process(version["workers"][0]["pid"])
        frozen.send_signal(signal.SIGSTOP)
        poll(lambda: not frozen.is_running(), 10)
        poll(partial(are_ready, own, workers))
        done = counts["right"] + 200
        poll(lambda: counts["right"] >= done)
    print(f"{workers} workers: {counts['right']} right answers, the longest wait {max(waits_s):.1f} s")
    assert set(counts) == {"right"}, counts
    assert max(waits_s) < LONGEST_S[workers]


def test_an_idle_worker_is_left_alone(own: Service) -> None:
    """Of one that is stopped without a batch, nobody waits for an answer."""
    assert manage(own, "scale", "--min", 2, "--max", 2, "--wait").returncode == 0
    (version,) = status(own)["versions"]
    idle = [psutil.Process(worker["pid"]) for worker in version["workers"]]
    for process in idle:
        process.send_signal(signal.SIGSTOP)
    with pytest.raises(AssertionError, match="not so after"):
        poll(lambda: not all(process.is_running() for process in idle), 5)
    for process in idle:
        process.send_signal(signal.SIGCONT)
    assert are_ready(own, 2)


@pytest.mark.parametrize("poison", [b"deadly", b"endless"])
def test_a_request_that_no_worker_survives_fails_alone(poison: bytes, poisoned: Service) -> None:
    with load(poisoned.predictions, pause_s=PAUSE_S) as counts:
        poll(lambda: counts["right"] >= 200)
        named = {"X-Request-Id": poison.decode()}
        lost = requests.post(poisoned.predictions, data=poison, headers=named, timeout=60)
        done = counts["right"] + 200
        poll(lambda: counts["right"] >= done)
    assert (lost.status_code, lost.json()) == (500, {"error": "Worker died."})
    assert set(counts) == {"right"}, counts
    log = (poisoned.config.path.parent / "server.log").read_text()
    # Alone in its batch after the first time.
    assert log.count(f"request_id={poison.decode()}\n") >= 2
