"""Whatever a client does to where a request ends, the service gets it from the gateway in one plain form.

Netty 4.1.53 reads some malformed requests otherwise than a proxy may (request smuggling). It gets none of them.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from operate.gateway import Gateway
from tests.services import run_gateway

pytestmark = pytest.mark.server

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LINE = b"POST /predictions/mnist HTTP/1.1\r\nHost: digits\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n"
NEXT = b"POST /predictions/smuggled HTTP/1.1\r\nHost: digits\r\nContent-Length: 0\r\n\r\n"

# By the finding that a reader of Netty's advisories knows them by.
REQUESTS = {
    "CVE-2025-58056, a line feed ends the chunk's line": CHUNKED + b"\r\n5;\nhello\r\n0\r\n\r\n" + NEXT,
    "CVE-2026-33870, a quoted line break": CHUNKED + b'\r\n5;a="\r\nhello\r\n0\r\n\r\n' + NEXT,
    "CVE-2026-42581, two lengths in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0")
    + b"Content-Length: 5\r\n\r\n0\r\n\r\n"
    + NEXT,
    "two lengths": CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + NEXT,
    "CVE-2026-89044, chunked is not last": LINE + b"Transfer-Encoding: chunked, xchunked\r\n\r\n0\r\n\r\n" + NEXT,
    "CVE-2026-89044, on two lines": LINE + b"Transfer-Encoding: chunked,\r\n xchunked\r\n\r\n0\r\n\r\n" + NEXT,
    "chunked with a control character": LINE + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + NEXT,
    "CVE-2021-43797, a control character in a name": LINE + b"Content-Length\x01: 5\r\n\r\nhello" + NEXT,
    "CVE-2021-43797, one before a name": LINE + b"\x01Content-Length: 5\r\n\r\nhello" + NEXT,
    "CVE-2026-50020, control characters before the line": b"\x00\x01\x1f" + LINE + b"Content-Length: 0\r\n\r\n",
    "a length that is repeated": LINE + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello" + NEXT,
    "a length with a sign": LINE + b"Content-Length: +5\r\n\r\nhello" + NEXT,
    "a chunk's size with a sign": CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n" + NEXT,
    "a plain request": LINE + b"Content-Length: 5\r\n\r\nhello",
    "a plain request in chunks": CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n",
}
PLAIN = ("a plain request", "a plain request in chunks")


class Upstream:
    """Takes every connection, answers every request, and keeps what came over each."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.streams: list[bytearray] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Serve connections until the listener is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                stream = bytearray()
                self.streams.append(stream)
                threading.Thread(target=self.serve, args=(connection, stream), daemon=True).start()

    def serve(self, connection: socket.socket, stream: bytearray) -> None:
        """Answer each request of a connection once."""
        answered = 0
        with closing(connection), suppress(OSError):
            while data := connection.recv(65536):
                stream += data
                for _ in range(answered, len(split(bytes(stream)))):
                    answered += 1
                    connection.sendall(ANSWER)


def split(stream: bytes) -> list[tuple[bytes, bytes]]:
    """Return head and body of each whole request in a stream, read by Content-Length alone."""
    requests = []
    while b"\r\n\r\n" in stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        lengths = re.findall(rb"(?i)\r\ncontent-length: (\d+)(?=\r\n|$)", head)
        length = int(lengths[0]) if lengths else 0
        if len(rest) < length:
            break
        requests.append((head, rest[:length]))
        stream = rest[length:]
    return requests


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """What stands in the service's place, since the service does not show what it received."""
    running = Upstream()
    yield running
    running.listener.close()


@pytest.fixture
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    """The gateway in front of it."""
    with run_gateway(upstream.address) as running:
        yield running


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_gateway_passes_on_plain_requests_alone(kind: str, gateway: Gateway, upstream: Upstream) -> None:
    host, port = gateway.address.removeprefix("http://").split(":")
    answer = b""
    # The gateway keeps the connection open unless it found something malformed.
    with socket.create_connection((host, int(port)), 1) as client, suppress(TimeoutError):
        client.sendall(REQUESTS[kind])
        while data := client.recv(65536):
            answer += data
    came = [request for stream in upstream.streams for request in split(bytes(stream))]
    for head, _ in came:
        names = [line.split(b":")[0] for line in head.split(b"\r\n")[1:]]
        assert all(re.fullmatch(rb"[A-Za-z0-9-]+", name) for name in names), head
        assert b"transfer-encoding" not in head.lower()
        assert head.lower().count(b"content-length:") == 1
    # All that came were whole requests, as many as the client got answers of theirs.
    assert sum(len(head) + 4 + len(body) for head, body in came) == sum(map(len, upstream.streams))
    assert len(came) == answer.count(b"HTTP/1.1 200")
    if kind in PLAIN:
        assert [body for _, body in came] == [b"hello"]
