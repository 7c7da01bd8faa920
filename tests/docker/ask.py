"""Sends a request byte for byte to the gateway, or to the container that it is in, and reads the answer."""

import json
import socket
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Protocol
from urllib.parse import urlsplit

PREDICTIONS = "/predictions/mnist"


class Server(Protocol):
    """What listens at http://host:port."""

    @property
    def address(self) -> str: ...  # noqa: D102


@dataclass
class Answer:
    """A response; headers have lower-case names."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The sentence of an error."""
        assert self.headers["content-type"] == "application/json"
        sentence = json.loads(self.body)["error"]
        assert sentence.endswith(".")
        return sentence


def ask(server: Server, request: str, *headers: str, body: bytes = b"", client: str = "127.0.0.1") -> Answer:
    """Send "METHOD path" just as it is, with headers as lines, from an address of this machine."""
    with connect(server, client) as connection:
        lines = [f"{request} HTTP/1.1", "Host: digits", "Connection: close", f"Content-Length: {len(body)}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return read(connection, request.split()[0])


def connect(server: Server, client: str = "127.0.0.1") -> socket.socket:
    """Return a connection to the gateway from an address of this machine."""
    address = urlsplit(server.address)
    return socket.create_connection((address.hostname, address.port), 60, (client, 0))


def read(connection: socket.socket, method: str) -> Answer:
    """Read one answer from a connection."""
    response = HTTPResponse(connection, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())
