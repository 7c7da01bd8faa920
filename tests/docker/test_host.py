"""Service, gateway and page behind one port: as a program, and in a container as small as hosts have."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import psutil
import pytest
import requests
from PIL import Image

from operate.config import ROOT, read_config
from operate.gateway import find_nginx
from operate.host import make_gateway
from tests.docker.ask import PREDICTIONS, ask
from tests.harness.gateway import NOBODY
from tests.harness.load import load
from tests.harness.service import EXAMPLES, START_TIMEOUT_S, free_port, poll

IMAGE = "digits-host:latest"
SEVEN = EXAMPLES[7].read_bytes()
# What a client meets on a connection that nginx closes before it has read a request.
CLOSED = ("RemoteDisconnected", "ConnectionResetError", "BrokenPipeError")
# Between SIGTERM and SIGKILL.
STOP_TIMEOUT_S = 10


@dataclass
class Host:
    """A running operate.host; what it printed, gateway's log included, is in the file."""

    process: "subprocess.Popen[bytes]"
    address: str
    printed: Path

    def read_log(self) -> list[dict[str, object]]:
        """Return the lines of the gateway's log."""
        return [json.loads(line) for line in self.printed.read_text().splitlines() if line.startswith("{")]


@contextmanager
def run_host(**settings: str) -> Iterator[Host]:
    """Run operate.host on a free port, as a user without rights where that is possible."""
    if not find_nginx():
        pytest.skip("needs nginx (Debian: apt install nginx)")
    user = None
    if os.geteuid() == 0:
        # The interpreter may lie where nobody else can read it.
        with suppress(PermissionError):
            subprocess.run([sys.executable, "-c", ""], user=NOBODY, group=NOBODY, check=True)
            user = NOBODY
    # Not pytest's own, which is closed to others.
    scratch, port = Path(tempfile.mkdtemp(prefix="host-")), free_ports(4)
    # Started as root, nginx has workers without rights.
    scratch.chmod(0o755)
    printed = scratch / "printed"
    printed.touch()
    if user:
        for path in (scratch, printed):
            os.chown(path, user, user)
    places = {"PORT": str(port), "TMPDIR": str(scratch), "LOG_LOCATION": str(scratch / "logs")}
    environment = os.environ | settings | places
    command = [sys.executable, "-m", "operate.host"]
    with printed.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, user=user, group=user
        )
    running = Host(process, f"http://127.0.0.1:{port}", printed)
    try:
        poll(lambda: is_ready(running.address) or process.poll() is not None, START_TIMEOUT_S)
        assert process.poll() is None, printed.read_text()
        yield running
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(scratch)


def free_ports(count: int) -> int:
    """Return the first of so many free ports in a row."""
    taken = {connection.laddr.port for connection in psutil.net_connections("tcp") if connection.laddr}
    while True:
        port = free_port()
        if not taken & set(range(port, port + count)):
            return port


