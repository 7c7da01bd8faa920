"""The shipped gateway in front of the real TorchServe passes on what it should, and explains what it refuses."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from operate.config import ROOT
from operate.gateway import Gateway
from tests.docker.ask import PREDICTIONS, ask
from tests.harness.gateway import run_gateway
from tests.harness.service import EXAMPLES, Service, free_port, poll
from tests.versions import CURRENT

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()
V1 = json.dumps({"instances": [{"b64": base64.b64encode(SEVEN).decode()}]}).encode()
PIXELS = {"name": "pixels", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
V2 = json.dumps({"inputs": [PIXELS]}).encode()
ROUTES: dict[str, dict[str, Any]] = json.loads((ROOT / "server/src/digits/server/openapi.json").read_text())["paths"]


@pytest.mark.parametrize(
    ("line", "body", "part"),
    [
        (f"POST {PREDICTIONS}?a=query", SEVEN, b'"digit":7'),
        (f"PUT {PREDICTIONS}", SEVEN, b'"digit":7'),
        # A path is normalised before it is passed on.
        ("POST /ping/..//predictions/./mnist", SEVEN, b'"digit":7'),
        (f"POST /predictions/mnist/{CURRENT}", SEVEN, b'"digit":7'),
        ("POST /explanations/mnist", SEVEN, b'"saliency":[['),
        ("POST /v1/models/mnist:predict", V1, b'{"predictions":[{"digit":7'),
        ("POST /v2/models/mnist/infer", V2, b'"name":"digit"'),
    ],
)
def test_every_api_is_reached_through_the_gateway(line: str, body: bytes, part: bytes, gateway: Gateway) -> None:
    answer = ask(gateway, line, body=body)
    assert answer.status == 200
    assert part in answer.body


def test_pixels_may_follow_as_bytes(gateway: Gateway) -> None:
    head = json.dumps({"inputs": [{name: PIXELS[name] for name in ("name", "shape", "datatype")}]}).encode()
    length = f"Inference-Header-Content-Length: {len(head)}"
    answer = ask(gateway, "POST /v2/models/mnist/infer", length, body=head + bytes(784))
    assert answer.status == 200
    assert b'"name":"digit"' in answer.body


def test_the_services_error_for_a_bad_picture_passes(gateway: Gateway) -> None:
    answer = ask(gateway, f"POST {PREDICTIONS}", body=b"no picture")
    assert answer.status == 400
    assert answer.error.startswith("This is text, not a picture: send a PNG, JPEG, HEIC,")
    assert ask(gateway, "POST /predictions/nothing", body=SEVEN).status == 404


def test_a_ready_service_reads_a_digit(gateway: Gateway) -> None:
    answer = ask(gateway, "GET /ready")
    assert answer.status == 200
    assert json.loads(answer.body)["predictions"][0]["digit"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/ping",
        "/models",
        "/models/mnist",
        "/invocations",
        "/invocations/mnist",
        "/api-description",
        "/metrics",
        "/workflows",
        "/wfpredict/mnist",
        "/v1/models/mnist:classify",
        "/v2/models",
        "/v2/models/mnist/config",
        "/v2/repository/index",
        "/predictions/",
        f"/predictions/mnist/{CURRENT}/more",
        "/predictions/../ping",
        "/predictions/%2e%2e/models",
        "/predictions/mnist/..%2f..%2f..%2fmodels",
        "/predictions/mnist%3f/ping",
        "/predictions/mnist%0a",
        "/v2/health/ready%0a",
        "//etc/passwd",
        "/page/../../web/index.html",
        "/..%2fpyproject.toml",
        "/%2e%2e/pyproject.toml",
        "/nginx.conf",
        "/examples/README.md",
        "/error",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_else_can_be_reached(method: str, path: str, gateway: Gateway) -> None:
    answer = ask(gateway, f"{method} {path}")
    assert answer.status in (400, 404, 405)
    assert answer.error


@pytest.mark.parametrize("path", ["/openapi.json", *ROUTES])
def test_every_route_of_the_service_is_reached_with_its_methods(path: str, gateway: Gateway) -> None:
    is_read = "get" in ROUTES.get(path, ["get"])
    address = path.format(model="mnist", version=CURRENT)
    refused = ask(gateway, f"DELETE {address}")
    assert (refused.status, refused.headers["allow"]) == (405, "GET, HEAD" if is_read else "POST, PUT, OPTIONS")
    assert ask(gateway, f"{'GET' if is_read else 'POST'} {address}").status == (200 if is_read else 400)


@pytest.mark.parametrize(
    ("request_line", "status", "allow"),
    [
        (f"GET {PREDICTIONS}", 405, "POST, PUT, OPTIONS"),
        (f"DELETE {PREDICTIONS}", 405, "POST, PUT, OPTIONS"),
        (f"TRACE {PREDICTIONS}", 405, "POST, PUT, OPTIONS"),
        (f"OPTIONS {PREDICTIONS}", 204, "POST, PUT, OPTIONS"),
        ("OPTIONS /v1/models/mnist:predict", 204, "POST, PUT, OPTIONS"),
        ("POST /", 405, "GET, HEAD"),
        ("DELETE /page.js", 405, "GET, HEAD"),
        ("POST /ready", 405, "GET, HEAD"),
    ],
)
def test_only_useful_methods_pass(request_line: str, status: int, allow: str, gateway: Gateway) -> None:
    answer = ask(gateway, request_line, "Origin: http://elsewhere.example")
    assert answer.status == status
    assert answer.headers["allow"] == allow
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("status", "request_line", "header"),
    [
        (200, "GET /", "Accept: */*"),
        (200, "HEAD /style.css", "Accept: */*"),
        (200, "GET /config.json", "Accept: */*"),
        (200, f"POST {PREDICTIONS}", "Accept: */*"),
        (204, f"OPTIONS {PREDICTIONS}", "Accept: */*"),
        (400, "GET /", "A malformed header: a"),
        (400, "GET /../pyproject.toml", "Accept: */*"),
        (400, "GET /", f"X-Large: {'a' * 20_000}"),
        (404, "GET /nothing", "Accept: */*"),
        (404, "POST /predictions/nothing", "Accept: */*"),
        (405, "POST /", "Accept: */*"),
        (414, f"GET /{'a' * 20_000}", "Accept: */*"),
    ],
)
def test_every_answer_has_the_security_headers(status: int, request_line: str, header: str, gateway: Gateway) -> None:
    answer = ask(gateway, request_line, header, body=SEVEN if PREDICTIONS in request_line else b"")
    assert answer.status == status
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["server"] == "nginx"
    if status >= 400 and "nothing" not in request_line:
        assert answer.error


@pytest.mark.parametrize(
    ("request_line", "kind", "small"),
    [
        ("GET /", "text/html; charset=utf-8", False),
        ("GET /page.js", "text/javascript; charset=utf-8", False),
        ("GET /style.css", "text/css; charset=utf-8", False),
        ("GET /icon.svg", "image/svg+xml", True),
        ("POST /explanations/mnist", "application/json", False),
        (f"POST {PREDICTIONS}", "application/json", True),
    ],
)
def test_large_text_is_compressed(request_line: str, kind: str, small: bool, gateway: Gateway) -> None:
    body = SEVEN if request_line.startswith("POST") else b""
    plain = ask(gateway, request_line, body=body)
    packed = ask(gateway, request_line, "Accept-Encoding: gzip", body=body)
    assert packed.headers["content-type"] == plain.headers["content-type"] == kind
    assert packed.headers.get("content-encoding") == (None if small else "gzip")
    assert len(packed.body) <= len(plain.body) * (1 if small else 0.6)


def test_the_log_has_a_line_per_request_and_no_query(gateway: Gateway) -> None:
    def lines() -> list[str]:
        return [line for line in (gateway.folder / "printed").read_text().splitlines() if line.startswith("{")]

    before = len(lines())
    ask(gateway, f"POST {PREDICTIONS}?name=secret", body=SEVEN)
    poll(lambda: len(lines()) == before + 1)
    last = json.loads(lines()[-1])
    assert (last["method"], last["path"], last["status"]) == ("POST", PREDICTIONS, 200)
    assert last["received"] > len(SEVEN)
    assert 0 < float(last["upstream_seconds"]) <= last["seconds"] + 0.01
    assert "secret" not in "".join(lines())


def test_one_id_is_in_the_answer_and_in_the_logs_of_gateway_and_service(gateway: Gateway, service: Service) -> None:
    name, trace = "through.the_gateway-1", "4bf92f3577b34da6a3ce929d0e0e4736"
    traced = f"traceparent: 00-{trace}-00f067aa0ba902b7-01"
    answer = ask(gateway, f"POST {PREDICTIONS}", f"X-Request-Id: {name}", traced, body=SEVEN)
    assert answer.headers["x-request-id"] == name

    def find(log: Path) -> list[str]:
        return [line for line in log.read_text().splitlines() if name in line]

    logs = gateway.folder / "printed", service.config.path.parent / "access.log"
    poll(lambda: all(len(find(log)) == 1 for log in logs))
    line = json.loads(find(logs[0])[0])
    assert (line["request_id"], line["trace_id"]) == (name, trace)
    assert f" request_id={name} trace_id={trace} parent_id=00f067aa0ba902b7 " in find(logs[1])[0]


@pytest.mark.parametrize("request_line", ["GET /", f"POST {PREDICTIONS}", "POST /", "GET /nothing", "GET /../a"])
@pytest.mark.parametrize("given", ["X-Request-Id: a b", "X-Request-Id:", "X-Request-Id: a\r\nX-Request-Id: b c"])
def test_every_answer_has_a_usable_id(given: str, request_line: str, gateway: Gateway) -> None:
    answer = ask(gateway, request_line, given, body=SEVEN if PREDICTIONS in request_line else b"")
    assert re.fullmatch("[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])


@pytest.mark.skipif(
    not (shutil.which("openssl") and shutil.which("curl")),
    reason="needs openssl, curl (Debian: apt install openssl curl)",
)
def test_tls_is_switched_on(service: Service, tmp_path: Path) -> None:
    folder, port = tmp_path / "certificates", free_port()
    folder.mkdir()
    key, certificate = folder / "privkey.pem", folder / "fullchain.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    shipped: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "tls.yaml").read_text())["services"]["gateway"]
    origin = f"https://localhost:{port}"
    settings = shipped["environment"] | {"GATEWAY_HTTPS": f"127.0.0.1:{port}", "GATEWAY_ORIGIN": origin}
    with run_gateway(service.config.inference, certificates=folder, settings=settings) as gateway:
        sent = requests.get(gateway.address + "/page.js?a=b", allow_redirects=False, timeout=30)
        assert (sent.status_code, sent.headers["Location"]) == (308, origin + "/page.js?a=b")
        assert "Strict-Transport-Security" not in sent.headers

        curl = ["curl", "--silent", "--show-error", "--cacert", str(certificate), "--dump-header", "-"]
        curl += ["--http2", "-T", str(EXAMPLES[7]), origin + PREDICTIONS]
        answer = subprocess.run(curl, check=True, capture_output=True, text=True).stdout
        assert "HTTP/2 200" in answer
        assert "strict-transport-security: max-age=31536000" in answer
        assert '"digit":7' in answer
