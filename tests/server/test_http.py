"""What ports and gateway answer to requests that RFC 9110 and 9112 forbid, or that old and odd clients send."""

import socket
from contextlib import ExitStack, closing
from http.client import HTTPResponse
from select import select
from urllib.parse import urlsplit

import pytest
import requests

from operate.gateway import Gateway
from tests.harness.service import Service
from tests.hostile.connections import converse

pytestmark = pytest.mark.server

PATHS = {"inference": b"/v2/health/live", "management": b"/models", "metrics": b"/metrics"}
GET = b"GET PATH HTTP/1.1\r\nHost: localhost:PORT\r\n"
POST = GET.replace(b"GET", b"POST")
# What is sent next, whose answer names the model.
NEXT = b"GET /v2/models/mnist HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

# The request, and the statuses that it may get, each with whether the connection is closed after it.
FINE, CLOSED, BAD = {(200, False)}, {(200, True)}, {(400, True)}
REQUESTS = {
    "plain": (GET, FINE),
    "empty lines before it": (b"\r\n\r\n" + GET, FINE),
    "the name of the host alone": (GET.replace(b":PORT", b""), FINE),
    "an absolute URL": (GET.replace(b"PATH", b"http://localhost:PORTPATH"), FINE),
    "HTTP/1.0 without a host": (b"GET PATH HTTP/1.0\r\n", CLOSED),
    "HTTP/1.0, kept alive": (b"GET PATH HTTP/1.0\r\nConnection: keep-alive\r\n", FINE),
    "Connection: close": (GET + b"Connection: close\r\n", CLOSED),
    "an upgrade that nobody offers": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n", FINE),
    "an unknown expectation of a body": (
        GET + b"Expect: a miracle\r\nContent-Length: 3\r\n\r\na",
        {(200, False), (417, True)},
    ),
    "an empty value": (GET + b"X:\r\n", FINE),
    "a tab before a value": (GET.replace(b": ", b":\t"), FINE),
    "all of the server": (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", FINE),
    "GET of all of the server": (b"GET * HTTP/1.1\r\nHost: localhost\r\n", BAD),
    "an authority": (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n", BAD),
    "no host": (b"GET PATH HTTP/1.1\r\n", BAD),
    "two hosts": (GET + b"Host: localhost\r\n", BAD),
    "an empty host": (b"GET PATH HTTP/1.1\r\nHost:\r\n", BAD),
    "a host with a user": (GET.replace(b": ", b": a@"), BAD),
    "a host with a path": (GET.replace(b"PORT\r", b"PORT/a\r"), BAD),
    "a list of hosts": (GET.replace(b"PORT\r", b"PORT, a\r"), BAD),
    "a folded header": (GET + b"X: a\r\n b\r\n", BAD),
    "a folded first header": (b"GET PATH HTTP/1.1\r\n Host: localhost\r\n", BAD),
    "a space before a colon": (GET + b"X : a\r\n", BAD),
    "a carriage return before a name": (GET + b"\rX: a\r\n", BAD),
    "no colon": (GET + b"X\r\n", BAD),
    "no name": (GET + b": a\r\n", BAD),
    "a bracket in a name": (GET + b"X[: a\r\n", BAD),
    "bytes beyond ASCII in a name": (GET + "X\u00e9: a\r\n".encode(), BAD),
    "a control character in a value": (GET + b"X: a\x07b\r\n", BAD),
    "NUL in a value": (GET + b"X: a\0b\r\n", BAD),
    "NUL in the path": (GET.replace(b"PATH", b"PATH\0"), BAD),
    "bytes beyond ASCII in the path": (GET.replace(b"PATH", "PATH\u00e9".encode()), BAD),
    "a malformed escape": (GET.replace(b"PATH", b"PATH%2"), BAD),
    "a fragment": (GET.replace(b"PATH", b"PATH#a"), BAD),
    "words before the method": (b"Two words " + GET, BAD),
    "no version": (GET.replace(b" HTTP/1.1", b""), BAD),
    "half a version": (GET.replace(b"1.1", b"1"), BAD),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n", {(505, True)}),
    "HTTP/9.9": (GET.replace(b"1.1", b"9.9"), {(505, True)}),
    "a length that is no number": (POST + b"Content-Length: a\r\n", BAD),
    "a length with a sign": (POST + b"Content-Length: +5\r\n", BAD),
    "a negative length": (POST + b"Content-Length: -1\r\n", BAD),
    "an empty length": (POST + b"Content-Length:\r\n", BAD),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n", BAD),
    "an enormous length": (POST + b"Content-Length: 99999999999999999999\r\n", BAD),
    "a length of chunks": (POST + CHUNKED + b"Content-Length: 5\r\n", BAD),
    "chunks twice": (POST + CHUNKED + CHUNKED, BAD),
    "chunks in HTTP/1.0": (POST.replace(b"1.1", b"1.0") + CHUNKED, BAD),
    "compressed chunks": (POST + CHUNKED.replace(b"chunked", b"gzip, chunked"), BAD),
    "an unknown expectation": (GET + b"Expect: a\r\n", {(417, True)}),
    "a header of 9 kB": (GET + b"X: %s\r\n" % (b"a" * 9000), {(431, True)}),
    "a path of 4 kB": (GET.replace(b"PATH", b"PATH?" + b"%aa" * 1300), FINE),
    "a host of 4 kB": (GET.replace(b"localhost:PORT", b"a." * 2000), {(200, False), (403, True)}),
    "a path of 5 kB": (GET.replace(b"PATH", b"PATH?" + b"a" * 5000), {(414, True)}),
}


def address_to(request: bytes, path: bytes, port: int | None) -> bytes:
    """Return a request of the table for a path and a port, with the line that ends it."""
    return request.replace(b"PATH", path).replace(b"PORT", b"%d" % (port or 0)) + b"\r\n"


@pytest.mark.parametrize("port", PATHS)
@pytest.mark.parametrize("name", REQUESTS)
def test_every_port_keeps_to_the_rfcs(name: str, port: str, service: Service) -> None:
    sent, allowed = REQUESTS[name]
    address = urlsplit(getattr(service.config, port))
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as client:
        client.sendall(address_to(sent, PATHS[port], address.port))
        with closing(HTTPResponse(client)) as answer:
            answer.begin()
            answer.read()
        closes = not FINE & allowed or answer.status != 200
        client.settimeout(5 if closes else 0.05)
        try:
            is_closed = client.recv(1) == b""
        except TimeoutError:
            is_closed = False
    assert (answer.status, is_closed) in allowed
    assert is_closed == (answer.getheader("Connection") == "close")


# nginx answers HTTP/0.9 too, without a head.
@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "no version"])
def test_each_request_through_the_gateway_gets_its_own_answer(name: str, gateway: Gateway) -> None:
    sent = address_to(REQUESTS[name][0], PATHS["inference"], urlsplit(gateway.address).port)
    first, *rest = converse(gateway.address, sent + NEXT, 5)
    # nginx drops malformed headers and fragments, allows longer paths, and knows no coding but chunked.
    assert first.status in {200, 400, 404, 405, 501, 505}
    assert [answer.json["name"] for answer in rest] in ([], ["mnist"])
    assert (first, *rest)[-1].headers["Connection"] == "close"
    assert requests.get(f"{gateway.address}/v2/models/mnist", timeout=10).json()["name"] == "mnist"


def test_a_request_in_pieces_is_waited_for(service: Service) -> None:
    address = urlsplit(service.config.inference)
    clients = []
    with ExitStack() as stack:
        for length in range(1, len(NEXT)):
            client = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0), 10))
            client.sendall(NEXT[:length])
            clients.append(client)
        assert not select(clients, [], [], 0.1)[0]
        for length, client in enumerate(clients, 1):
            client.sendall(NEXT[length:])
        for client in clients:
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_an_escaped_colon_is_a_colon(service: Service) -> None:
    address = urlsplit(service.config.inference)
    for path, status in ((b"/v1/models/mnist%3Apredict", b"400"), (b"/v1/models/mnist%3aready", b"404")):
        with socket.create_connection((address.hostname or "", address.port or 0), 10) as client:
            client.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" % path)
            assert client.recv(1000).split()[1] == status


def test_an_answer_to_head_has_no_body(service: Service) -> None:
    address = urlsplit(service.config.inference)
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as client:
        for _ in range(2):
            client.sendall(b"HEAD /v2/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"\r\n\r\n")
