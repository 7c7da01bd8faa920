"""The three APIs of the running service do what README says, whatever clients send."""

import base64
import json
import resource
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from handler.digit_handler import MAX_NUMBERED
from tests.harness.number import NUMBER, TEXT
from tests.harness.service import EXAMPLES, Service
from tests.hostile.connections import converse

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()


CURL = {
    "-T": ["-T", "{}"],
    "-F": ["-F", "picture=@{}"],
    "-F with another name": ["-F", "någon fil=@{}"],
    "-F beside a text": ["-F", "picture=@{}", "-F", "note=a text"],
    "--data-binary without a type": ["--data-binary", "@{}"],
    "--data-binary with a type": ["--data-binary", "@{}", "-H", "Content-Type: image/jpeg"],
    "no type at all": ["--data-binary", "@{}", "-H", "Content-Type:"],
    "a wrong type": ["--data-binary", "@{}", "-H", "Content-Type: application/json"],
    "text": ["--data-binary", "@{}", "-H", "Content-Type: text/plain; charset=utf-8"],
    "chunks": ["-T", "{}", "-H", "Transfer-Encoding: chunked"],
    "PUT": ["-X", "PUT", "-T", "{}"],
}


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl (Debian: apt install curl)")
@pytest.mark.parametrize("way", CURL)
@pytest.mark.parametrize("digit", [1, 5, 7])
def test_curl_may_send_a_picture_in_any_way(way: str, digit: int, service: Service) -> None:
    options = [option.format(EXAMPLES[digit]) for option in CURL[way]]
    answer = subprocess.run(["curl", "-sS", *options, service.predictions], capture_output=True, check=True).stdout
    assert json.loads(answer)["digit"] == digit


