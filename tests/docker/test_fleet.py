"""Behind the gateway, services die, hang, leave, come, and are cut off, and no request is lost or answered wrongly."""

import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from operate.config import read_config
from tests.load import load
from tests.services import EXAMPLES, Gateway, Service, poll, run_gateway, start, stop, write_config

pytestmark = [pytest.mark.server, pytest.mark.slow]
SEVEN = EXAMPLES[7].read_bytes()
CLIENTS = 32
# As docker/kubernetes sets it, but shorter, as all waiting here.
# By then the gateway has asked one that failed again: fail_timeout.
RETRIED_S = 3
SETTINGS = {"GATEWAY_TIMEOUT": "3s", "GATEWAY_TRUST": "set_real_ip_from 127.0.0.0/8;"}


class Phases:
    """What came of the requests of 32 clients, in one phase after another."""

    def __init__(self, counts: Counter[str], gateway: Gateway) -> None:
        self.counts = counts
        self.gateway = gateway

    @contextmanager
    def phase(self, name: str, answers: int = 300) -> Iterator[None]:
        """Assert that from here until so many answers after the end of the context every request was answered right."""
        before = self.counts.copy()
        yield
        done = self.counts["right"] + answers
        poll(lambda: self.counts["right"] >= done, 60)
        came = self.counts - before
        print(f"{name:50} sent {came.total():6}  right {came['right']:6}")
        errors = [line for line in (self.gateway.folder / "printed").read_text().splitlines() if "[error]" in line]
        assert set(came) == {"right"}, "\n".join([name, str(came), *errors[-30:]])


def signal_all(service: Service, name: signal.Signals) -> None:
    """Send a signal to every process of a service."""
    top = psutil.Process(service.process.pid)
    for process in [top, *top.children(recursive=True)]:
        process.send_signal(name)


def start_again(service: Service, *options: str) -> Service:
    """Start a service where another was, with its configuration."""
    (service.config.path.with_name("ready")).unlink(missing_ok=True)
    return start(service.config.path.parent, service.config.path, *options)


def leave(service: Service) -> None:
    """Stop a service as Kubernetes does."""
    service.process.terminate()
    assert service.process.wait(60) == 0


def test_nothing_is_lost_while_services_die_hang_leave_and_come(
    start_service: Callable[[], Service], tmp_path: Path
) -> None:
    first, second = start_service(), start_service()
    third_config = write_config(tmp_path)
    addresses = [first.config.inference, second.config.inference, read_config(third_config).inference]
    with ExitStack() as stack:
        gateway = stack.enter_context(run_gateway(*addresses, **SETTINGS))
        fleet = Phases(stack.enter_context(load(gateway.address + "/predictions/mnist", CLIENTS)), gateway)
        with fleet.phase("two services, a third that is not there"):
            pass
        with fleet.phase("one killed"):
            signal_all(first, signal.SIGKILL)
            first.process.wait()
        with fleet.phase("started again"):
            first = start_again(first, "--shutdown-delay", "1")
            time.sleep(RETRIED_S)
        with fleet.phase("one frozen, and thawed after 8 s"):
            signal_all(second, signal.SIGSTOP)
            time.sleep(8)
            signal_all(second, signal.SIGCONT)
        with fleet.phase("replaced one after the other"):
            leave(second)
            second = start_again(second, "--shutdown-delay", "1")
            leave(first)
            first = start_again(first, "--shutdown-delay", "1")
        with fleet.phase("one more"):
            third = start(tmp_path, third_config, "--shutdown-delay", "1")
        with fleet.phase("two fewer"):
            leave(first)
            leave(third)
        with fleet.phase("the gateway's configuration loaded again"):
            gateway.process.send_signal(signal.SIGHUP)
            time.sleep(1)
    stop(second)


def run_ip(*command: str) -> None:
    """Run ip, and skip the test where it may not do that."""
    done = subprocess.run(["ip", *command], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs network namespaces (root, Debian: apt install iproute2): {done.stderr.strip()}")


@contextmanager
def host(number: int) -> Iterator[str]:
    """A network namespace that is reached at the address it gives, over the link fleetN, while the context lasts."""
    name, address = f"fleet{number}", f"198.18.{number}"
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    run_ip("netns", "add", name)
    try:
        run_ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        run_ip("addr", "add", f"{address}.1/24", "dev", name)
        run_ip("link", "set", name, "up")
        for command in ("link set lo up", f"addr add {address}.2/24 dev eth0", "link set eth0 up"):
            run_ip("-n", name, *command.split())
        yield f"{address}.2"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.skipif(not shutil.which("ip") or os.geteuid() != 0, reason="needs root and ip (Debian: iproute2)")
def test_nothing_is_lost_while_one_of_two_hosts_is_cut_off(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services = []
        for number in (1, 2):
            address = stack.enter_context(host(number))
            folder = tmp_path / address
            folder.mkdir()
            config = write_config(folder)
            text = config.read_text()
            config.write_text(text.replace("inference_address=http://127.0.0.1", f"inference_address=http://{address}"))
            services.append(start(folder, config, within=("ip", "netns", "exec", f"fleet{number}")))
        gateway = stack.enter_context(run_gateway(*(each.config.inference for each in services), **SETTINGS))
        fleet = Phases(stack.enter_context(load(gateway.address + "/predictions/mnist", CLIENTS)), gateway)
        with fleet.phase("two hosts"):
            pass
        with fleet.phase("one cut off for 12 s"):
            run_ip("-n", "fleet1", "link", "set", "eth0", "down")
            time.sleep(12)
            run_ip("-n", "fleet1", "link", "set", "eth0", "up")
        with fleet.phase("the other cut off, once the first is asked again"):
            time.sleep(12)
            run_ip("-n", "fleet2", "link", "set", "eth0", "down")
            assert requests.post(services[0].predictions, data=SEVEN, timeout=10).json()["digit"] == 7
            time.sleep(5)
            run_ip("-n", "fleet2", "link", "set", "eth0", "up")
            time.sleep(12)
        for each in services:
            stop(each)
