"""What the server logs."""

import contextlib
import http.client
import socket
import struct
from urllib.parse import urlsplit

import pytest

from tests.harness.service import Service, poll

pytestmark = pytest.mark.server

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