PNG = {"Content-Type": "image/png"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FIELD = b"--x\r\nContent-Disposition: form-data; name=a\r\n%s\r\n\r\n1\r\n--x--"
BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no picture": {"data": b"hello", "headers": PNG},
    "a cut off picture": {"data": SEVEN[:5000], "headers": PNG},
    "a web form": {"data": {"a": "b", "c": "d"}},
    "a malformed web form": {"data": "a=%zz&%", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    "two pictures": {"files": {"a": SEVEN, "b": SEVEN}},
    "two pictures in fields of one name": {"files": [("a", ("7.jpg", SEVEN)), ("a", ("8.jpg", SEVEN))]},
    "a truth that is none": {"files": {"a": SEVEN}, "data": {"truth": "seven\n"}},
    "a long truth": {"files": {"a": SEVEN}, "data": {"truth": "7" * 1000}},
    "two truths": {"files": [("a", SEVEN), ("truth", (None, "7")), ("truth", (None, "7"))]},
    "a truth without a picture": {"files": {"truth": (None, "7")}},
    "a read that is none": {"files": {"a": SEVEN}, "data": {"read": "letters"}},
    "two reads": {"files": [("a", SEVEN), ("read", (None, "digit")), ("read", (None, "digit"))]},
    "texts alone": {"files": {"note": (None, "a text"), "other": (None, "text")}},
    "an empty field": {"files": {"a": b""}},
    "a form without its boundary": {"data": SEVEN, "headers": FORM},
    "a form that ends early": {"data": b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n123", "headers": FORM},
    "a field without a name": {"data": b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", "headers": FORM},
    "a form of an unknown charset": {
        "data": SEVEN,
        "headers": {"Content-Type": FORM["Content-Type"] + "; charset=none"},
    },
    "a form of an odd boundary": {"data": SEVEN, "headers": {"Content-Type": 'multipart/form-data; boundary="'}},
    **{
        f"a field of {line.decode()!r}": {"data": FIELD % line, "headers": FORM}
        for line in (b"Content-Type: a/b; charset=none", b"Content-Transfer-Encoding: none", b"Content-Length: none")
    },
    "a form of noise": {"data": b"--x\r\n\x00\xff:\r\n;;\r\n--x", "headers": FORM},
    "JSON of nothing": {"json": {"instances": []}},
    "other JSON": {"json": {"picture": "AAAA"}},
    "broken JSON": {"data": b'{"a": ', "headers": {"Content-Type": "application/json"}},
    "deep JSON": {"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}},
    "text": {"data": b"seven", "headers": {"Content-Type": "text/plain"}},
    "odd headers": {"data": b"x", "headers": {"explain": "True", "describe": "True", "X": "\xff\xfe"}},
}


@pytest.mark.parametrize("kind", BAD_REQUESTS)
def test_a_bad_request_gets_a_400_with_an_error_in_json(kind: str, service: Service) -> None:
    response = requests.post(service.predictions, timeout=30, **BAD_REQUESTS[kind])
    assert response.status_code == 400
    assert response.headers["Content-Type"] == "application/json"
    assert response.json()["error"].endswith(".")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/explanations/mnist", 400),
        ("POST", "/v1/models/mnist:predict", 400),
        ("POST", "/v2/models/mnist/infer", 400),
        ("POST", "/predictions/letters", 404),
        ("POST", "/predictions/mnist/99.9", 404),
        ("POST", "/v1/models/letters:predict", 404),
        ("POST", "/v2/models/letters/infer", 404),
        ("POST", "/v2/models/mnist/versions/9/infer", 404),
        ("GET", "/v1/models/letters", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/predictions", 404),
        ("GET", "/../../etc/passwd", 404),
    ],
)
def test_a_request_for_something_else_gets_one_sentence(method: str, path: str, status: int, service: Service) -> None:
    answer = requests.request(method, service.config.inference + path, json={}, timeout=30)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].endswith(".")


@pytest.mark.parametrize("target", ["?predictions/mnist", "predictions", "%", "/predictions/mnist%"])
def test_a_malformed_target_is_a_4xx(target: str, service: Service) -> None:
    host, port = service.config.inference.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 4")


def test_a_picture_that_is_too_large_is_refused_and_the_connection_stays_open(service: Service) -> None:
    with requests.Session() as session:
        response = session.post(
            service.predictions, data=bytes(3 * service.config.max_request_bytes), headers=PNG, timeout=30
        )
        assert response.status_code == 413
        assert f"at most {service.config.max_request_bytes} bytes" in response.json()["error"]
        assert session.post(service.predictions, data=SEVEN, headers=PNG, timeout=30).json()["digit"] == 7


def test_a_body_in_chunks_leaves_the_connection_open(service: Service) -> None:
    connection = HTTPConnection(urlsplit(service.config.inference).netloc, timeout=30)
    with closing(connection):
        for digit in (7, 5):
            connection.request("POST", "/predictions/mnist", iter([EXAMPLES[digit].read_bytes()]))
            answer = connection.getresponse()
            assert json.load(answer)["digit"] == digit
            assert answer.getheader("Connection") is None


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"5", 200), (b"05;a", 200), (b'5 ; a = "b;\\"" ; c=d', 200)]
    + [
        (line, 400)
        for line in (b"5;", b"5;a;", b"5;a=", b"5;=b", b'5;a="b', b"5 ", b" 5", b"5;a b", b"+5", b"5,5", b"")
    ],
)
@pytest.mark.parametrize("chunk", [b"%s\r\nseven\r\n", b"5\r\nseven\r\n%s\r\nseven\r\n"], ids=["first", "second"])
def test_a_malformed_chunk_size_is_a_400_that_closes(chunk: bytes, line: bytes, status: int, service: Service) -> None:
    head = b"POST /v2/models/mnist HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    last = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answers = converse(service.config.inference, head + chunk % line + b"0\r\n\r\n" + last, 5)
    # The path does not take a POST.
    assert [answer.status for answer in answers] == ([405, 200] if status == 200 else [400])
    assert answers[-1].headers["Connection"] == "close"


def test_the_mask_is_requested_by_a_field_or_a_header(service: Service) -> None:
    url = service.predictions.replace("predictions", "explanations")
    asked: list[tuple[dict[str, Any], bool]] = [
        ({"files": {"picture": SEVEN}, "data": {"mask": "true"}}, True),
        ({"data": SEVEN, "headers": {"Mask": "true"}}, True),
        ({"files": {"picture": SEVEN}, "data": {"mask": "no"}}, False),
        ({"data": SEVEN}, False),
    ]
    for sent, has_mask in asked:
        answer = requests.post(url, timeout=30, **sent).json()
        assert (answer["digit"], "mask" in answer) == (7, has_mask)


def test_what_to_read_is_chosen_by_a_field_or_a_header(service: Service) -> None:
    asked: list[tuple[dict[str, Any], bool]] = [
        ({"files": {"picture": NUMBER}}, True),
        ({"files": {"picture": NUMBER}, "data": {"read": "digit"}}, False),
        ({"data": NUMBER, "headers": {"Read": "digit"}}, False),
        ({"data": NUMBER, "headers": {"read": "numbers"}}, True),
    ]
    for sent, has_numbers in asked:
        answer = requests.post(service.predictions, timeout=30, **sent).json()
        assert [each["text"] for each in answer.get("numbers", [])] == [TEXT] * has_numbers
    instances = [{"b64": base64.b64encode(NUMBER).decode()}] * MAX_NUMBERED
    url = f"{service.config.inference}/v1/models/mnist:explain"
    predictions = requests.post(url, json={"instances": instances}, timeout=60).json()["predictions"]
    assert len(predictions) == MAX_NUMBERED
    assert all("pixels" in digit for each in predictions for digit in each["numbers"][0]["digits"])


