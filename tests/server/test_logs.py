"""What the server logs: each request in one line, under an id that its answer and every other line about it have."""

import base64
import contextlib
import http.client
import re
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from tests.harness.service import EXAMPLES, Service, poll

pytestmark = pytest.mark.server

SEVEN = EXAMPLES[7].read_bytes()
MADE = re.compile(r"[89a-f][0-9a-f]{15}[89a-f][0-9a-f]{15}")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def read_log(service: Service, name: str) -> list[str]:
    """Return the lines of a log."""
    return (service.config.path.parent / name).read_text().splitlines()


def find_line(service: Service, request: str) -> dict[str, str]:
    """Return the fields of the one line of the access log about a request."""
    word = f" request_id={request} "
    poll(lambda: any(word in line for line in read_log(service, "access.log")))
    (line,) = [line for line in read_log(service, "access.log") if word in line]
    return dict(field.split("=", 1) for field in line.split()[1:])


def test_one_id_is_in_the_answer_and_in_all_logs(service: Service) -> None:
    headers = {"X-Request-Id": "Ticket_4711.a-b", "traceparent": TRACEPARENT}
    answer = requests.post(service.predictions + "?name=secret", b"no picture", headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (400, "Ticket_4711.a-b")
    line = find_line(service, "Ticket_4711.a-b")
    assert MADE.fullmatch(line["span_id"] * 2)
    assert line == line | {"trace_id": TRACE, "parent_id": PARENT, "method": "POST", "path": "/predictions/mnist"}
    assert line == line | {"status": "400", "batch": "1", "pictures": "1", "refused": "1", "doubted": "0"}
    named = f"Refused: not_a_picture. request_id=Ticket_4711.a-b trace_id={TRACE}"
    poll(lambda: any(line.endswith(named) for line in read_log(service, "model.log")))
    logged = "".join("".join(read_log(service, name)) for name in ("access.log", "model.log", "server.log"))
    assert "secret" not in logged
    assert "no picture" not in logged


@pytest.mark.parametrize("given", ["a", "0" * 128, "A.b_c-9", "", "a b", "a,b", 'a"b', "a=b", "é", "1" * 129, None])
def test_an_id_is_made_for_a_request_without_a_usable_one(given: str | None, service: Service) -> None:
    headers = {} if given is None else {"X-Request-Id": given.encode()}
    answer = requests.get(service.config.inference + "/v2/health/live", headers=headers, timeout=30)
    is_usable = re.fullmatch("[A-Za-z0-9._-]{1,128}", given or "")
    assert answer.headers["X-Request-Id"] == given if is_usable else MADE.fullmatch(answer.headers["X-Request-Id"])


@pytest.mark.parametrize(
    "given",
    [
        TRACEPARENT.upper(),
        TRACEPARENT.replace("00-", "01-", 1),
        TRACEPARENT + "-00",
        TRACEPARENT[:-1],
        TRACEPARENT.replace(TRACE, "0" * 32),
        TRACEPARENT.replace(PARENT, "0" * 16),
    ],
)
def test_a_malformed_traceparent_is_left_out(given: str, service: Service) -> None:
    answer = requests.post(service.predictions, b"no picture", headers={"traceparent": given}, timeout=30)
    name = answer.headers["X-Request-Id"]
    assert "trace_id" not in find_line(service, name)
    poll(lambda: any(line.endswith(f"request_id={name}") for line in read_log(service, "model.log")))


def test_a_line_says_where_the_time_went(service: Service) -> None:
    pictures = [{"b64": base64.b64encode(content).decode()} for content in (SEVEN, b"none", SEVEN)]
    url = f"{service.config.inference}/v1/models/mnist:predict"
    answer = requests.post(url, json={"instances": pictures}, timeout=30)
    line = find_line(service, answer.headers["X-Request-Id"])
    assert line == line | {"pictures": "3", "refused": "1", "doubted": "0"}
    queue, decode, nets, total = (float(line[f"{name}_ms"]) for name in ("queue", "decode", "nets", "total"))
    assert min(queue, decode, nets) > 0
    assert queue + decode + nets < total < 1000 * answer.elapsed.total_seconds()


def test_requests_of_one_batch_keep_their_own_ids(service: Service) -> None:
    names = [f"batch-{number}" for number in range(40)]

    def ask(name: str) -> str:
        # Two of a name at a time, as when a gateway tries again.
        answer = requests.post(service.predictions, SEVEN, headers={"X-Request-Id": name.split("/")[0]}, timeout=30)
        assert answer.json()["digit"] == 7
        return answer.headers["X-Request-Id"]

    with ThreadPoolExecutor(len(names)) as clients:
        assert list(clients.map(ask, [*names, "twice/1", "twice/2"])) == [*names, "twice", "twice"]
    assert max(int(find_line(service, name)["batch"]) for name in names) > 1


@pytest.mark.parametrize(
    ("port", "request_line", "status"),
    [
        ("inference", "GET /v2/health/ready HTTP/1.1", 200),
        ("inference", "GET /nothing HTTP/1.1", 404),
        ("inference", "GET /predictions/mnist HTTP/1.1", 405),
        ("inference", "POST /predictions/mnist HTTP/1.1\r\nContent-Length: 99999999", 413),
        ("inference", "POST /predictions/mnist HTTP/1.1\r\nExpect: tea", 417),
        ("inference", "POST /predictions/mnist HTTP/9.9", 505),
        ("inference", "GET / HTTP/1.1\r\nbad header", 400),
        ("inference", 'GET /a"b\\c=d HTTP/1.1', 404),
        ("inference", "GET /\x1b[31m HTTP/1.1", 400),
        ("inference", "GET /\x85é HTTP/1.1", 400),
        ("management", "GET /models HTTP/1.1", 200),
        ("management", "PUT /models/mnist?min_worker=x HTTP/1.1", 400),
        ("metrics", "GET /metrics HTTP/1.1", 200),
    ],
)
def test_every_answer_has_an_id_and_a_line_that_cannot_be_forged(
    port: str, request_line: str, status: int, service: Service
) -> None:
    address = urlsplit(getattr(service.config, port))
    with socket.create_connection((address.hostname, address.port), 30) as client:
        client.sendall(f"{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with contextlib.closing(http.client.HTTPResponse(client)) as answer:
            answer.begin()
    assert answer.status == status
    line = find_line(service, answer.headers["X-Request-Id"])
    assert line["status"] == str(status)
    assert list(line) == ["request_id", "client", "method", "path", "status", "total_ms"]
    assert re.fullmatch("[!-~]+", line["path"])
    assert not set(line["path"]) & set('"\\')


def test_a_client_that_leaves_before_its_answer_has_a_line(service: Service) -> None:
    address = urlsplit(service.config.inference)
    with socket.create_connection((address.hostname, address.port), 30) as client:
        head = "POST /predictions/mnist HTTP/1.1\r\nHost: a\r\nX-Request-Id: left\r\nContent-Length: 9"
        client.sendall(f"{head}\r\n\r\n".encode())
    line = find_line(service, "left")
    assert line["status"] == "499"
    poll(lambda: any(f"{line['client']} broke off its request." in each for each in read_log(service, "server.log")))


BODIES = {
    "a file": "Content-Length: 9999",
    "a form": "Content-Length: 9999\r\nContent-Type: multipart/form-data; boundary=b",
    "chunks": "Transfer-Encoding: chunked",
    "a body that is announced": "Content-Length: 9999\r\nExpect: 100-continue",
}


@pytest.mark.parametrize("port", ["inference", "management", "metrics"])
def test_a_client_that_breaks_off_is_one_line(port: str, service: Service) -> None:
    address, log = urlsplit(getattr(service.config, port)), service.config.path.parent / "server.log"
    before = len(log.read_text())
    clients = []
    for body in BODIES.values():
        for is_reset in (False, True):
            with socket.create_connection((address.hostname, address.port), 10) as client:
                clients.append(client.getsockname()[1])
                client.sendall(f"POST /predictions/mnist HTTP/1.1\r\nHost: localhost\r\n{body}\r\n\r\n99".encode())
                if "Expect" in body:
                    assert client.recv(100).startswith(b"HTTP/1.1 100")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", is_reset, 0))
    poll(lambda: log.read_text()[before:].count(" broke off its request.\n") == len(clients))
    lines = log.read_text()[before:].splitlines()
    assert all("[WARN ]" in line for line in lines)
    assert all(any(f":{client} broke off" in line for line in lines) for client in clients)


@pytest.mark.parametrize("url", ["/%", "/predictions/%zz", "/models/mnist?min_worker=%", "/metrics?name[]=%"])
@pytest.mark.parametrize("port", ["inference", "management", "metrics"])
def test_a_malformed_url_is_a_sentence_and_no_stack_trace(port: str, url: str, service: Service) -> None:
    address, log = urlsplit(getattr(service.config, port)), service.config.path.parent / "server.log"
    before = log.read_text()
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    with contextlib.closing(connection):
        # requests would mend it.
        connection.request("GET", url, headers={"Host": "localhost"})
        answer = connection.getresponse()
        assert answer.status == 400
        assert b"The URL has a malformed escape or character: write % as %25." in answer.read()
    assert log.read_text() == before
