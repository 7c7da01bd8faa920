"""HTTP/1.1 over a plain socket: sends bytes just as they are, and reads every answer that comes back."""

import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

PIECE_BYTES = 1 << 16


class NotHttp(Exception):
    """What came back is no answer."""


@dataclass(frozen=True)
class Answer:
    """One answer; its headers have names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Exchange:
    """What came of one connection."""

    answers: list[Answer] = field(default_factory=list)
    # "complete" if all expected answers came, else "closed", "reset", "refused", "silent" or "not HTTP".
    end: str = "silent"
    # From the last byte sent, or from the first if the answer came before that.
    wait_s: float = 0


def converse(
    address: str,
    pieces: Sequence[bytes],
    expected: int = 1,
    timeout_s: float = 60,
    pause_s: float = 0,
    shuts: bool = False,
    quiet_s: float = 0,
) -> Exchange:
    """Send pieces to host:port, with pauses between them, and read until the expected answers came or none will.

    With shuts, the client's half of the connection is closed after the last piece. With quiet_s, all answers are
    expected that come until there is none for that long.
    """
    exchange = Exchange()
    host, port = address.rsplit(":", 1)
    begun = time.monotonic()
    received = bytearray()
    try:
        with socket.create_connection((host, int(port)), timeout_s) as connection:
            # What refuses a request early may close the connection while it is sent: its answer counts all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for number, piece in enumerate(pieces):
                    if number:
                        time.sleep(pause_s)
                    begun = time.monotonic()
                    connection.sendall(piece)
                if shuts:
                    connection.shutdown(socket.SHUT_WR)
            while quiet_s or len(exchange.answers) < expected:
                left_s = begun + timeout_s - time.monotonic()
                connection.settimeout(max(0.01, min(left_s, quiet_s) if exchange.answers and quiet_s else left_s))
                piece = connection.recv(PIECE_BYTES)
                received += piece
                answers = take_answers(received, is_closed=not piece)
                if answers:
                    exchange.answers += answers
                    exchange.wait_s = time.monotonic() - begun
                if not piece:
                    exchange.end = "closed"
                    break
            else:
                exchange.end = "complete"
    except ConnectionRefusedError:
        exchange.end = "refused"
    except TimeoutError:
        exchange.end = "complete" if quiet_s and exchange.answers else "silent"
    except NotHttp:
        exchange.end = "not HTTP"
    except OSError:
        exchange.end = "reset"
    if not exchange.answers:
        exchange.wait_s = time.monotonic() - begun
    return exchange


def take_answers(received: bytearray, is_closed: bool = False) -> list[Answer]:
    """Take the whole answers from the start of what was received. Raises NotHttp."""
    answers = []
    while received:
        head, separator, _ = received.partition(b"\r\n\r\n")
        if not separator:
            if len(received) > 12 and not received.startswith(b"HTTP/1."):
                raise NotHttp
            break
        status, headers = read_head(bytes(head))
        start = len(head) + 4
        if status < 200 or status in (204, 304):
            end = start
            body = b""
        elif headers.get("transfer-encoding") == "chunked":
            body, end = read_chunks(received, start)
        else:
            # Without a length, the body ends with the connection.
            length = headers.get("content-length", str(len(received) - start) if is_closed else "")
            end = start + int(length) if length else 0
            body = bytes(received[start:end])
        if not end or end > len(received):
            break
        del received[:end]
        if status >= 200:
            answers.append(Answer(status, headers, body))
    return answers


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the status of an answer and its headers. Raises NotHttp."""
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not first.startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
        raise NotHttp(first)
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return int(words[1]), {name.strip().lower(): value.strip() for name, value in pairs}


def read_chunks(received: bytearray, start: int) -> tuple[bytes, int]:
    """Return a body in chunks, and where it ends; 0 if it is not yet complete. Raises NotHttp."""
    body = bytearray()
    place = start
    while (line_end := received.find(b"\r\n", place)) >= 0:
        try:
            size = int(received[place:line_end], 16)
        except ValueError as cause:
            raise NotHttp from cause
        place = line_end + 2
        if place + size + 2 > len(received):
            break
        body += received[place : place + size]
        place += size + 2
        if not size:
            return bytes(body), place
    return b"", 0


def write_request(path: str, body: bytes = b"", method: str = "POST", **headers: str) -> bytes:
    """Return a request as its bytes; the names of headers have _ for -."""
    lines = [f"{method} {path} HTTP/1.1", "Host: soak", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
