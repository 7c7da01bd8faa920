"""Requests that two servers in a row might take for different numbers of requests, and what watches the second one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from soak.wire import PIECE_BYTES

# The gateway answers this itself: the service must never see it.
HIDDEN = b"GET /ping HTTP/1.1\r\nHost: hidden\r\n\r\n"
# What the service would answer to it.
BETRAYED = b"Healthy"
ENDED = b"0\r\n\r\n"


@dataclass(frozen=True)
class Probe:
    """A connection's bytes, and how many requests they are at most."""

    sent: bytes
    most: int = 1


def make_probes(path: str, picture: bytes) -> dict[str, Probe]:
    """Return the probes by name; path reads pictures."""
    start = f"POST {path} HTTP/1.1\r\nHost: soak\r\n".encode()
    covered = b"Content-Length: %d\r\n" % len(ENDED + HIDDEN)
    whole = start + b"Content-Length: %d\r\n" % len(picture)
    chunked = b"Transfer-Encoding: chunked\r\n"
    in_chunk = b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + ENDED
    size_line = b"Content-Length: %d\r\n" % len(b"%x\r\n" % len(HIDDEN))
    in_chunks = b"%x\r\n" % len(picture) + picture + b"\r\n"
    probes = {
        # A length that covers the hidden request, and chunks that end before it; then the other way round.
        "CL covers, TE ends": Probe(start + covered + chunked + b"\r\n" + ENDED + HIDDEN),
        "TE ends, CL covers": Probe(start + chunked + covered + b"\r\n" + ENDED + HIDDEN),
        "CL ends, TE covers": Probe(start + size_line + chunked + b"\r\n" + in_chunk),
        "TE in HTTP/1.0": Probe(start.replace(b"1.1", b"1.0") + covered + chunked + b"\r\n" + ENDED + HIDDEN),
        "named by Connection": Probe(
            start + b"Connection: Content-Length, Transfer-Encoding\r\n" + covered + b"\r\n" + ENDED + HIDDEN
        ),
        "in a body of GET": Probe(
            b"GET /v2/health/ready HTTP/1.1\r\nHost: soak\r\n" + covered + b"\r\n" + ENDED + HIDDEN
        ),
        "in a body that is asked for": Probe(start + b"Expect: 100-continue\r\n" + covered + b"\r\n" + ENDED + HIDDEN),
        "behind a length of 0": Probe(start + b"Content-Length: 0\r\n\r\n" + HIDDEN, most=2),
        "behind no length": Probe(start + b"\r\n" + HIDDEN, most=2),
        "bare LF": Probe(whole.replace(b"\r\n", b"\n") + b"\n" + picture),
        "bare CR": Probe(start + b"X: a\rTransfer-Encoding: chunked\r\n" + covered + b"\r\n" + ENDED + HIDDEN),
        "LF in a header": Probe(start + b"X: a\nTransfer-Encoding: chunked\r\n" + covered + b"\r\n" + ENDED + HIDDEN),
        "null in a header": Probe(whole + b"X: a\0b\r\n\r\n" + picture),
        "folded TE": Probe(start + b"Transfer-Encoding:\r\n chunked\r\n" + covered + b"\r\n" + ENDED + HIDDEN),
        "absolute form": Probe(whole.replace(b" /", b" http://soak/", 1) + b"\r\n" + picture),
        "absolute form of another host": Probe(whole.replace(b" /", b" http://other:81/", 1) + b"\r\n" + picture),
        "absolute form of what is hidden": Probe(b"GET http://soak/ping HTTP/1.1\r\nHost: soak\r\n\r\n"),
        "two hosts": Probe(whole + b"Host: other\r\n\r\n" + picture),
        "no host": Probe(whole.replace(b"Host: soak\r\n", b"") + b"\r\n" + picture),
        "line break at the end of the path": Probe(whole.replace(b" HTTP", b"%0a HTTP", 1) + b"\r\n" + picture),
        "line break in the path": Probe(
            whole.replace(b" HTTP", b"%20HTTP/1.1%0d%0aHost:%20hidden%0d%0a%0d%0a HTTP", 1) + b"\r\n" + picture
        ),
        "line break behind the path": Probe(b"GET /v2/health/ready%0a HTTP/1.1\r\nHost: soak\r\n\r\n"),
        "an extension of a chunk": Probe(
            start + chunked + b"\r\n" + in_chunks.replace(b"\r\n", b";a=b\r\n", 1) + ENDED
        ),
        "LF in an extension of a chunk": Probe(
            start + chunked + b"\r\n" + b"2;\nxx\r\n%x\r\n" % len(ENDED + HIDDEN) + ENDED + HIDDEN + b"\r\n" + ENDED
        ),
        "bare LF between chunks": Probe(start + chunked + b"\r\n" + in_chunks.replace(b"\r\n", b"\n", 1) + ENDED),
        "a trailer with a length": Probe(start + chunked + b"\r\n" + in_chunks + b"0\r\nContent-Length: 50\r\n\r\n"),
        "a trailer with a host": Probe(start + chunked + b"\r\n" + in_chunks + b"0\r\nHost: hidden\r\n\r\n"),
        "1000 headers": Probe(whole + b"".join(b"X-%d: a\r\n" % each for each in range(1000)) + b"\r\n" + picture),
        "a header of 60 kB": Probe(whole + b"X: " + b"a" * 60_000 + b"\r\n\r\n" + picture),
        "an address of 9 kB": Probe(whole.replace(b" HTTP", b"?" + b"a" * 9000 + b" HTTP", 1) + b"\r\n" + picture),
        "headers that the gateway sets": Probe(
            whole + b"X-Forwarded-For: 10.0.0.1, hidden\r\nForwarded: for=hidden\r\nX-Real-IP: hidden\r\n\r\n" + picture
        ),
    }
    codings = [b" xchunked", b" chunked, identity", b" identity, chunked", b"\tchunked", b" Chunked", b' "chunked"']
    codings += [b" chunked\x0b", b" chunked;a=b", b" gzip, chunked", b" chunked, chunked", b" "]
    for coding in codings:
        for way, length, body in (("CL covers", covered, ENDED + HIDDEN), ("TE covers", size_line, in_chunk)):
            probes[f"{way}, TE:{coding.decode()!r}"] = Probe(
                start + b"Transfer-Encoding:" + coding + b"\r\n" + length + b"\r\n" + body
            )
    for name in (b"Transfer-Encoding ", b"Transfer_Encoding", b" Transfer-Encoding", b"Transfer-Encoding\x0b"):
        probes[f"CL covers, {name.decode()!r}"] = Probe(start + covered + name + b": chunked\r\n\r\n" + ENDED + HIDDEN)
    for wrong in (b"5, 5", b"+5", b"-5", b"0x5", b"5a", b"", b"5 5", b"99999999999999999999"):
        probes[f"CL: {wrong.decode()!r}"] = Probe(start + b"Content-Length: " + wrong + b"\r\n\r\n" + ENDED + HIDDEN)
    for first, second in ((5, len(ENDED + HIDDEN)), (len(ENDED + HIDDEN), 5)):
        both = b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (first, second)
        probes[f"CL {first} and {second}"] = Probe(start + both + ENDED + HIDDEN)
    # A picture that is whole before its body breaks off.
    probes["no chunk behind a picture"] = Probe(start + chunked + b"\r\n" + in_chunks + b"zz\r\n\r\n")
    for size in (b"-5", b"0x5", b"5 ", b"FFFFFFFFFFFFFFFF5", b"zz", b"", b"00000000000000000005"):
        probes[f"chunk of {size.decode()!r}"] = Probe(start + chunked + b"\r\n" + size + b"\r\nhello\r\n" + ENDED)
    return probes


