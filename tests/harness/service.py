"""The real service on free ports, in a folder with its model store and logs."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from operate.client import Client
from operate.config import CONFIG, ROOT, Config, read_config
from operate.examples import list_examples

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

    @property
    def family(self) -> list[psutil.Process]:
        """All its processes but scripts/serve: the Java server and the workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    @property
    def java(self) -> psutil.Process:
        """The Java server."""
        return next(process for process in self.family if "digits.server.DigitServer" in process.cmdline())

    @property
    def workers(self) -> list[psutil.Process]:
        """The workers, also those that are starting."""
        workers = []
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                workers += [process] * any("operate.worker" in word for word in process.cmdline())
        return workers


def start(
    folder: Path,
    config: Path | None = None,
    *options: str,
    program: tuple[str | Path, ...] = (ROOT / "scripts" / "serve",),
    environment: dict[str, str] | None = None,
) -> Service:
    """Start scripts/serve, or another program, and return when it is ready."""
    config = config or write_config(folder)
    printed, ready = folder / "printed", folder / "ready"
    with printed.open("w") as stdout:
        process = subprocess.Popen(
            [*program, "--config", config, "--ready-file", ready, *options],
            env=os.environ | {"LOG_LOCATION": str(folder)} | (environment or {}),
            stdout=stdout,
            start_new_session=True,
        )
    poll(lambda: ready.exists() or process.poll() is not None, START_TIMEOUT_S)
    assert process.poll() is None, f"scripts/serve ended with {process.returncode}; see {folder}"
    return Service(process, read_config(config), printed.read_text())


def stop(running: Service) -> None:
    """End a service as Ctrl-C does, and assert that none of its processes is left."""
    family = running.family
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    poll(lambda: not any(process.is_running() for process in family))


def write_config(folder: Path, shipped: Path = CONFIG) -> Path:
    """Write a shipped configuration with free ports in its addresses and a model store in the folder."""
    lines = []
    for line in shipped.read_text().splitlines():
        name, _, value = line.partition("=")
        if value.startswith("http://"):
            line = re.sub(r"\d+$", str(free_port()), line)
        elif name == "model_store":
            line = f"{name}={folder}"
        lines.append(line)
    config = folder / "config.properties"
    config.write_text("\n".join(lines) + "\n")
    return config


def clone(root: Path) -> None:
    """Copy what serving needs of the repository into a new folder."""
    root.mkdir()
    for name in ("config.properties", "log4j2.xml", "metrics.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    for name in ("examples", "handler", "model", "operate", "requirements", "scripts", "server", "web"):
        shutil.copytree(ROOT / name, root / name)
    (root / ".venv").symlink_to(ROOT / ".venv")


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


@contextlib.contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Stop a process while the context lasts."""
    process.send_signal(signal.SIGSTOP)
    try:
        # One of its threads may run on for a moment.
        poll(lambda: process.status() == psutil.STATUS_STOPPED, 10)
        yield
    finally:
        process.send_signal(signal.SIGCONT)
