"""The real service and the real gateway, each with free ports and a folder of its own."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import bench.service
from bench.gateway import make_gateway
from operate.client import Client
from operate.config import CONFIG, ROOT, Config, read_config
from operate.examples import list_examples
from operate.gateway import Gateway, find_nginx

EXAMPLES = list_examples()
START_TIMEOUT_S = 120
# pytest-xdist's processes (gw0, gw1, ...) take turns.
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = iter(random.sample(range(15_000 + 1_000 * PROCESS, 16_000 + 1_000 * PROCESS), 1_000))


@dataclass
class Service:
    """A running scripts/serve."""

    process: "subprocess.Popen[bytes]"
    config: Config
    output: str

    @property
    def client(self) -> Client:
        """A client of this service."""
        return Client(self.config)

    @property
    def predictions(self) -> str:
        """The URL to POST pictures to."""
        return f"{self.config.inference}/predictions/{self.config.model}"


@contextlib.contextmanager
def run_gateway(
    *services: str, certificates: Path | None = None, settings: dict[str, str] | None = None
) -> Iterator[Gateway]:
    """Run nginx as its image does, with the shipped configuration and no rights, in front of services."""
    if not find_nginx():
        pytest.skip("needs nginx (Debian: apt install nginx)")
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        values = (settings or {}) | {"GATEWAY_CERTIFICATES": str(folder / "certificates")}
        if certificates:
            shutil.copytree(certificates, folder / "certificates")
        with make_gateway(folder, free_port(), *services, **values) as gateway:
            yield gateway
        assert gateway.process.returncode == 0


def start(folder: Path, config: Path | None = None, *options: str, within: tuple[str, ...] = ()) -> Service:
    """Start scripts/serve, by another program if one is given, and return when it is ready."""
    config = config or write_config(folder)
    printed, ready = folder / "printed", folder / "ready"
    with printed.open("w") as stdout:
        process = subprocess.Popen(
            [*within, ROOT / "scripts" / "serve", "--config", config, "--ready-file", ready, *options],
            env=os.environ | {"LOG_LOCATION": str(folder)},
            stdout=stdout,
            start_new_session=True,
        )
    poll(lambda: ready.exists() or process.poll() is not None, START_TIMEOUT_S)
    assert process.poll() is None, f"scripts/serve ended with {process.returncode}; see {folder}"
    return Service(process, read_config(config), printed.read_text())


def stop(running: Service) -> None:
    """End a service as Ctrl-C does, and assert that none of its processes is left."""
    family = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    poll(lambda: not any(process.is_running() for process in family))


def write_config(folder: Path, shipped: Path = CONFIG) -> Path:
    """Write a shipped configuration with free ports in its addresses and a model store in the folder."""
    return bench.service.write_config(folder, shipped, free_port)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free, a different one each time.

    It lies below the ports that the system gives to clients, which might take it before the server does.
    """
    for port in PORTS:
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def poll(claim: Callable[[], bool], timeout_s: float = 30) -> None:
    """Return as soon as the claim holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, f"not so after {timeout_s} s"
        time.sleep(0.05)