@dataclass
class Arrival:
    """What a strict server takes the bytes of one connection for."""

    heads: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    held: bytearray = field(default_factory=bytearray)
    left: int = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self.held += piece
        while self.held and not self.problems:
            if self.left:
                taken = min(self.left, len(self.held))
                del self.held[:taken]
                self.left -= taken
                continue
            head, separator, _ = self.held.partition(b"\r\n\r\n")
            if not separator:
                return
            del self.held[: len(head) + 4]
            self.heads.append(bytes(head))
            self.check(bytes(head))

    def check(self, head: bytes) -> None:
        """Note what is wrong with a head, and how long its body is."""
        first, *lines = head.split(b"\r\n")
        names = [line.partition(b":")[0].lower() for line in lines]
        lengths = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"content-length:")]
        if b"\n" in head.replace(b"\r\n", b"") or b"\r" in head.replace(b"\r\n", b"") or b"\0" in head:
            self.problems.append("a line break of another kind")
        elif len(first.split(b" ")) != 3 or not first.endswith((b" HTTP/1.1", b" HTTP/1.0")):
            self.problems.append("no request line")
        elif any(not name or name != name.strip() for name in names):
            self.problems.append("no header's name")
        elif b"transfer-encoding" in names or len(lengths) > 1 or any(not each.isdigit() for each in lengths):
            self.problems.append("no single length")
        elif b"/ping" in first or b"hidden" in head:
            self.problems.append("the hidden request")
        self.left = int(lengths[0]) if lengths and not self.problems else 0


class Tap:
    """Passes connections on to a service, and notes which requests it is sent."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.arrivals: list[Arrival] = []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Connect each client with the service."""
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.join, args=(client,), daemon=True).start()

    def join(self, client: socket.socket) -> None:
        """Pass on what a client sends, and back what it gets."""
        arrival = Arrival()
        self.arrivals.append(arrival)
        host, port = self.service.rsplit(":", 1)
        with client, suppress(OSError), socket.create_connection((host, int(port))) as server:
            back = threading.Thread(target=self.copy, args=(server, client, None), daemon=True)
            back.start()
            self.copy(client, server, arrival)
            back.join()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket, arrival: Arrival | None) -> None:
        """Pass bytes on until the source ends."""
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if arrival:
                    arrival.feed(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    def problems(self) -> list[str]:
        """Return what was wrong with the requests that reached the service."""
        return [f"{each} reached the service" for arrival in list(self.arrivals) for each in arrival.problems]

    def heads(self) -> int:
        """Return how many requests reached the service."""
        return sum(len(arrival.heads) for arrival in list(self.arrivals))


@contextmanager
def run_tap(service: str) -> Iterator[Tap]:
    """Run a tap in front of a service's host:port while the context lasts."""
    tap = Tap(service)
    try:
        yield tap
    finally:
        tap.listener.close()
