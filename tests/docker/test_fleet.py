"""Behind the gateway, services die, hang, leave, come, and are cut off, and no request is lost or answered wrongly."""

import json
import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests
import yaml

from operate.config import ROOT, read_config
from tests.harness.gateway import run_gateway
from tests.harness.load import PAUSE_S, load
from tests.harness.service import EXAMPLES, Service, poll, start, stop, write_config

pytestmark = [pytest.mark.server, pytest.mark.slow]
SEVEN = EXAMPLES[7].read_bytes()
CLIENTS = 32
KUBERNETES = ROOT / "docker" / "kubernetes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# What a client meets on a connection that is closed as it sends.
CLOSED = ("lost: RemoteDisconnected", "lost: ConnectionResetError", "lost: BrokenPipeError")
PODMAN = "needs podman with the images of scripts/image and scripts/image host (Debian: apt install podman)"
NAMESPACES = "needs network namespaces (root; Debian: apt install iproute2)"
# fail_timeout in GATEWAY_SERVERS.
LEFT_OUT = timedelta(seconds=2)
# As docker/kubernetes sets it, but shorter, as all waiting here.
SETTINGS = {"GATEWAY_TIMEOUT": "3s", "GATEWAY_TRUST": "set_real_ip_from 127.0.0.0/8;"}


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """End the services that a failed test leaves."""
    before = set(psutil.Process().children(recursive=True))
    yield
    for each in set(psutil.Process().children(recursive=True)) - before:
        with suppress(psutil.NoSuchProcess):
            each.kill()


class Phases:
    """What came of the requests of 32 clients, in one phase after another."""

    def __init__(self, counts: Counter[str]) -> None:
        self.counts = counts

    @contextmanager
    def phase(self, name: str, allowed: tuple[str, ...] = ()) -> Iterator[None]:
        """Assert that from here until 300 answers after the end of the context every request was answered right."""
        before = self.counts.copy()
        yield
        done = self.counts["right"] + 300
        poll(lambda: self.counts["right"] >= done, 60)
        came = self.counts - before
        print(
            f"{name:50} sent {came.total():6}  right {came['right']:6}", {key: came[key] for key in {*came} - {"right"}}
        )
        assert set(came) <= {"right", *allowed}, (name, came)
        assert sum(came[each] for each in CLOSED) <= CLIENTS, "each client has one connection to lose"


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


def count_asked(metrics: str) -> float:
    """Return how many requests for digits a service has answered, by its metrics at http://host:port."""
    text = requests.get(f"{metrics}/metrics", timeout=10).text
    return sum(map(float, re.findall(r'^digit_requests_total\{endpoint="predictions".*\} (.*)$', text, re.MULTILINE)))


def wait_until_asked(metrics: str) -> None:
    """Return when the gateway sends requests to a service."""
    counts: list[float] = []

    def is_asked() -> bool:
        # A network that has just come back may need a moment.
        with suppress(requests.ConnectionError):
            counts.append(count_asked(metrics))
        return bool(counts) and counts[-1] > counts[0]

    poll(is_asked)


def wait_until_tried_again(read_log: Callable[[], str]) -> None:
    """Return when the gateway has waited in vain for a service, left it out for a while, and waited once more."""
    before = read_log().count("\n")

    def is_tried_again() -> bool:
        lines = [line for line in read_log().splitlines()[before:] if re.search('"upstream_status": "50[24]', line)]
        times = [datetime.fromisoformat(json.loads(line)["time"]) for line in lines]
        return bool(times) and times[-1] - times[0] >= LEFT_OUT

    poll(is_tried_again, 60)


