"""What the tests share: the real service, the gateway, MNIST's test pictures and the shipped net."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from torch import Tensor

from model.digit_net import DigitNet
from model.engine import Engine, build_engine
from model.record import WEIGHTS
from operate.archive import build
from operate.gateway import Gateway
from tests.harness.gateway import run_gateway
from tests.harness.service import Service, start, stop
from train.export import load
from train.mnist import read_mnist
from train.samples import read_held_out_samples
from train.strokes import Sample

# The same examples each time; --hypothesis-profile=soak looks for others, for hours. What a service answers in time is
# for its tests to say.
settings.register_profile("short", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("soak", max_examples=100_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("short")

TESTS = Path(__file__).parent
# Folders whose tests count for coverage.
COVERING = ("handler", "model", "operate")
# Files and folders that take longest, those that wait beside those that compute.
LONGEST = (
    "operate/test_rollout.py",
    "train",
    "docker/test_fleet.py",
    "faults",
    "model",
    "hostile",
    "server/test_stuck_workers.py",
    "evaluate",
    "operate",
    "docker",
    "web",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no process is left alone with one at the end."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(TESTS).as_posix()
        return next((place for place, name in enumerate(LONGEST) if path.startswith(name)), len(LONGEST))

    items.sort(key=rank)

    # Measuring coverage makes Python slower by a third.
    for item in items:
        if item.path.relative_to(TESTS).parts[0] not in COVERING or item.get_closest_marker("slow"):
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def mnist_test() -> tuple[Tensor, Tensor]:
    """The 10,000 test pictures (10000, 1, 28, 28) uint8 and their digits (10000,)."""
    return read_mnist(train=False)


@pytest.fixture(scope="session")
def shipped_net() -> DigitNet:
    """The net with the committed weights."""
    return load(DigitNet(), WEIGHTS)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The shipped nets."""
    return build_engine()


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    """Handwriting that training never saw."""
    return read_held_out_samples()


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
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that keeps pictures, in the folder "kept" beside its configuration."""
    folder = tmp_path_factory.mktemp("keeping")
    running = start(folder, None, "--keep", str(folder / "kept"))
    yield running
    stop(running)


@pytest.fixture(scope="module")
def own(start_service: Callable[[], Service]) -> Iterator[Service]:
    """A service that the tests of one module may change."""
    running = start_service()
    yield running
    stop(running)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as the repository makes it."""
    return build(tmp_path_factory.mktemp("built"), "mnist")


@pytest.fixture(scope="session")
def gateway(service: Service) -> Iterator[Gateway]:
    """The gateway in front of the one service."""
    with run_gateway(service.config.inference) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each capability that this machine lacks, from reasons such as "needs nginx (Debian: ...)"."""
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: needs ") for report in skipped)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped: {count} {'test needs' if count == 1 else 'tests need'} {reason}")
