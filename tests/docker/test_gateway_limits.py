"""The shipped gateway limits how much, how often and how slowly a client may send."""

import base64
import json
import resource
import subprocess
import time
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path

import pytest
import requests

from operate.config import ROOT
from operate.gateway import Gateway
from tests.docker.ask import PREDICTIONS, Answer, ask, connect, read
from tests.harness.service import EXAMPLES, Service, poll

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()


@pytest.mark.parametrize("client", ["one piece", "pieces of unknown number"])
def test_the_limit_is_that_of_the_service(client: str, gateway: Gateway, service: Service) -> None:
    limit = service.config.max_request_bytes

    def send(size: int) -> Answer:
        if client == "one piece":
            return ask(gateway, f"POST {PREDICTIONS}", body=bytes(size))
        pieces = (bytes(size // 2), bytes(size - size // 2))
        response = requests.post(gateway.address + PREDICTIONS, data=iter(pieces), timeout=60)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content)

    assert send(limit).error.startswith("This is not a picture")
    refused = send(limit + 1)
    assert refused.status == 413
    assert refused.error == f"The request is too large: send at most {limit} bytes."


def test_a_client_over_its_rate_waits_and_others_do_not(gateway: Gateway) -> None:
    answers = (ask(gateway, "GET /icon.svg", client="127.0.0.2") for _ in range(10_000))
    refused = next(answer for answer in answers if answer.status != 200)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.error == "Too many requests: try again in a second."
    assert ask(gateway, "GET /icon.svg", client="127.0.0.3").status == 200
    poll(lambda: ask(gateway, "GET /icon.svg", client="127.0.0.2").status == 200)


def test_corrections_have_a_lower_rate_and_others_do_not_pass(gateway: Gateway) -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="truth"\r\n\r\n7\r\n'
    form += b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + SEVEN + b"\r\n--x--\r\n"
    is_form, ways = "Content-Type: multipart/form-data; boundary=x", cycle(["header", "query", "query and form"])

    def correct(way: str, client: str = "127.0.0.6") -> Answer:
        line = f"POST {PREDICTIONS}{'?truth=7' if way.startswith('query') else ''}"
        headers = ["Truth: 7"] if way == "header" else [is_form] if way.endswith("form") else []
        return ask(gateway, line, *headers, body=form if way.endswith("form") else SEVEN, client=client)

    passed = 0
    while (refused := correct(next(ways))).status == 200:
        passed += 1
    assert refused.status == 429
    # One more each 6 s.
    assert 21 <= passed < 100
    assert ask(gateway, f"POST {PREDICTIONS}", body=SEVEN, client="127.0.0.6").status == 200
    assert correct("header", client="127.0.0.7").status == 200
    # The gateway cannot see it.
    hidden = correct("form", client="127.0.0.8")
    assert hidden.status == 400
    assert hidden.error.startswith("Through the gateway send one picture with its truth in the URL (?truth=7)")
    two = json.dumps({"instances": [{"b64": base64.b64encode(SEVEN).decode()}] * 2}).encode()
    assert ask(gateway, "POST /v1/models/mnist:predict?truth=7", body=two, client="127.0.0.8").status == 400
    forged = ask(gateway, f"POST {PREDICTIONS}", is_form, "Max-Truths: 9", body=form, client="127.0.0.8")
    assert forged.error == hidden.error


def test_a_bulk_run_waits_while_its_rate_is_limited(gateway: Gateway, tmp_path: Path) -> None:
    # Each is large enough for a request of its own, which the gateway refuses while it is being sent.
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(EXAMPLES[5].read_bytes() + bytes(1_900_000))
    printed = gateway.folder / "printed"
    refusal = '"path": "/predictions/mnist", "protocol": "HTTP/1.1", "status": 429,'
    before = printed.read_text().count(refusal)
    command: list[str | Path] = [ROOT / "scripts" / "predict", tmp_path, "--url", gateway.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bulk:
        while printed.read_text().count(refusal) == before:
            assert bulk.poll() is None, "it ended before the gateway refused it"
            while ask(gateway, "GET /icon.svg").status != 429:
                pass
        digits = [line.split(": ")[1][0] for line in bulk.communicate(timeout=120)[0].splitlines()]
    assert (bulk.returncode, digits) == (0, ["5"] * 40)


def test_requests_in_flight_are_limited_per_client(gateway: Gateway) -> None:
    lines = [f"POST {PREDICTIONS} HTTP/1.1", "Host: digits", "Content-Length: 9", "Expect: 100-continue"]
    head = "\r\n".join([*lines, "", ""]).encode()
    with ExitStack() as stack:
        for _ in range(64):
            client = stack.enter_context(connect(gateway, "127.0.0.4"))
            client.sendall(head)
            # It is counted, and its body awaited.
            assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        assert ask(gateway, "GET /icon.svg", client="127.0.0.4").status == 429
        assert ask(gateway, "GET /icon.svg", client="127.0.0.5").status == 200
    poll(lambda: ask(gateway, "GET /icon.svg", client="127.0.0.4").status == 200)


def test_a_full_queue_becomes_a_429(gateway: Gateway, service: Service) -> None:
    # More requests at once than may wait in the service, from many clients.
    request = f"POST {PREDICTIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(SEVEN)}\r\n\r\n".encode() + SEVEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(gateway, f"127.0.1.{number // 50 + 1}")) for number in range(1500)]
            for client in clients:
                client.sendall(request)
            answers = [read(client, "POST") for client in clients]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    answered = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert 0 < len(refused) < 500
    for answer in refused:
        assert answer.headers["retry-after"] == "1"
        assert answer.error == "Too many requests: try again in a second."
    assert all(b'"digit":7' in answer.body for answer in answered)
    # A slow machine is too slow for those that wait longest.
    assert {answer.status for answer in answers} <= {200, 429, 504}
    assert len(answered) > 0
    metrics = requests.get(f"{service.config.metrics}/metrics", timeout=30).text
    assert 'digit_refused_total{reason="queue_full",' in metrics


@pytest.mark.slow
def test_slow_clients_are_cut_off(gateway: Gateway) -> None:
    begun = time.monotonic()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(gateway)) for _ in range(2)]
        clients[0].sendall(b"GET / HTTP/1.1\r\nHost: dig")
        clients[1].sendall(f"POST {PREDICTIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12".encode())
        for client in clients:
            with suppress(ConnectionResetError):
                assert not client.recv(1000).startswith(b"HTTP/1.1 200")
    assert 5 < time.monotonic() - begun < 20