def is_ready(address: str) -> bool:
    """Return whether the gateway gets answers from the service."""
    with suppress(requests.ConnectionError):
        return requests.get(address + "/ready", timeout=30).ok
    return False


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """One that trusts a proxy at 127.0.0.3 in front of another one in 10.0.0.0/8."""
    with run_host(GATEWAY_TRUSTED_PROXIES="127.0.0.3 10.0.0.0/8") as running:
        yield running


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A photo of a 7 with 12 megapixels."""
    with Image.open(EXAMPLES[7]) as picture, BytesIO() as file:
        picture.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC).save(file, "JPEG", quality=98)
        return file.getvalue()


@pytest.mark.server
def test_one_port_has_the_page_and_reads_digits(host: Host) -> None:
    assert "<!doctype html>" in requests.get(host.address, timeout=30).text
    assert requests.get(host.address + "/config.json", timeout=30).json()["inference"] == ""
    assert b'"digit":7' in ask(host, f"POST {PREDICTIONS}", body=SEVEN).body
    assert requests.get(host.address + "/models", timeout=30).status_code == 404


@pytest.mark.server
def test_everything_else_listens_on_loopback(host: Host) -> None:
    family = [psutil.Process(host.process.pid), *psutil.Process(host.process.pid).children(recursive=True)]
    sockets = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in family
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    port = int(host.address.rpartition(":")[2])
    assert sockets == {("0.0.0.0", port), *(("127.0.0.1", port + number) for number in (1, 2, 3))}  # noqa: S104


@pytest.mark.server
@pytest.mark.parametrize(
    ("sender", "forwarded", "client"),
    [
        ("127.0.0.3", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.3", "198.51.100.9, 192.0.2.2, 10.1.2.3", "192.0.2.2"),
        ("127.0.0.3", "", "127.0.0.3"),
        ("127.0.0.4", "192.0.2.3", "127.0.0.4"),
    ],
)
def test_only_trusted_proxies_say_who_the_client_is(sender: str, forwarded: str, client: str, host: Host) -> None:
    before = len(host.read_log())
    headers = [f"X-Forwarded-For: {forwarded}"] if forwarded else []
    assert ask(host, f"POST {PREDICTIONS}", *headers, body=SEVEN, client=sender).status == 200
    poll(lambda: len(host.read_log()) > before)
    assert host.read_log()[-1]["client"] == client


@pytest.mark.server
def test_large_uploads_are_limited_together(host: Host) -> None:
    address = host.address.removeprefix("http://")

    def begin(length: int) -> HTTPConnection:
        connection = stack.enter_context(closing(HTTPConnection(address, timeout=1)))
        connection.putrequest("POST", PREDICTIONS)
        connection.putheader("Content-Length", str(length))
        connection.endheaders(b"begun")
        return connection

    def is_refused() -> bool:
        try:
            return begin(1_000_000).getresponse().status == 429
        except TimeoutError:
            # It was let in, before one of the others.
            return False

    with ExitStack() as stack:
        for _ in range(16):
            begin(8_000_000)
        poll(is_refused)
        assert ask(host, f"POST {PREDICTIONS}", body=SEVEN).status == 200


@pytest.mark.server
@pytest.mark.slow
def test_sigterm_under_load_answers_what_was_accepted(photo: bytes) -> None:
    with run_host() as running, load(running.address + PREDICTIONS, pictures={7: photo}) as counts:
        poll(lambda: sum(counts.values()) > 30)
        stopped = time.monotonic()
        running.process.terminate()
        assert running.process.wait(60) == 0
        assert time.monotonic() - stopped < STOP_TIMEOUT_S
        poll(lambda: counts["refused"] >= 16)
        log = [line["status"] for line in running.read_log() if line["path"] == PREDICTIONS]
    assert set(log) == {200}
    assert counts["right"] == len(log)
    # A connection may end before its request is accepted, never in an answer.
    assert set(counts) <= {"right", "refused", *(f"lost: {name}" for name in CLOSED)}


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("name", ["nginx", "java"])
def test_when_one_process_ends_all_end_with_an_error(name: str) -> None:
    with run_host() as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        next(process for process in family if process.name() == name).kill()
        assert running.process.wait(60) == 1
        poll(lambda: not any(process.is_running() for process in family))
        assert f"{'nginx' if name == 'nginx' else 'TorchServe'} ended with code -9" in running.printed.read_text()


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("PORT", "", "PORT must be a number from 1 to 65532, not ''."),
        ("PORT", "65533", "not '65533'."),
        ("PORT", "80;", "not '80;'."),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.0/8;", "GATEWAY_TRUSTED_PROXIES must be networks such as 10.0.0.0/8:"),
        ("GATEWAY_TRUSTED_PROXIES", "10.0.0.1/8", "has host bits set"),
        ("KEEP_FOLDER", "/dev/null", "/dev/null cannot be written (File exists): keep pictures in another folder, or"),
    ],
)
def test_a_wrong_setting_is_one_sentence(name: str, value: str, part: str, tmp_path: Path) -> None:
    environment = os.environ | {"PORT": "8080", "TMPDIR": str(tmp_path), name: value}
    command = [sys.executable, "-m", "operate.host"]
    refused = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert part in refused.stderr


@pytest.mark.parametrize(("folder", "keeps"), [("/keep", "true"), ("", "false")])
def test_its_page_says_whether_pictures_are_kept(
    folder: str, keeps: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEP_FOLDER", folder)
    assert make_gateway(read_config(), 8080, "", tmp_path).settings["GATEWAY_KEEPS"] == keeps


@dataclass
class Container:
    """A running container, and the address of its port."""

    name: str
    address: str


@contextmanager
def run_container() -> Iterator[Container]:
    """Run the image as a strict host does: any user, 512 MB, one core, nothing to write to but /tmp."""
    if not shutil.which("podman") or podman("image", "exists", IMAGE).returncode:
        pytest.skip("needs podman with the images of scripts/image and scripts/image host (Debian: apt install podman)")
    name = f"host-{os.getpid()}-{free_port()}"
    # Podman's own ulimits are higher than those of some machines.
    limits = "--ulimit nofile=4096:4096 --ulimit nproc=4096:4096 --memory 512m --memory-swap 512m --cpus 1"
    rights = "--user 12345:12345 --cap-drop ALL --security-opt no-new-privileges --read-only --read-only-tmpfs=false"
    port = free_port()
    ways = f"--env PORT=9000 --publish 127.0.0.1:{port}:9000 --tmpfs /tmp:exec,size=256m"
    options = f"{limits} {rights} {ways}".split()
    started = podman("run", "--detach", "--name", name, *options, IMAGE)
    try:
        assert started.returncode == 0, started.stderr
        running = Container(name, f"http://127.0.0.1:{port}")
        poll(lambda: is_ready(running.address) or inspect(name, "Status") == "exited", START_TIMEOUT_S)
        assert inspect(name, "Status") == "running", podman("logs", name).stderr
        yield running
    finally:
        podman("rm", "--force", "--time", "0", name)


def podman(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run podman."""
    return subprocess.run(["podman", *words], capture_output=True, text=True)