def test_nothing_is_lost_while_services_die_hang_leave_and_come(
    start_service: Callable[[], Service], tmp_path: Path
) -> None:
    first, second = start_service(), start_service()
    third_config = write_config(tmp_path)
    addresses = [first.config.inference, second.config.inference, read_config(third_config).inference]
    with ExitStack() as stack:
        gateway = stack.enter_context(run_gateway(*addresses, settings=SETTINGS))
        fleet = Phases(stack.enter_context(load(gateway.address + "/predictions/mnist", CLIENTS, pause_s=PAUSE_S)))
        with fleet.phase("two services, a third that is not there"):
            pass
        with fleet.phase("one killed"):
            signal_all(first, signal.SIGKILL)
            first.process.wait()
        with fleet.phase("started again"):
            first = start_again(first, "--shutdown-delay", "1")
            wait_until_asked(first.config.metrics)
        with fleet.phase("one frozen, and thawed"):
            signal_all(second, signal.SIGSTOP)
            wait_until_tried_again((gateway.folder / "printed").read_text)
            signal_all(second, signal.SIGCONT)
            wait_until_asked(second.config.metrics)
        with fleet.phase("replaced one after the other"):
            leave(second)
            second = start_again(second, "--shutdown-delay", "1")
            # As minReadySeconds: sooner, there would be nobody whom the gateway asks.
            wait_until_asked(second.config.metrics)
            leave(first)
            first = start_again(first, "--shutdown-delay", "1")
            wait_until_asked(first.config.metrics)
        with fleet.phase("one more"):
            third = start(tmp_path, third_config, "--shutdown-delay", "1")
            wait_until_asked(third.config.metrics)
        with fleet.phase("two fewer"):
            leave(first)
            leave(third)
        # Debian's nginx is too old for GATEWAY_KEEPALIVE: see the Deployments below, where none is lost.
        with fleet.phase("the gateway's configuration loaded again", allowed=CLOSED):
            workers = [each for each in psutil.Process(gateway.process.pid).children() if each.name() == "nginx"]
            gateway.process.send_signal(signal.SIGHUP)
            poll(lambda: not any(worker.is_running() for worker in workers))
        # With a second gateway, whoever balances over both would have sent these there.
        with fleet.phase("the gateway restarted", allowed=("refused", *CLOSED)):
            gateway.stop()
            gateway.start()
    stop(second)


def run_ip(*command: str) -> None:
    """Run ip."""
    subprocess.run(["ip", *command], check=True, capture_output=True)


@contextmanager
def host(number: int) -> Iterator[str]:
    """A network namespace that is reached at the address it gives, over the link fleetN, while the context lasts."""
    name, address = f"fleet{number}", f"198.18.{number}"
    if not shutil.which("ip"):
        pytest.skip(NAMESPACES)
    # One that an aborted run left.
    subprocess.run(["ip", "netns", "del", name], capture_output=True)
    try:
        try:
            run_ip("netns", "add", name)
            run_ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        except subprocess.CalledProcessError:
            pytest.skip(NAMESPACES)
        run_ip("addr", "add", f"{address}.1/24", "dev", name)
        run_ip("link", "set", name, "up")
        for command in ("link set lo up", f"addr add {address}.2/24 dev eth0", "link set eth0 up"):
            run_ip("-n", name, *command.split())
        yield f"{address}.2"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_nothing_is_lost_while_one_of_two_hosts_is_cut_off(tmp_path: Path) -> None:
    with ExitStack() as stack:
        services, inference, metrics = [], [], []
        for number in (1, 2):
            address = stack.enter_context(host(number))
            folder = tmp_path / address
            folder.mkdir()
            shipped = write_config(folder, ROOT / "docker" / "config.properties")
            program = ("ip", "netns", "exec", f"fleet{number}", ROOT / "scripts" / "serve")
            services.append(start(folder, shipped, program=program))
            config = services[-1].config
            inference.append(config.inference.replace("//127.0.0.1", f"//{address}"))
            metrics.append(config.metrics.replace("//127.0.0.1", f"//{address}"))
        gateway = stack.enter_context(run_gateway(*inference, settings=SETTINGS))
        read_log = (gateway.folder / "printed").read_text
        fleet = Phases(stack.enter_context(load(gateway.address + "/predictions/mnist", CLIENTS, pause_s=PAUSE_S)))
        with fleet.phase("two hosts"):
            wait_until_asked(metrics[0])
        with fleet.phase("one cut off"):
            run_ip("-n", "fleet1", "link", "set", "eth0", "down")
            wait_until_tried_again(read_log)
            run_ip("-n", "fleet1", "link", "set", "eth0", "up")
            wait_until_asked(metrics[0])
        with fleet.phase("the other cut off, once the first is asked again"):
            run_ip("-n", "fleet2", "link", "set", "eth0", "down")
            assert requests.post(f"{inference[0]}/predictions/mnist", data=SEVEN, timeout=10).json()["digit"] == 7
            wait_until_tried_again(read_log)
            run_ip("-n", "fleet2", "link", "set", "eth0", "up")
            wait_until_asked(metrics[1])
        for each in services:
            stop(each)


