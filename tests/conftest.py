"""What the tests share: the real service on free ports, MNIST's test pictures and the shipped net."""

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

import psutil
import pytest
import yaml
from accuracy import load_net
from digit_net import DigitNet
from mnist import read_test
from service import read_config
from torch import Tensor

ROOT = Path(__file__).parent.parent
PICTURES = {int(path.stem): path for path in (ROOT / "tests" / "pictures").iterdir()}
START_TIMEOUT_S = 120
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
NOBODY = 65534
PORTS = iter(random.sample(range(15_000, 30_000), 15_000))


@dataclass
class Service:
    """A running scripts/serve."""

    process: "subprocess.Popen[bytes]"
    config: Path
    settings: dict[str, str]
    output: str

    @property
    def predictions(self) -> str:
        """The URL to POST pictures to."""
        return self.settings["inference_address"] + "/predictions/mnist"


@dataclass
class Gateway:
    """A running nginx; its folder has its configuration, and what it printed."""

    process: "subprocess.Popen[bytes]"
    address: str
    folder: Path


@pytest.fixture(scope="session")
def mnist_test() -> tuple[Tensor, Tensor]:
    """The 10,000 test pictures (10000, 1, 28, 28) uint8 and their digits (10000,)."""
    return read_test()


@pytest.fixture(scope="session")
def shipped_net() -> DigitNet:
    """The net with the committed weights."""
    return load_net()


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Service]:
    """A function that starts scripts/serve with free ports, a model store and logs of its own."""
    return lambda: start(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="session")
def service(start_service: Callable[[], Service]) -> Iterator[Service]:
    """The one service that most tests talk to."""
    running = start_service()
    yield running
    stop(running)


@pytest.fixture(scope="session")
def gateway(service: Service) -> Iterator[Gateway]:
    """The gateway in front of the one service."""
    with run_gateway(service.settings["inference_address"]) as running:
        yield running


@contextlib.contextmanager
def run_gateway(inference: str, certificates: Path | None = None, **settings: str) -> Iterator[Gateway]:
    """Run nginx as docker/compose.yaml does, with the shipped configuration and no rights, in front of a service.

    Of the settings in docker/compose.yaml, only those that say where something is are others.
    """
    if not NGINX:
        pytest.skip("needs nginx (Debian: apt install nginx)")
    shipped = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]["gateway"]
    place = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        values = (
            shipped["environment"]
            | settings
            | {
                "GATEWAY_HTTP": place,
                "GATEWAY_SERVICE": inference.removeprefix("http://"),
                "GATEWAY_RESOLVER": "127.0.0.1",
                "GATEWAY_PAGE": str(folder / "web"),
                "GATEWAY_CERTIFICATES": str(folder / "certificates"),
            }
        )
        shutil.copytree(ROOT / "web", folder / "web")
        if certificates:
            shutil.copytree(certificates, folder / "certificates")
        for template in (ROOT / "docker" / "gateway").glob("*.template"):
            filled = re.sub(r"\$\{(GATEWAY_\w+)\}", lambda found: values.get(found[1], ""), template.read_text())
            (folder / template.stem).write_text(filled)
        command = [NGINX, *(word.replace("/tmp", name) for word in shipped["command"][1:])]  # noqa: S108
        with (folder / "printed").open("wb") as printed:
            user = None
            if os.geteuid() == 0:
                user = NOBODY
                for path in (folder, *folder.rglob("*")):
                    os.chown(path, NOBODY, NOBODY)
            process = subprocess.Popen(command, stdout=printed, stderr=printed, user=user, group=user)
        try:
            poll(lambda: is_listening(place) or process.poll() is not None)
            assert process.poll() is None, (folder / "printed").read_text()
            yield Gateway(process, f"http://{place}", folder)
        finally:
            process.send_signal(signal.SIGQUIT)
            assert process.wait(60) == 0


def is_listening(place: str) -> bool:
    """Tell whether somebody listens at host:port."""
    host, port = place.split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def start(folder: Path, config: Path | None = None) -> Service:
    """Start scripts/serve and return when it says that it is ready."""
    config = config or write_config(folder)
    printed = folder / "printed"
    with printed.open("w") as stdout:
        process = subprocess.Popen(
            [ROOT / "scripts" / "serve", "--config", config],
            env=os.environ | {"LOG_LOCATION": str(folder)},
            stdout=stdout,
            start_new_session=True,
        )
    poll(lambda: "Ctrl-C" in printed.read_text() or process.poll() is not None, START_TIMEOUT_S)
    assert process.poll() is None, f"scripts/serve ended with {process.returncode}; see {folder}"
    return Service(process, config, read_config(config), printed.read_text())


def stop(running: Service) -> None:
    """End a service as Ctrl-C does, and assert that none of its processes is left."""
    family = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    poll(lambda: not any(process.is_running() for process in family))


def write_config(folder: Path, shipped: Path = ROOT / "config.properties") -> Path:
    """Write a shipped configuration with free ports of 127.0.0.1 and a model store in the folder."""
    lines = []
    for line in shipped.read_text().splitlines():
        name, _, value = line.partition("=")
        if value.startswith("http://"):
            line = f"{name}=http://127.0.0.1:{free_port()}"
        elif name.endswith("_port"):
            line = f"{name}={free_port()}"
        elif name == "model_store":
            line = f"{name}={folder}"
        lines.append(line)
    config = folder / "config.properties"
    config.write_text("\n".join(lines) + "\n")
    return config


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses, another one each time.

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
