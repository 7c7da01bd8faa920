"""The service under test: started if none runs, and its processes with their processor time and memory."""

import random
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from operate.client import Client, ServiceError
from operate.config import CONFIG, ROOT, Config, OperatorError

POLL_S = 0.1
# Below those that the system gives to clients, which might take one before the server does.
PORTS = range(20_000, 30_000)


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


def find_free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free. Raises OperatorError."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise OperatorError("No port is free.")


def write_config(folder: Path, shipped: Path = CONFIG, find_port: Callable[[], int] = find_free_port) -> Path:
    """Write a shipped configuration with free ports in its addresses and a model store in the folder."""
    lines = []
    for line in shipped.read_text().splitlines():
        name, _, value = line.partition("=")
        if value.startswith("http://"):
            line = re.sub(r"\d+$", str(find_port()), line)
        elif name == "model_store":
            line = f"{name}={folder}"
        lines.append(line)
    config = folder / "config.properties"
    config.write_text("\n".join(lines) + "\n")
    return config


def find_processes() -> list[psutil.Process]:
    """Return TorchServe and its workers, if they run on this machine."""
    servers = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if is_server(each):
                servers.append(each)
    return servers + [child for server in servers for child in server.children(recursive=True)]


def is_server(process: psutil.Process) -> bool:
    """Return whether a process is TorchServe's Java server."""
    return "digits.server.DigitServer" in process.cmdline()


def find_workers(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that are workers."""
    return [each for each in processes if any("operate.worker" in word for word in each.cmdline())]


def sum_cpu_seconds() -> float:
    """Return the processor time that the service has taken so far."""
    return sum(sum(process.cpu_times()[:2]) for process in find_processes())


def sum_memory_mb() -> float:
    """Return the service's memory, with shared pages counted once (PSS), in MB of 2**20 bytes."""
    return float(sum(process.memory_full_info().pss for process in find_processes()) / 2**20)
