"""Requests that two servers in a row might take for different numbers of requests (request smuggling).

Netty 4.1.53, which TorchServe brings, reads some of them otherwise than a proxy may.
"""

from typing import NamedTuple

from tests.harness.service import EXAMPLES

SEVEN = EXAMPLES[7].read_bytes()
# The gateway answers this itself: the service must never see it.
HIDDEN = b"GET /ping HTTP/1.1\r\nHost: hidden\r\n\r\n"
END = b"0\r\n\r\n"
START = b"POST /predictions/mnist HTTP/1.1\r\nHost: digits\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
# A length that covers the hidden request; and one that ends where a chunk that holds it begins.
COVERED = b"Content-Length: %d\r\n" % len(END + HIDDEN)
SIZE_LINE = b"Content-Length: %d\r\n" % len(b"%x\r\n" % len(HIDDEN))
IN_CHUNK = b"%x\r\n" % len(HIDDEN) + HIDDEN + b"\r\n" + END
WHOLE = START + b"Content-Length: %d\r\n" % len(SEVEN)
# What follows a chunk size, or what may be one: it covers the hidden request for who takes it, or for who does not.
FOR_TAKEN = b"%x\r\n" % len(END + HIDDEN) + END + HIDDEN + b"\r\n" + END
FOR_SKIPPED = b"04\r\n%x\r\n\r\n" % len(b"\r\n" + END + HIDDEN) + END + HIDDEN + b"\r\n" + END
IN_CHUNKS = b"%x\r\n" % len(SEVEN) + SEVEN + b"\r\n"
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n"


class Probe(NamedTuple):
    """What a connection sends, and how many requests that is at most."""

    sent: bytes
    most: int = 1


def cover(*lines: bytes, start: bytes = START) -> Probe:
    """Return a request with these lines and a length that covers the hidden request."""
    return Probe(start + b"".join(lines) + b"\r\n" + END + HIDDEN)


def attach(lines: bytes, whole: bytes = WHOLE) -> Probe:
    """Return a request with these lines and a picture."""
    return Probe(whole + lines + b"\r\n" + SEVEN)


def chunk(body: bytes) -> Probe:
    """Return a request with this body, said to be in chunks."""
    return Probe(START + CHUNKED + b"\r\n" + body)