class Cluster:
    """Podman in place of a cluster: a network with DNS, and the pods of Deployments.

    It plays what a kubelet does not leave to others: names of ports, probes and pauses before the end are left out,
    variables are put in, and all pods of the service have its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = "digits-fleet"

    def play(self, base: str, name: str, replicas: int, **settings: str) -> None:
        """Run the pods of one of the shipped Deployments under another name."""
        manifest = next(yaml.safe_load_all((KUBERNETES / "base" / f"{base}.yaml").read_text()))
        manifest["metadata"]["name"] = name
        manifest["spec"]["replicas"] = replicas
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        container.pop("ports")
        for missing in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
            container.pop(missing, None)
        variables = {
            each["name"]: each["value"].replace("$(NAMESPACE)", "digits") for each in container.get("env", [])[1:]
        }
        container["env"] = [{"name": key, "value": value} for key, value in (variables | settings).items()]
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(manifest))
        network = f"{self.network}:alias={base}.digits.svc.cluster.local"
        self.podman("kube", "play", "--network", network, str(path))
        # Else it would change as pods leave, and for a minute nobody would reach whom he knew.
        bridge = self.podman("network", "inspect", "--format", "{{.NetworkInterface}}", self.network)
        address = Path(f"/sys/class/net/{bridge}/address").read_text().strip()
        run_ip("link", "set", bridge, "address", address)

    def podman(self, *words: str) -> str:
        """Run podman and return what it prints."""
        done = subprocess.run(["podman", *words], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def address(self, pod: str) -> str:
        """Return the IP address of a pod."""
        infra = self.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", pod)
        return self.podman("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", infra)

    def wait(self, *pods: str) -> None:
        """Return when the services of pods say that they are ready."""
        for pod in pods:
            poll(partial(self.is_ready, pod), 60)

    def is_ready(self, pod: str) -> bool:
        """Return whether a service says that it is ready, or the gateway passes that on."""
        try:
            return requests.get(f"http://{self.address(pod)}:8080/v2/health/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def wait_until_asked(self, *pods: str) -> None:
        """Return when the gateway sends requests to the services of pods."""
        self.wait(*pods)
        for pod in pods:
            wait_until_asked(f"http://{self.address(pod)}:8082")

    def list_processes(self, container: str) -> list[str]:
        """Return the ids of the processes of a container, the first of which started the others."""
        return self.podman("top", container, "hpid").split()[1:]

    def remove(self, pod: str) -> None:
        """End a pod as Kubernetes does: podman alone would take its network away first."""
        self.podman("stop", "--time", "60", f"{pod}-service")
        self.podman("pod", "rm", pod)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the images that scripts/image built; its pods are removed at the end."""
    if not shutil.which("podman"):
        pytest.skip(PODMAN)
    for image in ("service", "gateway"):
        command = ["podman", "run", "--rm", "--entrypoint", "true", f"localhost/digits-{image}:{VERSION}"]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip(PODMAN)
    made = Cluster(tmp_path)
    made.podman("network", "create", made.network)
    yield made
    pods = made.podman("pod", "ps", "--quiet", "--filter", f"network={made.network}").split()
    if pods:
        made.podman("pod", "rm", "--force", *pods)
    made.podman("network", "rm", made.network)


def test_nothing_is_lost_in_the_deployments_of_kubernetes(cluster: Cluster) -> None:
    cluster.play("service", "old", 2)
    cluster.wait("old-pod-0", "old-pod-1")
    cluster.play("gateway", "gateway", 1, GATEWAY_TRUST="set_real_ip_from 10.0.0.0/8;")
    cluster.wait("gateway-pod-0")
    url = f"http://{cluster.address('gateway-pod-0')}:8080/predictions/mnist"
    with load(url, CLIENTS, pause_s=PAUSE_S) as counts:
        fleet = Phases(counts)
        with fleet.phase("two pods"):
            pass
        with fleet.phase("one killed, which is started again"):
            pid = int(cluster.podman("inspect", "--format", "{{.State.Pid}}", "old-pod-0-service"))
            os.kill(pid, signal.SIGKILL)
            poll(lambda: not cluster.is_ready("old-pod-0"))
            cluster.wait("old-pod-0")
        with fleet.phase("one frozen, and thawed"):
            cluster.podman("pause", "old-pod-1-service")
            wait_until_tried_again(lambda: cluster.podman("logs", "gateway-pod-0-gateway") + "\n")
            cluster.podman("unpause", "old-pod-1-service")
        with fleet.phase("both replaced by new ones"):
            cluster.play("service", "new", 2)
            # As minReadySeconds.
            cluster.wait_until_asked("new-pod-0", "new-pod-1")
            cluster.remove("old-pod-0")
            cluster.remove("old-pod-1")
        with fleet.phase("one fewer"):
            cluster.remove("new-pod-1")
        with fleet.phase("two more"):
            cluster.play("service", "more", 2)
            cluster.wait_until_asked("more-pod-0", "more-pod-1")
        with fleet.phase("two fewer"):
            cluster.remove("more-pod-0")
            cluster.remove("more-pod-1")
        with fleet.phase("the gateway's configuration loaded again, 5 times"):
            for _ in range(5):
                workers = cluster.list_processes("gateway-pod-0-gateway")[1:]
                cluster.podman("kill", "--signal", "HUP", "gateway-pod-0-gateway")
                poll(lambda old=set(workers): not old & set(cluster.list_processes("gateway-pod-0-gateway")))  # type: ignore[misc]
