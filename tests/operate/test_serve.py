"""scripts/serve starts, says clearly when it cannot, and leaves nothing behind."""

import contextlib
import http.server
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from operate.archive import read_version
from operate.config import ROOT, OperatorError, read_config
from operate.gateway import Gateway
from operate.serve import check_addresses, provide_archive
from operate.torchserve import AOT_CACHE, TorchServe, check_folders, is_cached
from tests.harness.load import load
from tests.harness.service import EXAMPLES, Service, clone, poll, start, stop, write_config
from tests.versions import CURRENT

pytestmark = pytest.mark.server


def serve(config: Path, *options: str, root: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run scripts/serve that is expected to give up."""
    environment = os.environ | {"LOG_LOCATION": str(config.parent)}
    command = [str(root / "scripts" / "serve"), "--config", str(config), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def refuse(config: Path, *options: str, root: Path = ROOT) -> str:
    """Run scripts/serve, and return the one sentence with which it gives up before it starts anything."""
    refused = serve(config, *options, root=root)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    return refused.stderr


def test_a_second_start_says_that_the_service_is_running(service: Service) -> None:
    assert f"already running: try {service.config.page}" in refuse(service.config.path)


@pytest.mark.parametrize("name", ["inference_address", "metrics_address", "management_address", "cors_allowed_origin"])
def test_a_taken_port_is_one_sentence(name: str, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    line = next(line for line in config.read_text().splitlines() if line.startswith(name))
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(line.replace("=", ":").rsplit(":", 1)[1])))
        other.listen()
        sentence = refuse(config)
    assert "(Address already in use): stop the program that uses it, or" in sentence
    assert sentence.endswith(f"change {name} in {config}.\n")


def test_one_port_for_two_servers_is_one_sentence(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    metrics, inference = read_config(config).metrics, read_config(config).inference
    config.write_text(config.read_text().replace(metrics, inference))
    assert "change metrics_address" in refuse(config)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("inference_address", "https://127.0.0.1:8080", "; the gateway adds TLS."),
        ("metrics_address", "http://192.0.2.1:8082", "(Cannot assign requested address): change metrics_address in"),
    ],
)
def test_an_impossible_address_is_one_sentence(name: str, value: str, part: str, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(re.sub(f"^{name}=.*", f"{name}={value}", config.read_text(), flags=re.MULTILINE))
    assert part in refuse(config)


def test_a_program_that_answers_otherwise_is_not_called_the_service(tmp_path: Path) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        """Answers every path with 404 and JSON."""

        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()
            self.wfile.write(b'{"detail": "Not Found"}')

    config = read_config(write_config(tmp_path))
    with http.server.HTTPServer(config.split_address("inference_address"), Other) as other:
        threading.Thread(target=other.serve_forever).start()
        with pytest.raises(OperatorError, match="Address already in use"):
            check_addresses(config)
        other.shutdown()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("c:d", "c:d cannot be used: its path must not have a colon."),
        ("t" * 67, "is too long for sockets: set TMPDIR to a path of at most 67 bytes."),
    ],
)
def test_a_temporary_folder_that_java_cannot_use_is_one_sentence(name: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=re.escape(part)):
        check_folders(tmp_path, Path("/") / name)
    check_folders(tmp_path, Path("/") / ("t" * 66))


def test_logs_that_cannot_be_written_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(write_config(tmp_path))
    monkeypatch.setenv("LOG_LOCATION", str(config.path))
    with pytest.raises(OperatorError, match=f"^{config.path} cannot be made: File exists.$"), TorchServe(config):
        pass


def test_a_missing_configuration_is_one_sentence(tmp_path: Path) -> None:
    assert "none.properties cannot be read" in refuse(tmp_path / "none.properties")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the repository to break."""
    clone(tmp_path / "clone")
    return tmp_path / "clone"


def test_missing_weights_are_one_sentence(root: Path, tmp_path: Path) -> None:
    (root / "model" / "digit_net.onnx").unlink()
    assert "digit_net.onnx is missing" in refuse(write_config(tmp_path), root=root)


@pytest.mark.parametrize(
    ("name", "script"), [("digit_net", "train"), ("ink_net", "train-ink"), ("number_net", "train-numbers")]
)
def test_changed_weights_are_one_sentence(name: str, script: str, root: Path, tmp_path: Path) -> None:
    weights = root / "model" / f"{name}.onnx"
    changed = bytearray(weights.read_bytes())
    changed[len(changed) // 2] ^= 1
    weights.write_bytes(changed)
    sentence = refuse(write_config(tmp_path), root=root)
    assert sentence.startswith(f"{name}.onnx is not the file that {name}.json describes: its SHA-256 begins with ")
    assert sentence.endswith(f"Restore both with git checkout, or make both with scripts/{script} --force.\n")


def test_workers_that_cannot_load_the_model_end_the_start_with_code_3(root: Path, tmp_path: Path) -> None:
    with (root / "model" / "engine.py").open("a") as module:
        # So much that the process has ended long before all of it is read.
        module.write('print("line\\n" * 10_000)\nraise RuntimeError("From engine.cpp:\\n\\nThere is no engine.\\n")\n')
    refused = serve(write_config(tmp_path), root=root)
    assert refused.returncode == 3
    # Whoever notices first says so.
    sentence = (
        r"(No worker of the model stays alive|The model does not load): RuntimeError: From engine.cpp: There is no"
    )
    assert re.search(sentence + r" engine\.$", refused.stderr)
    assert refused.stderr.count("\n") == 2


def test_a_damaged_archive_is_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "mnist.mar"
    archive.write_bytes(b"no archive")
    provide_archive(read_config(write_config(tmp_path)))
    sentence = f"{archive} is not a model archive: make one with scripts/archive. Rebuilding it.\n"
    assert capsys.readouterr().err == sentence
    assert str(read_version(archive, "mnist")) == CURRENT


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system too small for a model."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system (root)")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("what", ["model_store", "TMPDIR"])
def test_a_full_disk_is_one_sentence(
    what: str, full_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path)
    if what == "model_store":
        config.write_text(re.sub("^model_store=.*", f"model_store={full_disk}", config.read_text(), flags=re.MULTILINE))
    else:
        monkeypatch.setenv("TMPDIR", str(full_disk))
    refused = serve(config)
    assert refused.returncode == 1
    assert "No space left on device" in refused.stderr
    assert refused.stderr.replace("Starting TorchServe ...\n", "").count("\n") == 1


def test_without_a_page_in_the_configuration_none_is_served(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith("cors_")))
    running = start(tmp_path, config)
    assert "Page" not in running.output
    assert requests.post(running.predictions, data=EXAMPLES[7].read_bytes(), timeout=30).json()["digit"] == 7
    stop(running)


