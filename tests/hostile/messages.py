"""Hostile messages: odd heads of requests, JSON of wrong shapes and types, and multipart forms."""

import base64
import json
from typing import Any

from hypothesis import strategies as st

from tests.harness.service import EXAMPLES
from tests.model.pictures import FILES

Json = Any

PICTURE = min((path.read_bytes() for path in EXAMPLES.values()), key=len)
ENCODED = base64.b64encode(PICTURE).decode()
PIXELS = {"name": "pixels", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
# Right messages of each protocol, to be changed.
MESSAGES: list[Json] = [
    {"instances": [{"b64": ENCODED}, {"b64": ENCODED}]},
    {"instances": [[[0] * 28] * 28]},
    {"data": ENCODED, "read": "numbers"},
    {"id": "a", "inputs": [PIXELS], "outputs": [{"name": "digit", "parameters": {"binary_data": True}}]},
    {
        "inputs": [{"name": "pictures", "shape": [1], "datatype": "BYTES", "data": [ENCODED]}],
        "parameters": {"read": "numbers"},
    },
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "pixels", "b64", "data:image/png;base64,", "\x00", "\ud800", 10**400, 2**63, 1e308]),
    st.sampled_from(["UINT8", "BYTES", "FP32", "FP16", "INT64", "UINT64", "BOOL", "uint8", "FP999"]),
    st.lists(st.sampled_from([0, 1, 28, -1, 784, 2**31, 2**63, 1.5, "1"]), max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def changed_messages(draw: st.DrawFn) -> bytes:
    """Draw a message of one of the protocols with parts replaced, dropped, wrapped or renamed.

    It may hold what JSON does not know: NaN, numbers without end, lone surrogates.
    """
    message = json.loads(json.dumps(draw(st.sampled_from(MESSAGES))))
    for _ in range(draw(st.integers(1, 3))):
        node: Json = message
        for _ in range(draw(st.integers(0, 4))):
            inner = list(node.values()) if isinstance(node, dict) else node
            containers = [each for each in inner[:4] if isinstance(each, dict | list) and each]
            if not containers:
                break
            node = draw(st.sampled_from(containers))
        keys = list(node) if isinstance(node, dict) else list(range(min(4, len(node))))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        kind = draw(st.sampled_from(("replace", "drop", "wrap", "rename")))
        if kind == "replace":
            node[key] = draw(VALUES)
        elif kind == "drop":
            del node[key]
        elif kind == "wrap":
            for _ in range(draw(st.sampled_from((1, 2, 50)))):
                node[key] = [node[key]] if draw(st.booleans()) else {"b64": node[key]}
        elif isinstance(node, dict):
            node[draw(st.text(max_size=8))] = node.pop(key)
    return json.dumps(message).encode()


UNITS = (b"a", b"%41", b"%", b"a.", b"../", b"/", b"a=&", b";", b":", b"\\", b'"', b"\t", b"\x7f", b"\xff", b"{", b"")
REPEATED = st.builds(lambda unit, times: unit * times, st.sampled_from(UNITS), st.sampled_from((1, 2, 100, 1000, 3000)))


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Draw a request without a body, some parts of whose head are replaced, or preceded or followed by many of a kind.

    After its one answer the connection is to be closed.
    """
    methods = (b"GET", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE")
    paths = (
        b"/predictions/mnist",
        b"/v1/models/mnist:predict",
        b"/v2/models/mnist/infer",
        b"/v2",
        b"/openapi.json",
        b"*",
    )
    parts = [draw(st.sampled_from(methods)), b" ", draw(st.sampled_from(paths)), b" ", b"HTTP/1.1"]
    parts += [b"\r\n", b"Host", b":", b" ", b"digits"]
    for _ in range(draw(st.integers(1, 2))):
        place, repeated = draw(st.integers(0, len(parts) - 1)), draw(REPEATED)
        parts[place] = draw(st.sampled_from((repeated, parts[place] + repeated, repeated + parts[place])))
    return b"".join(parts) + b"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


DEEP = 100_000
LONG = 1_000_000
TENSOR = b'{"inputs":[{"name":"pixels","datatype":"UINT8","data":[],"shape":['
# Messages that are too deep, too long or no JSON, by name.
EXTREME = {
    "lists in lists": b"[" * DEEP,
    "closed lists in lists": b"[" * DEEP + b"]" * DEEP,
    "objects in objects": b'{"data":' * DEEP + b"1" + b"}" * DEEP,
    "instances in instances": b'{"instances":[' * DEEP + b"]}" * DEEP,
    "a million numbers": b'{"instances":[[' + b"0," * LONG + b"0]]}",
    "a million empty instances": b'{"instances":[' + b"{}," * LONG + b"{}]}",
    "a number of a million digits": b'{"data":' + b"9" * LONG + b"}",
    "a shape of a million sizes": TENSOR + b"1," * LONG + b"1]}]}",
    "a shape whose product overflows": TENSOR + b"4294967296,4294967296,28,28]}]}",
    "the same key 500,000 times": b"{" + b'"data":1,' * (LONG // 2) + b'"data":1}',
    "not UTF-8": b'{"data":"\xff\xfe"}',
    "a byte order mark alone": b"\xef\xbb\xbf",
    "UTF-16": '{"data": "AAAA"}'.encode("utf-16"),
}

NAMES = ["a", "b", "", '"', "mask", "read", "body", "\xe5", "a" * 5000, "../../etc/passwd"]
DISPOSITIONS = [
    'Content-Disposition: form-data; name="{name}"',
    'Content-Disposition: form-data; name="{name}"; filename="{name}"',
    "Content-Disposition: form-data; name={name}; filename*=UTF-8''%ff%zz",
    "Content-Disposition: attachment; name={name}",
    "Content-Disposition:",
    "X: y",
    "",
]
PART_LINES = [
    "",
    "\r\nContent-Type: image/png",
    "\r\nContent-Type: text/plain; charset=none",
    "\r\nContent-Type: multipart/mixed; boundary=y",
    "\r\nContent-Transfer-Encoding: base64",
    "\r\nContent-Length: 99999999999",
]


@st.composite
def forms(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw the content type and the body of a multipart form, mostly a malformed one."""
    boundary = draw(st.sampled_from(["x", "-" * 70, "a b", '"', "x" * 3000, "", "\xe5", "x; charset=none"]))
    line = f"--{boundary}".encode("latin-1")
    body = bytearray()
    for _ in range(draw(st.integers(0, 5))):
        head = draw(st.sampled_from(DISPOSITIONS)).format(name=draw(st.sampled_from(NAMES)))
        head += draw(st.sampled_from(PART_LINES))
        content = draw(st.sampled_from([*FILES.values(), line]) | st.binary(max_size=100))
        ends = draw(st.sampled_from([b"\r\n", b"\n", b""]))
        body += line + ends + head.encode("latin-1") + ends * 2 + content + ends
    body += draw(st.sampled_from([line + b"--\r\n", line, b"--", b""]))
    return f"multipart/form-data; boundary={boundary}", bytes(body)
