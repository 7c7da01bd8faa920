"""Hostile messages: JSON of wrong shapes and types, multipart forms, heads of requests."""

import base64
import json
from typing import Any

from hypothesis import strategies as st

from operate.client import Client
from operate.examples import list_examples
from soak.wire import write_request

Json = Any

LONG = 10**400
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "pixels", "UINT8", "b64", "data:image/png;base64,", "\x00", "\ud800", LONG, -1, 2**63, 1e308]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
DATATYPES = ("UINT8", "BYTES", "FP32", "FP16", "INT64", "UINT64", "BOOL", "uint8", "", "FP999")


def make_messages() -> list[Json]:
    """Return right messages of each protocol, to be changed."""
    seven = base64.b64encode(list_examples()[7].read_bytes()).decode()
    pixels = {"name": "pixels", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
    return [
        {"instances": [{"b64": seven}, {"b64": seven}]},
        {"instances": [[[0] * 28] * 28]},
        {"data": seven},
        {"id": "a", "inputs": [pixels], "outputs": [{"name": "digit", "parameters": {"binary_data": True}}]},
        {"inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [seven]}]},
    ]


@st.composite
def changed_messages(draw: st.DrawFn, messages: list[Json]) -> Json:
    """Draw a message of one of the protocols with some of its parts replaced, dropped or doubled."""
    message = json.loads(json.dumps(draw(st.sampled_from(messages))))
    for _ in range(draw(st.integers(1, 3))):
        node: Json = message
        for _ in range(draw(st.integers(0, 4))):
            inner = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
            containers = [each for each in inner[:4] if isinstance(each, dict | list) and each]
            if not containers:
                break
            node = draw(st.sampled_from(containers))
        keys = list(node) if isinstance(node, dict) else list(range(min(4, len(node))))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        kind = draw(st.sampled_from(("value", "shape", "datatype", "drop", "wrap", "rename")))
        if kind == "value":
            node[key] = draw(VALUES)
        elif kind == "shape" and isinstance(node, dict):
            node["shape"] = draw(st.lists(st.sampled_from([0, 1, 28, -1, 784, 2**31, 2**63, 1.5, "1"]), max_size=5))
        elif kind == "datatype" and isinstance(node, dict):
            node["datatype"] = draw(st.sampled_from(DATATYPES))
        elif kind == "drop":
            del node[key]
        elif kind == "wrap":
            for _ in range(draw(st.sampled_from((1, 2, 50)))):
                node[key] = [node[key]] if draw(st.booleans()) else {"b64": node[key]}
        elif isinstance(node, dict):
            node[draw(st.text(max_size=8))] = node.pop(key)
    return message


def to_bytes(message: Json) -> bytes:
    """Return a message as JSON, which may hold what JSON does not know: NaN, numbers without end, lone surrogates."""
    return json.dumps(message, ensure_ascii=True).encode()


def make_deep_messages() -> dict[str, bytes]:
    """Return messages that are too deep or too long, by name."""
    deep = 100_000
    return {
        "lists in lists": b"[" * deep,
        "closed lists in lists": b"[" * deep + b"]" * deep,
        "objects in objects": b'{"data":' * deep + b"1" + b"}" * deep,
        "instances in instances": b'{"instances":[' * deep + b"]}" * deep,
        "900 objects, which is read": b'{"data":' * 900 + b'"AAAA"' + b"}" * 900,
        "a million numbers": b'{"instances":[[' + b"0," * 1_000_000 + b"0]]}",
        "a million empty instances": b'{"instances":[' + b"{}," * 1_000_000 + b"{}]}",
        "a number of a million digits": b'{"data":' + b"9" * 1_000_000 + b"}",
        "a shape of a million sizes": b'{"inputs":[{"name":"pixels","datatype":"UINT8","data":[],"shape":['
        + b"1," * 1_000_000
        + b"1]}]}",
        "a shape whose product overflows": b'{"inputs":[{"name":"pixels","datatype":"UINT8","data":[],'
        b'"shape":[4294967296,4294967296,28,28]}]}',
        "the same key a million times": b"{" + b'"data":1,' * 500_000 + b'"data":1}',
        "not UTF-8": b'{"data":"\xff\xfe"}',
        "a byte order mark alone": b"\xef\xbb\xbf",
        "UTF-16": '{"data": "AAAA"}'.encode("utf-16"),
    }


@st.composite
def forms(draw: st.DrawFn, files: list[bytes]) -> tuple[str, bytes]:
    """Draw the content type and the body of a multipart form, mostly a malformed one."""
    boundary = draw(st.sampled_from(["x", "-" * 70, "a b", '"', "x" * 3000, "", "\xe5", "x; charset=none"]))
    line = f"--{boundary}".encode("latin-1")
    body = bytearray()
    for _ in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from(["a", "b", "", '"', "mask", "body", "\xe5", "a" * 5000, "../../etc/passwd"]))
        head = draw(
            st.sampled_from(
                [
                    f'Content-Disposition: form-data; name="{name}"',
                    f'Content-Disposition: form-data; name="{name}"; filename="{name}"',
                    f"Content-Disposition: form-data; name={name}; filename*=UTF-8''%ff%zz",
                    f"Content-Disposition: attachment; name={name}",
                    "Content-Disposition:",
                    "X: y",
                    "",
                ]
            )
        )
        more = draw(
            st.sampled_from(
                [
                    "",
                    "\r\nContent-Type: image/png",
                    "\r\nContent-Type: text/plain; charset=none",
                    "\r\nContent-Type: multipart/mixed; boundary=y",
                    "\r\nContent-Transfer-Encoding: base64",
                    "\r\nContent-Length: 99999999999",
                ]
            )
        )
        content = draw(st.one_of(st.sampled_from(files), st.binary(max_size=100), st.just(line)))
        ends = draw(st.sampled_from([b"\r\n", b"\n", b""]))
        body += line + ends + (head + more).encode("latin-1") + ends * 2 + content + ends
    body += draw(st.sampled_from([line + b"--\r\n", line, b"--", b""]))
    return f"multipart/form-data; boundary={boundary}", bytes(body)


@st.composite
def heads(draw: st.DrawFn, picture: bytes) -> bytes:
    """Draw a request with odd headers, whose body is a picture."""
    method = draw(st.sampled_from(["POST", "PUT", "GET", "PATCH", "DELETE", "TRACE", "OPTIONS", "post", "X" * 100]))
    target = draw(
        st.sampled_from(
            [
                *("/predictions/mnist", "/predictions/mnist/0.1.0", "/v2/models/mnist/infer", "/explanations/mnist"),
                *("/", "//", "/predictions/", "/predictions/%00", "/predictions/mnist%2f..", "/../etc/passwd", "%"),
                *("/predictions/mnist?" + "a" * 3000, "/v1/models/\xe5:predict", "/v2/models/mnist/versions/9/infer"),
                *("/predictions/" + "a" * 2000, "/v1/models/mnist:classify", "/v2/models/mnist;x=y/infer"),
            ]
        )
    )
    lines = [f"{method} {target} HTTP/1.1", "Host: soak", f"Content-Length: {len(picture)}"]
    names = ["Content-Type", "Inference-Header-Content-Length", "Accept", "Origin", "explain", "describe", "Cookie"]
    names += [
        "Content-Encoding",
        "Range",
        "X-Forwarded-For",
        "Authorization",
        "Accept-Encoding",
        "Upgrade",
        "X-Request-Id",
    ]
    values = ["", "a/b", "application/json", "text/plain; charset=none", "multipart/form-data", "True", "-1", "0", "5"]
    values += [
        "99999999999999999999",
        "gzip",
        "identity, gzip",
        "*",
        "\xff\xfe",
        "a" * 3000,
        "bytes=0-",
        "h2c",
        '\t;,="',
    ]
    values += [
        "application/x-www-form-urlencoded",
        "null",
        "application/json; charset=utf-16",
        "multipart/mixed; boundary=a",
    ]
    for _ in range(draw(st.integers(0, 8))):
        lines.append(f"{draw(st.sampled_from(names))}: {draw(st.sampled_from(values))}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + picture


def make_odd_heads(client: Client, picture: bytes) -> dict[str, bytes]:
    """Return requests whose heads break a limit or a rule, by name."""
    start = f"POST {client.predictions} HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(picture)}\r\n"
    end = b"\r\n" + picture

    def with_lines(lines: str) -> bytes:
        return start.encode() + lines.encode("latin-1") + end

    return {
        "1000 headers": with_lines("".join(f"X-{number}: a\r\n" for number in range(1000))),
        "a header of 9000 bytes": with_lines(f"X: {'a' * 9000}\r\n"),
        "a header of 1 MB": with_lines(f"X: {'a' * 1_000_000}\r\n"),
        "an address of 5000 bytes": write_request(client.predictions + "?" + "a" * 5000, picture),
        "a header without a colon": with_lines("nothing\r\n"),
        "a header without a name": with_lines(": a\r\n"),
        "a folded header": with_lines("X: a\r\n b\r\n"),
        "a header with a null": with_lines("X: a\0b\r\n"),
        "a space before the colon": with_lines("X : a\r\n"),
        "no host": start.replace("Host: soak\r\n", "").encode() + end,
        "HTTP/1.0": start.replace("HTTP/1.1", "HTTP/1.0").encode() + end,
        "HTTP/9.9": start.replace("HTTP/1.1", "HTTP/9.9").encode() + end,
        "an unknown expectation": with_lines("Expect: a miracle\r\n"),
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300) + b"\r\n\r\n",
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "an upgrade to HTTP/2": with_lines(
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n"
        ),
    }
