"""What the tests share: the real service on free ports, MNIST's test pictures and the shipped net."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from accuracy import load_net
from digit_net import DigitNet
from mnist import read_test
from service import read_config
from torch import Tensor

ROOT = Path(__file__).parent.parent
PICTURES = {int(path.stem): path for path in (ROOT / "tests" / "pictures").iterdir()}
START_TIMEOUT_S = 120
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


def write_config(folder: Path) -> Path:
    """Write config.properties with free ports and a model store in the folder."""
    lines = []
    for line in (ROOT / "config.properties").read_text().splitlines():
        name, _, value = line.partition("=")
        if value.startswith("http://127.0.0.1:"):
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