@contextmanager
def ending(running: Service, code: int = 0) -> Iterator[None]:
    """Assert that a service ends with a code after this, and leaves no process, folder or ready file behind."""
    family = psutil.Process(running.process.pid).children(recursive=True)
    assert len(family) >= 2
    scratch = next(word for process in family for word in process.cmdline() if "java.io.tmpdir" in word).split("=")[1]
    ready = running.config.path.with_name("ready")
    assert ready.exists()
    yield
    assert running.process.wait(60) == code
    poll(lambda: not any(process.is_running() for process in family))
    assert not Path(scratch).exists()
    assert not ready.exists()


def test_every_accepted_request_is_answered_before_sigterm_stops_everything(
    start_service: Callable[[], Service],
) -> None:
    running = start_service()
    picture = EXAMPLES[7].read_bytes()
    address = urlsplit(running.predictions)
    with (
        ending(running),
        load(running.predictions) as counts,
        socket.create_connection((address.hostname, address.port)) as client,
    ):
        poll(lambda: counts["right"] > 300)
        # A slow upload: an answer to a later request shows that the server has read its beginning.
        head = f"POST {address.path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(picture)}\r\n\r\n"
        client.sendall(head.encode() + picture[:100])
        assert requests.get(f"{running.config.inference}/ping", timeout=30).ok
        running.process.terminate()
        poll(lambda: not running.client.is_running())
        client.sendall(picture[100:])
        answer = client.makefile("rb").read().decode()
    assert '"digit":7' in answer
    assert "connection: close" in answer.lower()
    assert set(counts) == {"right", "refused"}, counts


def test_with_a_shutdown_delay_it_first_says_that_it_is_not_ready_and_still_answers(tmp_path: Path) -> None:
    running = start(tmp_path, None, "--shutdown-delay", "3")
    ready = running.config.inference + "/v2/health/ready"
    with ending(running), load(running.predictions) as counts:
        assert requests.get(ready, timeout=30).json() == {"ready": True}
        poll(lambda: counts["right"] > 100)
        running.process.terminate()
        stopped = time.monotonic()
        poll(lambda: requests.get(ready, timeout=30).status_code == 503, 1)
        assert not running.config.path.with_name("ready").exists()
        before = counts["right"]
        poll(lambda: not running.client.is_running())
        assert 2.5 < time.monotonic() - stopped < 6
        assert counts["right"] > before + 100
    # Refused only if one asked again before the load ended.
    assert set(counts) <= {"right", "refused"}, counts


