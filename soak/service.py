"""The service under test, with free ports and a folder of its own, and the gateway in front of it."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.gateway import make_gateway
from bench.service import POLL_S, find_free_port, find_workers, is_server, write_config
from operate.client import Client, ServiceError
from operate.config import ROOT, OperatorError, read_config

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60


class Service:
    """scripts/serve with its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.logs, self.scratch = folder, folder / "logs", folder / "tmp"
        for each in (self.logs, self.scratch):
            each.mkdir(exist_ok=True)
        self.config = read_config(write_config(folder))
        self.client = Client(self.config)
        self.ready = folder / "ready"
        self.printed = folder / "printed"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The host:port of the inference API."""
        return self.config.inference.removeprefix("http://")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the service, and of what manages it."""
        return os.environ | {"LOG_LOCATION": str(self.logs), "TMPDIR": str(self.scratch)}

    def start(self, **environment: str) -> None:
        """Start it with more in its environment, and return when it is ready. Raises ServiceError."""
        command: list[str | Path] = [ROOT / "scripts" / "serve", "--config", self.config.path]
        command += ["--ready-file", self.ready]
        # A session of its own: Ctrl-C reaches this program only, which then stops the service in order.
        with self.printed.open("ab") as printed:
            self.process = subprocess.Popen(
                command,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"The service did not start: {self.last_words()}")
            time.sleep(POLL_S)

    def last_words(self) -> str:
        """Return the last line that it printed."""
        return (self.printed.read_text(errors="replace").splitlines() or ["it printed nothing."])[-1]

    def stop(self) -> int:
        """End it as Docker does, with whatever is left of it; return its exit code."""
        if not self.process:
            return 0
        family = self.find_processes()
        for each in family:
            with suppress(psutil.Error):
                each.resume()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        for each in family:
            with suppress(psutil.Error):
                each.kill()
        self.process = None
        return code

    def wait(self, timeout_s: float) -> int | None:
        """Return the exit code once it ends by itself, or None if it does not in time."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout_s) if self.process else None
        return None

    def find_processes(self) -> list[psutil.Process]:
        """Return all its processes, scripts/serve first."""
        try:
            top = psutil.Process(self.process.pid if self.process else -1)
            return [top, *top.children(recursive=True)]
        except (psutil.NoSuchProcess, ValueError):
            return []

    def find_java(self) -> psutil.Process:
        """Return the Java server. Raises ServiceError."""
        for each in self.find_processes():
            with suppress(psutil.Error):
                if is_server(each):
                    return each
        raise ServiceError("TorchServe does not run.")

    def find_workers(self) -> list[psutil.Process]:
        """Return the workers."""
        workers = []
        for each in self.find_processes():
            with suppress(psutil.Error):
                workers += find_workers([each])
        return workers

    def wait_for_workers(self, count: int, timeout_s: float) -> bool:
        """Return whether within the time that many workers are ready."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(OperatorError):
                default, versions = self.client.list_versions()
                if sum(worker["status"] == "READY" for worker in versions[default]["workers"]) >= count:
                    return True
            time.sleep(POLL_S)
        return False

    def manage(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run scripts/manage on it."""
        command: list[str | Path] = [ROOT / "scripts" / "manage", "--config", self.config.path, *words]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=STOP_TIMEOUT_S * 3
        )


@contextmanager
def run_service(folder: Path) -> Iterator[Service]:
    """Run a service while the context lasts. Raises ServiceError."""
    service = Service(folder)
    try:
        service.start()
        yield service
    finally:
        service.stop()


@contextmanager
def run_gateway(service: str) -> Iterator[str]:
    """Run nginx as shipped in front of a service's host:port; yield its host:port. Raises OperatorError."""
    # Each of our clients is one of its own, so that no limit for one stands in the way.
    trust = "set_real_ip_from 127.0.0.0/8;"
    with (
        tempfile.TemporaryDirectory(prefix="soak-gateway-") as folder,
        make_gateway(Path(folder), find_free_port(), f"http://{service}", GATEWAY_TRUST=trust) as gateway,
    ):
        yield gateway.address.removeprefix("http://")
