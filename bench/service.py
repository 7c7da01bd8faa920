"""The service under test: started if none runs, and its processes with their processor time and memory."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from operate.client import Client, ServiceError
from operate.config import ROOT, Config

POLL_S = 0.1


@contextmanager
def ensure_service(client: Client) -> Iterator[None]:
    """Start the configured service while the context lasts, if it does not run already. Raises ServiceError."""
    if client.inference != client.config.inference or client.is_running():
        yield
    else:
        with run_service(client.config):
            yield


@contextmanager
def run_service(config: Config) -> Iterator[psutil.Process]:
    """Run scripts/serve while the context lasts; yield its process. Raises ServiceError."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready"
        command: list[str | Path] = [ROOT / "scripts" / "serve", "--config", config.path, "--ready-file", ready]
        service = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            while not ready.exists():
                if service.poll() is not None:
                    raise ServiceError("The service did not start.")
                time.sleep(POLL_S)
            yield psutil.Process(service.pid)
        finally:
            service.terminate()
            service.wait()


def find_processes() -> list[psutil.Process]:
    """Return TorchServe and its workers, if they run on this machine."""
    servers = [
        each for each in psutil.process_iter(["cmdline"]) if "digits.server.DigitServer" in (each.info["cmdline"] or [])
    ]
    return servers + [child for server in servers for child in server.children(recursive=True)]


def find_workers(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that are workers."""
    return [each for each in processes if any("operate.worker" in word for word in each.cmdline())]


def sum_cpu_seconds() -> float:
    """Return the processor time that the service has taken so far."""
    return sum(sum(process.cpu_times()[:2]) for process in find_processes())


def sum_memory_mb() -> float:
    """Return the service's memory, with shared pages counted once (PSS), in MB of 2**20 bytes."""
    return float(sum(process.memory_full_info().pss for process in find_processes()) / 2**20)