def inspect(name: str, field: str) -> str:
    """Return a field of the state of a container."""
    return podman("inspect", "--format", f"{{{{.State.{field}}}}}", name).stdout.strip()


@pytest.mark.slow
def test_a_container_of_512_mb_reads_photos_and_stops_in_order(photo: bytes) -> None:
    with run_container() as running:
        assert "<!doctype html>" in requests.get(running.address, timeout=30).text
        for _ in range(5):
            assert requests.post(running.address + PREDICTIONS, photo, timeout=60).json()["digit"] == 7
        with load(running.address + PREDICTIONS, pictures={7: photo}) as counts:
            poll(lambda: counts["right"] > 100, 60)
            stopped = time.monotonic()
            podman("kill", "--signal", "TERM", running.name)
            poll(lambda: inspect(running.name, "Status") == "exited")
            assert time.monotonic() - stopped < STOP_TIMEOUT_S
        assert (inspect(running.name, "ExitCode"), inspect(running.name, "OOMKilled")) == ("0", "false")
        log = [json.loads(line) for line in podman("logs", running.name).stdout.splitlines() if line.startswith("{")]
        answered = [line["status"] for line in log if line["path"] == PREDICTIONS]
        assert set(answered) == {200}
        assert counts["right"] + 5 == len(answered)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nginx", "java"])
def test_a_container_ends_with_an_error_when_one_process_does(name: str) -> None:
    with run_container() as running:
        rows = [row.split() for row in podman("top", running.name, "hpid", "comm").stdout.splitlines()]
        os.kill(next(int(pid) for pid, command in rows[1:] if command == name), signal.SIGKILL)
        poll(lambda: inspect(running.name, "Status") == "exited")
        assert inspect(running.name, "ExitCode") == "1"


def test_the_last_stage_is_the_image_for_hosts_which_may_not_name_one() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert "ENV LOG_LOCATION=/tmp/logs PORT=8080\n" in dockerfile
    assert dockerfile.rpartition("\nFROM ")[2].startswith("files AS host\n")
