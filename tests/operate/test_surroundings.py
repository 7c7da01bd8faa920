"""One service in odd surroundings: where it lies, how it is configured, who reads its output, how it ends."""

import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from operate.config import CONFIG, read_config
from operate.serve import check_addresses
from tests.harness.service import EXAMPLES, START_TIMEOUT_S, Service, clone, poll, write_config

pytestmark = pytest.mark.server

SEVEN = EXAMPLES[7].read_bytes()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in folders whose names mean something to URLs, patterns and shells, at IPv6 addresses.

    Its configuration was saved by Windows, its locale is C, its environment names a proxy that does not answer, its
    logs are JSON, nohup started it, and nobody reads what it prints.
    """
    folder = tmp_path_factory.mktemp("odd")
    root, logs = folder / "a #b?c%20d é", folder / "logs %20é#"
    clone(root)
    config = write_config(folder, CONFIG)
    lines = [line.replace("127.0.0.1", "[::1]") for line in config.read_text().splitlines() if not line.startswith("#")]
    config.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    reader, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while True:
            os.write(full, bytes(1 << 16))
    os.set_blocking(full, True)
    left, nobody = os.pipe()
    os.close(left)
    with tempfile.TemporaryDirectory(prefix="t %20é") as temporary:
        environment = {"LOG_LOCATION": str(logs), "TMPDIR": temporary, "LC_ALL": "C", "http_proxy": "http://[::1]:9"}
        environment |= {"LOG_FORMAT": "json", "KEEP_FOLDER": str(folder / "kept %20é#")}
        ready = folder / "ready"
        process = subprocess.Popen(
            ["nohup", root / "scripts" / "serve", "--config", config, "--ready-file", ready],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=nobody,
            stderr=full,
        )
        running = Service(process, read_config(config), "")
        try:
            poll(lambda: ready.exists() or process.poll() is not None, START_TIMEOUT_S)
            assert process.poll() is None
            yield running
        finally:
            process.kill()
            process.wait()
            for end in (reader, full, nobody):
                os.close(end)


def test_all_of_its_ports_answer_at_ipv6_addresses(odd: Service) -> None:
    config = odd.config
    assert config.page.startswith("http://[::1]:")
    answer = requests.get(config.page, timeout=30)
    assert answer.ok
    # Browsers ignore an IPv6 address in a policy.
    assert (
        f"connect-src 'self' http://*:{urlsplit(config.inference).port};" in answer.headers["Content-Security-Policy"]
    )
    assert requests.get(f"{config.page}/config.json", timeout=30).json()["inference"] == config.inference
    origin = {"Origin": config.page}
    answer = requests.post(odd.predictions, SEVEN, headers=origin, timeout=30)
    assert answer.json()["digit"] == 7
    assert answer.headers["Access-Control-Allow-Origin"] == config.page
    for url in (f"{config.management}/models", f"{config.metrics}/metrics"):
        assert requests.get(url, timeout=30).ok
        assert requests.get(url, headers=origin, timeout=30).status_code == 403


def test_it_keeps_pictures_where_its_environment_says(odd: Service) -> None:
    assert requests.get(f"{odd.config.page}/config.json", timeout=30).json()["keeps"] is True
    requests.post(odd.predictions, SEVEN, headers={"Truth": "7"}, timeout=30)
    kept = odd.config.path.parent / "kept %20é#"
    poll(lambda: [path.parent.name for path in kept.rglob("*.png")] == ["corrected"], 10)


def test_its_logs_have_one_schema(odd: Service) -> None:
    logs = odd.config.path.parent / "logs %20é#"
    trace = {"X-Request-Id": "followed", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    requests.post(odd.predictions, b"no picture", headers=trace, timeout=30)
    requests.get(f"{odd.config.inference}/%22%5C\\", timeout=30)
    with socket.create_connection((urlsplit(odd.predictions).hostname, urlsplit(odd.predictions).port)) as client:
        client.sendall(b"POST /predictions/mnist HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")

    def read(name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (logs / name).read_text().splitlines()]

    for name in ("server.log", "model.log"):
        poll(lambda name=name: bool(read(name)))  # type: ignore[misc]
        for line in read(name):
            assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
            assert line.keys() - {"request_id", "trace_id"} == {"time", "level", "logger", "thread", "message"}
    assert "Torch worker started." in [line["message"] for line in read("model.log")]
    (refused,) = [line for line in read("model.log") if "request_id" in line]
    assert (refused["request_id"], refused["trace_id"]) == ("followed", "1" * 32)
    (line,) = [line for line in read("access.log") if line["request_id"] == "followed"]
    numbers = ["status", "total_ms", "queue_ms", "batch", "pictures", "refused", "doubted", "decode_ms", "nets_ms"]
    texts = ["time", "level", "logger", "request_id", "trace_id", "parent_id", "span_id", "client", "method", "path"]
    assert list(line) == texts + numbers
    assert {type(line[name]) for name in texts} == {str}
    assert {type(line[name]) for name in numbers} == {int, float}


def test_broken_uploads_and_unread_output_stop_nothing(odd: Service) -> None:
    address = urlsplit(odd.predictions)
    head = f"POST {address.path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n".encode()
    for _ in range(100):
        with socket.create_connection((address.hostname, address.port)) as client:
            client.sendall(head + SEVEN[:1000])
            # Closed by a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for _ in range(20):
        assert odd.client.predict(SEVEN)["digit"] == 7
    assert requests.get(odd.config.page, timeout=5).ok


def test_nohup_lets_it_outlive_its_terminal(odd: Service) -> None:
    odd.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        odd.process.wait(0.2)


def test_when_it_is_killed_nothing_is_left_and_the_next_start_finds_its_ports_free(odd: Service) -> None:
    family = odd.family
    assert len(family) >= 3
    odd.process.kill()
    odd.process.wait()
    poll(lambda: not any(process.is_running() for process in family), 10)
    check_addresses(odd.config)