@pytest.mark.parametrize("delay", ["-1", "601", "2.5", "soon"])
def test_a_shutdown_delay_is_a_number_of_seconds(delay: str, tmp_path: Path) -> None:
    refused = serve(write_config(tmp_path), f"--shutdown-delay={delay}")
    assert refused.returncode == 2
    assert f"must be a number of seconds from 0 to 600, not {delay!r}" in refused.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_stops_everything_and_the_next_start_is_faster(
    name: str, start_service: Callable[[], Service]
) -> None:
    was_cached = is_cached()
    running = start_service()
    assert not was_cached or str(AOT_CACHE) in {each.path for each in running.java.memory_maps()}
    with ending(running):
        running.process.send_signal(signal.Signals[name])
    assert is_cached()


@pytest.mark.parametrize(("ready", "reason"), [("nowhere/ready", "No such file or directory"), ("", "Is a directory")])
def test_a_ready_file_that_cannot_be_written_is_one_sentence(ready: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / ready
    assert refuse(write_config(tmp_path), "--ready-file", str(file)) == f"{file} cannot be written: {reason}.\n"


def test_a_folder_for_pictures_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    sentence = f"{config} cannot be written (File exists): keep pictures in another folder, or none.\n"
    assert refuse(config, "--keep", str(config)) == sentence


def test_a_stale_ready_file_is_removed_at_the_start(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("load_models=mnist=mnist.mar", "load_models=mnist"))
    assert serve(config, "--ready-file", str(ready)).returncode == 1
    assert not ready.exists()


def test_a_torchserve_that_dies_ends_serve_with_a_sentence(
    start_service: Callable[[], Service], capfd: pytest.CaptureFixture[str]
) -> None:
    running = start_service()
    java = next(child for child in psutil.Process(running.process.pid).children() if "java" in child.name())
    with ending(running, code=1):
        java.kill()
    assert "TorchServe ended with code -9" in capfd.readouterr().err


@pytest.mark.slow
def test_workers_that_keep_dying_end_serve_with_a_sentence_and_code_3(
    start_service: Callable[[], Service], capfd: pytest.CaptureFixture[str]
) -> None:
    running = start_service()
    poll(lambda: [each["status"] for each in running.client.list_workers(CURRENT)] == ["READY"] * 2)

    def has_ended() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in running.workers:
                worker.kill()
        return running.process.poll() is not None

    poll(has_ended, 60)
    assert running.process.returncode == 3
    assert "No worker of the model stays alive:" in capfd.readouterr().err


def test_the_page_is_served_with_a_strict_policy(service: Service) -> None:
    page = service.config.page
    kinds = {
        "/": "text/html",
        "/page.js": "text/javascript",
        "/style.css": "text/css",
        "/examples/2.webp": "image/webp",
    }
    for path, kind in kinds.items():
        response = requests.get(page + path, timeout=30)
        assert response.status_code == 200
        assert response.headers["Content-Type"].split(";")[0] == kind
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert f"connect-src 'self' {service.config.inference};" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", "/page.js", "/examples/2.webp", "/config.json"])
def test_the_gateway_serves_the_page_as_scripts_serve_does(path: str, service: Service, gateway: Gateway) -> None:
    ours, gateways = (requests.get(origin + path, timeout=30) for origin in (service.config.page, gateway.address))
    inference = service.config.inference
    # The gateway's page is on the origin of the inference API.
    policy = ours.headers["Content-Security-Policy"].replace(f"connect-src 'self' {inference};", "connect-src 'self';")
    assert gateways.headers["Content-Security-Policy"] == policy
    for name in ("Content-Type", "X-Content-Type-Options", "Referrer-Policy"):
        kinds = [response.headers[name].partition(";")[0] for response in (ours, gateways)]
        assert kinds[0] == kinds[1], name
    assert gateways.content.replace(b'"inference": ""', f'"inference": "{inference}"'.encode()) == ours.content


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/nothing", "//etc/passwd", "/examples/README.md", "/examples/"],
)
def test_the_page_serves_no_other_file(path: str, service: Service) -> None:
    host, port = service.config.page.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert b" 404 " in connection.recv(100)


def test_a_browser_that_uses_another_host_name_is_redirected(service: Service) -> None:
    page = service.config.page
    response = requests.get(page.replace("127.0.0.1", "localhost"), allow_redirects=False, timeout=30)
    assert response.is_redirect
    assert response.headers["Location"] == page + "/"