PROBES = {
    "a length that covers, chunks that end": cover(COVERED, CHUNKED),
    "chunks that end, a length that covers": cover(CHUNKED, COVERED),
    "a length that ends, chunks that cover": Probe(START + SIZE_LINE + CHUNKED + b"\r\n" + IN_CHUNK),
    "chunks in HTTP/1.0 (CVE-2026-42581)": cover(COVERED, CHUNKED, start=START.replace(b"1.1", b"1.0")),
    "a length that Connection names": cover(b"Connection: Content-Length, Transfer-Encoding\r\n", COVERED),
    "in the body of a GET": cover(COVERED, start=b"GET /v2/health/ready HTTP/1.1\r\nHost: digits\r\n"),
    "in a body that waits for 100": cover(b"Expect: 100-continue\r\n", COVERED),
    "behind a length of 0": Probe(START + b"Content-Length: 0\r\n\r\n" + HIDDEN, most=2),
    "behind no length": Probe(START + b"\r\n" + HIDDEN, most=2),
    "line feeds alone": Probe(WHOLE.replace(b"\r\n", b"\n") + b"\n" + SEVEN),
    "a carriage return in a header": cover(b"X: a\rTransfer-Encoding: chunked\r\n", COVERED),
    "a line feed in a header": cover(b"X: a\nTransfer-Encoding: chunked\r\n", COVERED),
    "a null in a header": attach(b"X: a\0b\r\n"),
    "a folded coding": cover(b"Transfer-Encoding:\r\n chunked\r\n", COVERED),
    "a folded list of codings (CVE-2026-89044)": cover(b"Transfer-Encoding: chunked,\r\n xchunked\r\n", COVERED),
    "control characters before the line (CVE-2026-50020)": cover(COVERED, start=b"\x00\x01\x1f" + START),
    "a control character in a name (CVE-2021-43797)": cover(b"Content-Length\x01: 5\r\n"),
    "a control character before a name (CVE-2021-43797)": cover(b"\x01Content-Length: 5\r\n"),
    "an absolute address": attach(b"", WHOLE.replace(b" /", b" http://digits/", 1)),
    "an absolute address of another host": attach(b"", WHOLE.replace(b" /", b" http://other:81/", 1)),
    "an absolute address of the hidden path": Probe(b"GET http://digits/ping HTTP/1.1\r\nHost: digits\r\n\r\n"),
    "two hosts": attach(b"Host: other\r\n"),
    "no host": attach(b"", WHOLE.replace(b"Host: digits\r\n", b"")),
    "a line break at the end of the path": attach(b"", WHOLE.replace(b" HTTP", b"%0a HTTP", 1)),
    "a request in the path": attach(b"", WHOLE.replace(b" HTTP", b"%20HTTP/1.1%0d%0aHost:%20hidden%0d%0a HTTP", 1)),
    "a line break behind a path of GET": Probe(b"GET /v2/health/ready%0a HTTP/1.1\r\nHost: digits\r\n\r\n"),
    "an extension of a chunk": chunk(IN_CHUNKS.replace(b"\r\n", b";a=b\r\n", 1) + END),
    "an extension without a name": chunk(IN_CHUNKS.replace(b"\r\n", b";\r\n", 1) + END),
    "a quoted line break in an extension (CVE-2026-33870)": chunk(b'5;a="\r\nhello\r\n' + END + HIDDEN),
    "a line feed between chunks": chunk(IN_CHUNKS.replace(b"\r\n", b"\n", 1) + END),
    "a length as a trailer": chunk(IN_CHUNKS + b"0\r\nContent-Length: 50\r\n\r\n"),
    "a host as a trailer": chunk(IN_CHUNKS + b"0\r\nHost: hidden\r\n\r\n"),
    "no chunk behind a picture": chunk(IN_CHUNKS + b"zz\r\n\r\n"),
    "headers that the gateway sets": attach(b"X-Forwarded-For: 10.0.0.1, hidden\r\nX-Real-IP: hidden\r\n"),
    "1000 headers": attach(b"".join(b"X-%d: a\r\n" % number for number in range(1000))),
    "a header of 60 kB": attach(b"X: " + b"a" * 60_000 + b"\r\n"),
    "a header of 1 MB": attach(b"X: " + b"a" * 1_000_000 + b"\r\n"),
    "an address of 9 kB": attach(b"", WHOLE.replace(b" HTTP", b"?" + b"a" * 9000 + b" HTTP", 1)),
    "a header without a colon": attach(b"nothing\r\n"),
    "a header without a name": attach(b": a\r\n"),
    "a folded header": attach(b"X: a\r\n b\r\n"),
    "a space before a colon": attach(b"X : a\r\n"),
    "HTTP/9.9": attach(b"", WHOLE.replace(b"HTTP/1.1", b"HTTP/9.9")),
    "an unknown expectation": attach(b"Expect: a miracle\r\n"),
    "an upgrade to HTTP/2": attach(UPGRADE),
    # To a server of HTTP/1 its preface is two malformed requests.
    "HTTP/2": Probe(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", most=2),
    "TLS": Probe(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n"),
    **{
        f"the coding {coding.decode()!r}, {way}": Probe(START + b"Transfer-Encoding:" + coding + b"\r\n" + rest)
        for coding in (
            *(b" xchunked", b" chunked, identity", b" identity, chunked", b"\tchunked", b" Chunked", b' "chunked"'),
            *(b" chunked\x0b", b" \x0bchunked", b" chunked;a=b", b" gzip, chunked", b" chunked, chunked", b" "),
            b" chunked, xchunked",
        )
        for way, rest in {
            "covered by a length": COVERED + b"\r\n" + END + HIDDEN,
            "covered by a chunk": SIZE_LINE + b"\r\n" + IN_CHUNK,
        }.items()
    },
    # A line feed in an extension is CVE-2025-58056.
    **{
        f"{end.decode()!r} in an extension, {way}": chunk(b"2;" + end + b"xx\r\n" + rest)
        for end in (b"\n", b"\r", b"\rX", b"\r\r")
        for way, rest in {"a size covers": FOR_TAKEN, "a size ends": FOR_SKIPPED}.items()
    },
    **{
        f"{end.decode()!r} behind a chunk, {way}": chunk(b"5\r\nhello" + end + rest)
        for end in (b"", b"\n", b"\r", b"\rX", b"\r\r", b"XX")
        for way, rest in {"a size covers": FOR_TAKEN, "a size ends": FOR_SKIPPED}.items()
    },
    **{
        f"the name {name.decode()!r}": cover(COVERED, name + b": chunked\r\n")
        for name in (b"Transfer-Encoding ", b"Transfer_Encoding", b" Transfer-Encoding", b"Transfer-Encoding\x0b")
    },
    **{
        f"the length {length.decode()!r}": cover(b"Content-Length: " + length + b"\r\n")
        for length in (b"5, 5", b"+5", b"-5", b"0x5", b"5a", b"", b"5 5", b"99999999999999999999")
    },
    "a short length, then a long one": cover(b"Content-Length: 5\r\n", COVERED),
    "a long length, then a short one": cover(COVERED, b"Content-Length: 5\r\n"),
    **{
        f"a chunk of {size.decode()!r}": chunk(size + b"\r\nhello\r\n" + END)
        for size in (b"-5", b"+5", b"0x5", b"5 ", b"FFFFFFFFFFFFFFFF5", b"zz", b"", b"00000000000000000005")
    },
}
