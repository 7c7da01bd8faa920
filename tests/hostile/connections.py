"""Bytes as they are sent, every answer that comes back, and what a server behind the gateway receives."""

import http.client
import io
import json
import re
import socket
import threading
from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# An answer, or a refusal: of the request, or because the service has no place or no time for it.
FITTING = {200, 204, 400, 403, 404, 405, 411, 413, 414, 415, 417, 431, 501, 503, 504, 505}


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """Its body, which has to be JSON."""
        assert self.headers.get_content_type() == "application/json", (self.status, self.headers.items(), self.body)
        return json.loads(self.body)

    def check(self, statuses: Collection[int] = FITTING) -> None:
        """Assert that its status is one of these, and that a refusal has a sentence."""
        assert self.status in statuses, (self.status, self.body)
        if self.status not in (200, 204):
            assert list(self.json) == ["error"]
            # TorchServe's own sentences have no full stop.
            assert re.fullmatch(r"[A-Z0-9]\S* .+", self.json["error"], re.DOTALL), self.body


class Stream(io.BufferedReader):
    """Bytes that come over a connection, for one HTTPResponse after the other."""

    def makefile(self, _mode: str) -> "Stream":
        """Return itself, as a socket returns a file."""
        return self

    def close(self) -> None:
        """Stay open for the next one."""


def converse(url: str, sent: bytes, quiet_s: float) -> list[Answer]:
    """Send bytes to the host of a URL; return the answers until the connection is closed, or quiet for so long."""
    address = urlsplit(url)
    received = b""
    with socket.create_connection((address.hostname, address.port), 60) as connection:
        # What refuses a request early may close the connection while it is sent: its answer counts all the same.
        with suppress(ConnectionError):
            connection.sendall(sent)
        connection.settimeout(quiet_s)
        with suppress(ConnectionError, TimeoutError):
            while piece := connection.recv(1 << 16):
                received += piece
    return split_answers(received)


def ask(url: str, sent: bytes, count: int = 1) -> list[Answer]:
    """Send requests to the host of a URL; return as many answers, whether the connection is closed then or not."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), 60) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        stream = Stream(socket.SocketIO(connection, "r"))
        return [read_answer(stream) for _ in range(count)]


def split_answers(received: bytes) -> list[Answer]:
    """Return the answers that bytes hold. Raises HTTPException for anything else."""
    stream = Stream(io.BytesIO(received))
    answers = []
    while stream.peek():
        answers.append(read_answer(stream))
    return answers


def read_answer(stream: Stream) -> Answer:
    """Return the next answer of a stream. Raises HTTPException for anything else."""
    response = http.client.HTTPResponse(stream)  # type: ignore[arg-type]
    response.begin()
    return Answer(response.status, response.msg, response.read())


def write_request(path: str, body: bytes = b"", method: str = "POST", headers: dict[str, str] | None = None) -> bytes:
    """Return a request as its bytes, after which the connection is to be closed."""
    known = {"Host": "digits", "Content-Length": str(len(body)), "Connection": "close"} | (headers or {})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in known.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Recorder:
    """Stands in the service's place: takes every connection, answers every request, and keeps what came over each."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
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
        """Answer each request of a connection once, with its first line."""
        answered = 0
        with closing(connection), suppress(OSError):
            while data := connection.recv(65536):
                stream += data
                for head, _ in split_requests(bytes(stream))[answered:]:
                    answered += 1
                    body = json.dumps({"line": head.split(b"\r\n")[0].decode("latin-1")}).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                    connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    @property
    def requests(self) -> list[tuple[bytes, bytes]]:
        """Head and body of each request that came."""
        return [request for stream in self.streams for request in split_requests(bytes(stream))]


def split_requests(stream: bytes) -> list[tuple[bytes, bytes]]:
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