def test_bad_pictures_among_many_leave_the_others_alone(service: Service) -> None:
    uploads = [EXAMPLES[index % 10].read_bytes() if index % 3 else SEVEN[: 40 * index] for index in range(300)]

    def post(upload: bytes) -> requests.Response:
        return requests.post(service.predictions, data=upload, headers=PNG, timeout=60)

    with ThreadPoolExecutor(32) as clients:
        responses = list(clients.map(post, uploads))
    for index, response in enumerate(responses):
        if index % 3:
            assert response.json()["digit"] == index % 10
        else:
            assert response.status_code == 400


def test_only_the_page_may_call_from_a_browser(service: Service) -> None:
    origin = service.config.page
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    response = requests.options(service.predictions, headers=preflight, timeout=30)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in response.headers["Access-Control-Allow-Methods"]
    assert "content-type" in response.headers["Access-Control-Allow-Headers"]
    refused = requests.post(service.predictions, headers={"Origin": "http://example.org"}, timeout=30)
    assert refused.status_code == 403
    assert refused.json()["error"].startswith("Requests from this origin are not allowed")
    assert refused.headers["Access-Control-Allow-Origin"] == origin


def test_a_full_queue_answers_at_once_with_advice(service: Service) -> None:
    """Of more requests at once than may wait, each gets its digit or the advice to come back; a preflight passes."""
    address, page = ("127.0.0.1", urlsplit(service.config.inference).port), service.config.page
    head = f" /predictions/mnist HTTP/1.1\r\nHost: a\r\nOrigin: {page}\r\n"
    request = f"POST{head}Content-Length: {len(SEVEN)}\r\n\r\n".encode() + SEVEN
    preflight = f"OPTIONS{head}Access-Control-Request-Method: POST\r\n\r\n".encode()
    # Nearly all of the last 200 come while the queue is full.
    sent = [request] * 1300 + [request, preflight] * 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(address, 60)) for _ in sent]
            for client, each in zip(clients, sent, strict=True):
                client.sendall(each)
            answers = [client.recv(65536).decode() for client in clients]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    predictions = answers[:1300] + answers[1300::2]
    refused = [answer for answer in predictions if not answer.startswith("HTTP/1.1 200")]
    assert 0 < len(refused) < 500
    for answer in refused:
        assert answer.startswith("HTTP/1.1 503")
        assert "retry-after: 1" in answer.lower()
        assert '{"error":"Too many requests are waiting: try again in a second."}' in answer
    assert sum('"digit":7' in answer for answer in predictions) == len(predictions) - len(refused)
    assert all(answer.startswith("HTTP/1.1 200") for answer in answers[1301::2])
    for answer in refused + answers[1301::2]:
        assert f"access-control-allow-origin: {page}\r\n" in answer.lower()


def ask(service: Service, head: str, body: bytes = b"") -> tuple[set[str], bool]:
    """Send a request; return the names of the answer's headers, and whether the connection was closed after it."""
    with socket.create_connection(("127.0.0.1", urlsplit(service.config.inference).port), 60) as client:
        client.sendall(f"{head}\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = HTTPResponse(client)
        answer.begin()
        answer.read()
        names = {name.lower() for name, _ in answer.getheaders()}
        client.setblocking("Connection: close" in head)
        with suppress(BlockingIOError):
            return names, client.recv(1) == b""
        return names, False


def test_an_answer_has_the_headers_that_a_client_needs(service: Service) -> None:
    post, needed = "POST /predictions/mnist HTTP/1.", {"content-length", "content-type", "x-request-id"}
    assert ask(service, post + "1", SEVEN) == (needed, False)
    page, its = f"1\r\nOrigin: {service.config.page}", {"access-control-allow-origin", "access-control-expose-headers"}
    assert ask(service, post + page, SEVEN) == (needed | its, False)
    assert ask(service, post + "1\r\nConnection: close", SEVEN) == (needed | {"connection"}, True)
    assert ask(service, "GET /v2/health/ready HTTP/1.1")[0] == needed | {"cache-control"}
