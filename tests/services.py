"""The real service and the real gateway, each with free ports and a folder of its own."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from operate.client import Client
from operate.config import CONFIG, ROOT, Config, read_config
from operate.examples import list_examples
from operate.host import fill_templates

EXAMPLES = list_examples()
START_TIMEOUT_S = 120
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
NOBODY = 65534
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


@dataclass
class Gateway:
    """A running nginx; its folder has its configuration, and what it printed."""

    process: "subprocess.Popen[bytes]"
    address: str
    folder: Path


def read_gateway_settings() -> dict[str, str]:
    """Return what docker/Dockerfile sets for the gateway's templates."""
    return dict(re.findall(r'\b(GATEWAY_\w+)="?([^"\\\n]*?)"?(?: \\)?\n', (ROOT / "docker" / "Dockerfile").read_text()))


@contextlib.contextmanager
def run_gateway(
    *services: str, certificates: Path | None = None, settings: dict[str, str] | None = None
) -> Iterator[Gateway]:
    """Run nginx as its image does, with the shipped configuration and no rights, in front of services.

    Of the settings in docker/Dockerfile, only those that say where something is are others.
    """
    if not NGINX:
        pytest.skip("needs nginx (Debian: apt install nginx)")
    address, shipped = f"127.0.0.1:{free_port()}", read_gateway_settings()
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        values = (
            shipped
            | (settings or {})
            | {
                "GATEWAY_HTTP": address,
                "GATEWAY_SERVERS": " ".join(
                    shipped["GATEWAY_SERVERS"].replace("service:8080 resolve", urlsplit(service).netloc)
                    for service in services
                ),
                "GATEWAY_RESOLVER": "127.0.0.1",
                "GATEWAY_FILES": str(folder),
                "GATEWAY_CERTIFICATES": str(folder / "certificates"),
            }
        )
        for name in ("web", "examples"):
            shutil.copytree(ROOT / name, folder / name)
        if certificates:
            shutil.copytree(certificates, folder / "certificates")
        fill_templates(values, folder)
        gateway = Gateway(start_nginx(folder), f"http://{address}", folder)
        try:
            poll(lambda: is_listening(address) or gateway.process.poll() is not None)
            assert gateway.process.poll() is None, (folder / "printed").read_text()
            yield gateway
        finally:
            gateway.process.send_signal(signal.SIGQUIT)
            assert gateway.process.wait(60) == 0


def start_nginx(folder: Path) -> "subprocess.Popen[bytes]":
    """Start nginx with a configuration in a folder; what it prints is appended to a file there."""
    assert NGINX
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with (folder / "printed").open("ab") as printed:
        user = None
        if os.geteuid() == 0:
            user = NOBODY
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        return subprocess.Popen(command, stdout=printed, stderr=printed, user=user, group=user)


def is_listening(address: str) -> bool:
    """Return whether something listens at host:port."""
    host, port = address.split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


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
