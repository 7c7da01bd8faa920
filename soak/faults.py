"""Breaks a service in the ways that machines and operators do, under a steady load whose every answer is checked."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psutil

from evaluate.pictures import png
from operate.archive import MANIFEST
from operate.client import ServiceError, encode_picture
from soak.clients import Event, Load, make_known, run_all
from soak.service import Service
from soak.tally import LONGEST_S, Row, judge
from soak.wire import converse, write_request

CLIENTS = 12
# Of each client between two requests: what matters is that every moment is covered, not the rate.
PAUSE_S = 0.02
# Each client has to get right answers again after a fault.
RECOVERED = 2
RECOVERY_S = 60.0
# Seconds from which on stages have their time; the others always have.
LEAST_S = {
    "kill_workers": 60,
    "refuse_memory": 60,
    "deploy_damaged": 60,
    "restart": 60,
    "jump_clock": 60,
    # The server waits for 30 s for the answer to a batch.
    "lose_worker": 90,
}
DISK_MB = 96
CGROUP = Path("/sys/fs/cgroup/memory")
WORKER_ROOM = 8 << 20
SPARE_FILES = 20
# That of the machine is others' too.
CLOCK = Path(__file__).with_name("clock.c")
STARTED = ("right", "refused", "503")


class NotRun(Exception):
    """Why a fault cannot be staged here."""


@dataclass
class Mark:
    """A fault on the time axis."""

    name: str
    begun_s: float
    ended_s: float


class Faults:
    """The part of faults: rows, the events of the load, and when each fault was."""

    def __init__(self, service: Service, number: int, say: Callable[[str], None]) -> None:
        self.service, self.number, self.say = service, number, say
        self.rows: list[Row] = []
        self.marks: list[Mark] = []
        self.events: list[Event] = []
        self.hold_s = 5.0
        self.clock = service.folder.parent / "clock"

    def run(self, seconds: float) -> None:
        """Stage each fault, and hold those that last for as long as the time allows."""
        self.hold_s = min(5, max(1.5, seconds / 40))
        left_out = {stage for stage, least_s in LEAST_S.items() if seconds < least_s}
        known = make_known(self.service.client, self.number)
        stages: list[tuple[str, str, Callable[[], None], tuple[str, ...]]] = [
            ("no fault", "every answer right", self.wait, ("right",)),
            ("a worker killed", "nothing lost: the other one has its requests", self.kill_worker, ("right",)),
            ("all workers killed", "nothing lost: requests wait for new ones", self.kill_workers, ("right",)),
            ("a worker frozen for a while", "nothing lost", self.freeze_worker, ("right",)),
            ("a worker frozen for good", "replaced, nothing lost", self.lose_worker, ("right",)),
            ("a worker out of memory, killed by the system", "nothing lost", self.exhaust_memory, ("right",)),
            ("a worker that is given no more memory", "nothing lost", self.refuse_memory, ("right",)),
            ("Java frozen for a while", "nothing lost", self.freeze_java, ("right",)),
            ("the disk full", "nothing lost, also while a worker starts", self.fill_disk, ("right",)),
            ("the folder of logs read-only", "nothing lost, also while a worker starts", self.lock_logs, ("right",)),
            ("no file descriptors left", "nothing lost; who connects may wait", self.exhaust_files, ("right",)),
            ("a file that is no archive deployed", "refused, nothing lost", self.deploy_garbage, ("right",)),
            ("an archive with damaged weights deployed", "refused, nothing lost", self.deploy_damaged, ("right",)),
            ("SIGTERM, and started again", "all that was accepted is answered", self.restart, STARTED),
            ("the clock jumps", "nothing lost", self.jump_clock, ("right",)),
            ("Java killed, and started again", "lost: at most what was in it", self.kill_java, STARTED),
        ]
        with Load(self.service.address, known, CLIENTS, PAUSE_S) as load:
            for name, bar, stage, allowed in stages:
                self.say(name)
                row = Row(name, bar, allowed)
                self.rows.append(row)
                if stage == self.kill_java:
                    row.most = {"lost": CLIENTS}
                if stage.__name__ in left_out:
                    row.not_run = "the run is too short"
                else:
                    self.stage(row, stage, load)
                if not self.service.process:
                    break
        self.events = load.events

    def stage(self, row: Row, stage: Callable[[], None], load: Load) -> None:
        """Stage one fault and add what came of the requests until each client has got right answers again."""
        first, begun = len(load.events), time.monotonic()
        try:
            stage()
        except NotRun as reason:
            row.not_run = str(reason)
            return
        except (ServiceError, subprocess.SubprocessError, psutil.Error, OSError) as problem:
            row.problems.append(f"{type(problem).__name__}: {problem}")
        self.marks.append(Mark(row.name, begun, time.monotonic()))
        if not load.wait_for_all(RECOVERED, RECOVERY_S):
            row.problems.append(f"not every client had a right answer within {RECOVERY_S:.0f} s")
        # Answers that a fault delayed may be the last to come.
        row.counts, row.longest_s = load.count(first)

    def wait(self) -> None:
        """Let time pass."""
        time.sleep(self.hold_s)

    def check_workers(self) -> None:
        """Wait until there are two workers again. Raises ServiceError."""
        if not self.service.wait_for_workers(2, LONGEST_S):
            raise ServiceError(f"there were not two workers within {LONGEST_S:.0f} s")

    def kill_worker(self) -> None:
        """Kill one worker."""
        self.service.find_workers()[0].kill()
        self.wait()
        self.check_workers()

    def kill_workers(self) -> None:
        """Kill all workers at once."""
        for worker in self.service.find_workers():
            worker.kill()
        self.wait()
        self.check_workers()

    def freeze_worker(self) -> None:
        """Stop a worker, and let it go on before the server replaces it, after 3 to 4 s."""
        with frozen(self.service.find_workers()[0]):
            time.sleep(2)

    def lose_worker(self) -> None:
        """Stop a worker for good. Raises ServiceError if the server does not replace it."""
        worker = self.service.find_workers()[0]
        worker.send_signal(signal.SIGSTOP)
        psutil.wait_procs([worker], LONGEST_S)
        if worker.is_running():
            worker.kill()
            raise ServiceError(f"it was not replaced within {LONGEST_S:.0f} s")
        self.check_workers()

    def freeze_java(self) -> None:
        """Stop the Java server, and let it go on."""
        with frozen(self.service.find_java()):
            self.wait()

    def exhaust_memory(self) -> None:
        """Let one worker have hardly more memory than it has, and send large pictures until the system kills it."""
        worker = self.service.find_workers()[0]
        group = CGROUP / f"soak-{os.getpid()}"
        try:
            group.mkdir()
        except OSError as cause:
            raise NotRun("needs root and version 1 of control groups for memory") from cause
        try:
            (group / "cgroup.procs").write_text(str(worker.pid))
            # What it has already counts for the group that it was in.
            (group / "memory.limit_in_bytes").write_text(str(WORKER_ROOM))
            deadline = time.monotonic() + LONGEST_S
            while worker.is_running() and time.monotonic() < deadline:
                # Two at once: one alone goes to the worker that was busy last, which may be the other.
                run_all(lambda _number: self.send_large(), range(2), 2)
            if worker.is_running():
                raise ServiceError("the system killed no worker")
        except OSError as cause:
            raise NotRun(f"control groups: {cause.strerror}") from cause
        finally:
            remove_group(group)
        self.wait()
        self.check_workers()

    def refuse_memory(self) -> None:
        """Let one worker have no more address space than it has, and send large pictures; then kill it."""
        worker = self.service.find_workers()[0]
        try:
            worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms + WORKER_ROOM,) * 2)
        except psutil.AccessDenied as cause:
            raise NotRun("needs the right to set limits of other processes") from cause
        try:
            for _ in range(4):
                self.send_large()
            self.wait()
        finally:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        self.wait()
        self.check_workers()

    def send_large(self) -> None:
        """Send a good picture that takes 25 MB to decode. Raises ServiceError if it is called a bad one."""
        one = np.full((5000, 5000), 255, np.uint8)
        one[1000:4000, 2300:2700] = 0
        body, _ = encode_picture(png(one))
        exchange = converse(self.service.address, [write_request(self.service.client.predictions, body)])
        outcome = judge(exchange, 1)
        if outcome not in ("right", "503"):
            raise ServiceError(f"a picture of 25 megapixels: {outcome}")

    def fill_disk(self) -> None:
        """Fill the file system of the logs and the temporary files, and kill a worker meanwhile."""
        if not self.service.folder.is_mount():
            raise NotRun("needs root, to mount a small file system")
        filler = self.service.folder / "filler"
        try:
            with suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            self.service.find_workers()[0].kill()
            self.wait()
            self.check_workers()
        finally:
            filler.unlink(missing_ok=True)

    def lock_logs(self) -> None:
        """Make the folder of logs read-only, and kill a worker meanwhile."""
        logs = self.service.logs
        if subprocess.run(["mount", "--bind", logs, logs], capture_output=True, check=False).returncode:
            raise NotRun("needs root, to mount a folder read-only")
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", logs], capture_output=True, check=True)
            self.service.find_workers()[0].kill()
            self.wait()
            self.check_workers()
        finally:
            subprocess.run(["umount", logs], capture_output=True, check=True)

    def exhaust_files(self) -> None:
        """Let the Java server have hardly more files open than it has, and connect more clients than that."""
        java = self.service.find_java()
        before = java.rlimit(psutil.RLIMIT_NOFILE)
        host, port = self.service.address.rsplit(":", 1)
        try:
            java.rlimit(psutil.RLIMIT_NOFILE, (java.num_fds() + SPARE_FILES, before[1]))
        except psutil.AccessDenied as cause:
            raise NotRun("needs the right to set limits of other processes") from cause
        try:
            with ExitStack() as stack:
                for _ in range(5 * SPARE_FILES):
                    stack.enter_context(socket.create_connection((host, int(port)), 10))
                self.wait()
        finally:
            java.rlimit(psutil.RLIMIT_NOFILE, before)

    def deploy_garbage(self) -> None:
        """Deploy a file that is no archive."""
        self.deploy(self.service.folder.parent / "garbage.mar", b"no archive", "is not a model archive")

    def deploy_damaged(self) -> None:
        """Deploy an archive of a newer version whose weights are cut off."""
        whole = self.service.folder / "mnist.mar"
        made = self.service.folder.parent / "damaged.mar"
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(made, "w") as new:
            for name in old.namelist():
                content = old.read(name)
                if name == "model/digit_net.pt":
                    content = content[: len(content) // 2]
                elif name == MANIFEST:
                    content = content.replace(b'"modelVersion": "', b'"modelVersion": "9.')
                new.writestr(name, content)
        self.deploy(made, made.read_bytes(), "does not load")

    def deploy(self, archive: Path, content: bytes, sentence: str) -> None:
        """Deploy an archive, which is to be refused with a sentence. Raises ServiceError if it is not."""
        archive.write_bytes(content)
        done = self.service.manage("deploy", archive)
        archive.unlink()
        if done.returncode != 1 or sentence not in done.stderr:
            raise ServiceError(f"scripts/manage ended with {done.returncode}: {done.stderr.strip()}")

    def restart(self) -> None:
        """Stop the service as Docker does, and start it again. Raises ServiceError if it does not end with 0."""
        code = self.service.stop()
        self.service.start(**self.give_clock())
        if code:
            raise ServiceError(f"scripts/serve ended with {code}")

    def give_clock(self) -> dict[str, str]:
        """Return the environment that gives the service a clock of its own, if there is a compiler to make it."""
        library = self.clock.with_name("clock.so")
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(CLOCK), "-ldl"]
        if not shutil.which("cc") or subprocess.run(command, capture_output=True, check=False).returncode:
            return {}
        self.clock.write_bytes(bytes(8))
        return {"LD_PRELOAD": str(library), "CLOCK": str(self.clock)}

    def set_clock(self, days: int) -> None:
        """Let the clock of the service be so many days ahead of the true one."""
        # The processes have the file mapped.
        with self.clock.open("r+b") as file:
            file.write((86_400 * days).to_bytes(8, sys.byteorder, signed=True))

    def jump_clock(self) -> None:
        """Let the clock jump a day ahead, two days back, and to the true time. Raises ServiceError if it does not."""
        if not self.clock.exists():
            raise NotRun("needs a C compiler, to give the service a clock of its own")
        for days in (1, -1, 0):
            self.set_clock(days)
            self.wait()
            # The last line may not be whole yet.
            line = (self.service.logs / "access.log").read_text().splitlines()[-2]
            logged = datetime.fromisoformat(line.split()[0].replace(",", "."))
            if abs(logged - datetime.now() - timedelta(days)) > timedelta(minutes=1):
                raise ServiceError(f"it did not jump: the service logs {logged}")

    def kill_java(self) -> None:
        """Kill the Java server; scripts/serve ends with 1, and is started again. Raises ServiceError if it does not."""
        self.service.find_java().kill()
        code = self.service.wait(LONGEST_S)
        self.service.stop()
        self.service.start()
        if code != 1:
            raise ServiceError(f"scripts/serve ended with {code}")


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Stop a process while the context lasts."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def remove_group(group: Path) -> None:
    """Remove a control group, whose processes may still be ending."""
    for process in (group / "cgroup.procs").read_text().split():
        with suppress(OSError):
            (CGROUP / "cgroup.procs").write_text(process)
    for _ in range(100):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


@contextmanager
def small_disk(parent: Path) -> Iterator[Path]:
    """Make a folder for a service: a small file system where that can be mounted, so that it can be filled."""
    folder = parent / "service"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield folder
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", folder], check=False)
