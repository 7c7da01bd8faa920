"""The shipped gateway in front of the real TorchServe passes on what it should, and explains what it refuses."""

import base64
import json
import resource
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests
import yaml

from operate.client import Client, ServiceError
from operate.config import ROOT
from operate.gateway import Gateway
from soak.faults import frozen
from tests.services import EXAMPLES, Service, free_port, poll, run_gateway, start, stop, write_config
from tests.versions import CURRENT

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()
PREDICTIONS = "/predictions/mnist"
V1 = json.dumps({"instances": [{"b64": base64.b64encode(SEVEN).decode()}]}).encode()
PIXELS = {"name": "pixels", "shape": [1, 28, 28], "datatype": "UINT8", "data": [0] * 784}
V2 = json.dumps({"inputs": [PIXELS]}).encode()
ROUTES: dict[str, dict[str, Any]] = json.loads((ROOT / "server/src/digits/server/openapi.json").read_text())["paths"]


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


def ask(gateway: Gateway, request: str, *headers: str, body: bytes = b"", client: str = "127.0.0.1") -> Answer:
    """Send "METHOD path" just as it is, with headers as lines, from an address of this machine."""
    with connect(gateway, client) as connection:
        lines = [f"{request} HTTP/1.1", "Host: digits", "Connection: close", f"Content-Length: {len(body)}", *headers]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        return read(connection, request.split()[0])


def connect(gateway: Gateway, client: str = "127.0.0.1") -> socket.socket:
    """Return a connection to the gateway from an address of this machine."""
    address = urlsplit(gateway.address)
    return socket.create_connection((address.hostname, address.port), 60, (client, 0))


def read(connection: socket.socket, method: str) -> Answer:
    """Read one answer from a connection."""
    response = HTTPResponse(connection, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("digit", [1, 4, 7])
def test_pictures_are_read_through_the_gateway(digit: int, method: str, gateway: Gateway) -> None:
    answer = ask(gateway, f"{method} {PREDICTIONS}?a=query", body=EXAMPLES[digit].read_bytes())
    assert answer.status == 200
    assert json.loads(answer.body)["digit"] == digit


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        (f"/predictions/mnist/{CURRENT}", SEVEN, b'"digit":7'),
        ("/explanations/mnist", SEVEN, b'"saliency":[['),
        ("/v1/models/mnist:predict", V1, b'{"predictions":[{"digit":7'),
        ("/v2/models/mnist/infer", V2, b'"name":"digit"'),
    ],
)
def test_every_api_is_reached_through_the_gateway(path: str, body: bytes, part: bytes, gateway: Gateway) -> None:
    answer = ask(gateway, f"POST {path}", body=body)
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


@pytest.mark.parametrize("client", ["one piece", "pieces of unknown number"])
def test_the_limit_is_that_of_the_service(client: str, gateway: Gateway, service: Service) -> None:
    limit = service.config.max_request_bytes

    def send(size: int) -> Answer:
        if client == "one piece":
            return ask(gateway, f"POST {PREDICTIONS}", body=bytes(size))
        pieces = (bytes(size // 2), bytes(size - size // 2))
        response = requests.post(gateway.address + PREDICTIONS, data=iter(pieces), timeout=60)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content)

    assert send(limit).error.startswith("This is not a picture")
    refused = send(limit + 1)
    assert refused.status == 413
    assert refused.error == f"The request is too large: send at most {limit} bytes."


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


def test_a_path_is_normalised_before_it_is_passed_on(gateway: Gateway) -> None:
    answer = ask(gateway, "POST /ping/..//predictions/./mnist", body=SEVEN)
    assert json.loads(answer.body)["digit"] == 7


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


def test_an_unknown_version_of_http_gets_a_sentence(gateway: Gateway) -> None:
    with connect(gateway) as connection:
        connection.sendall(b"GET / HTTP/9.9\r\nHost: digits\r\n\r\n")
        answer = read(connection, "GET")
    assert (answer.status, answer.error) == (505, "This request cannot be answered.")


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


def test_a_client_over_its_rate_waits_and_others_do_not(gateway: Gateway) -> None:
    answers = (ask(gateway, "GET /icon.svg", client="127.0.0.2") for _ in range(10_000))
    refused = next(answer for answer in answers if answer.status != 200)
    assert refused.status == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.error == "Too many requests: try again in a second."
    assert ask(gateway, "GET /icon.svg", client="127.0.0.3").status == 200
    poll(lambda: ask(gateway, "GET /icon.svg", client="127.0.0.2").status == 200)


def test_our_client_takes_its_rate_limit_for_a_busy_service(gateway: Gateway, service: Service) -> None:
    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
            super().init_poolmanager(*sizes, **options, source_address=("127.0.0.6", 0))

    client = Client(service.config, gateway.address)
    client.session.mount("http://", Adapter())

    def is_rate_limited() -> bool:
        while ask(gateway, "GET /icon.svg", client="127.0.0.6").status != 429:
            pass
        try:
            client.predict(SEVEN)
        except ServiceError as error:
            return error.is_busy and not error.is_client_error
        return False

    poll(is_rate_limited)


def test_a_bulk_run_waits_while_its_rate_is_limited(gateway: Gateway, tmp_path: Path) -> None:
    # Each is large enough for a request of its own, which the gateway refuses while it is being sent.
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(EXAMPLES[5].read_bytes() + bytes(1_900_000))
    printed, refusal = (
        gateway.folder / "printed",
        '"path": "/predictions/mnist", "protocol": "HTTP/1.1", "status": 429,',
    )
    before = printed.read_text().count(refusal)
    command: list[str | Path] = [ROOT / "scripts" / "predict", tmp_path, "--url", gateway.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bulk:
        while printed.read_text().count(refusal) == before:
            assert bulk.poll() is None, "it ended before the gateway refused it"
            while ask(gateway, "GET /icon.svg").status != 429:
                pass
        digits = [line.split(": ")[1][0] for line in bulk.communicate(timeout=120)[0].splitlines()]
    assert (bulk.returncode, digits) == (0, ["5"] * 40)


def test_requests_in_flight_are_limited_per_client(gateway: Gateway) -> None:
    head = f"POST {PREDICTIONS} HTTP/1.1\r\nHost: digits\r\nContent-Length: 9\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(64):
            client = stack.enter_context(connect(gateway, "127.0.0.4"))
            client.sendall(head)
        poll(lambda: ask(gateway, "GET /icon.svg", client="127.0.0.4").status == 429)
        assert ask(gateway, "GET /icon.svg", client="127.0.0.5").status == 200
    poll(lambda: ask(gateway, "GET /icon.svg", client="127.0.0.4").status == 200)


def test_a_full_queue_becomes_a_429(gateway: Gateway) -> None:
    """More requests at once than may wait in the service, from many clients."""
    request = f"POST {PREDICTIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(SEVEN)}\r\n\r\n".encode() + SEVEN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(gateway, f"127.0.1.{number // 50 + 1}")) for number in range(1500)]
            for client in clients:
                client.sendall(request)
            answers = [read(client, "POST") for client in clients]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    answered = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert 0 < len(refused) < 500
    for answer in refused:
        assert answer.headers["retry-after"] == "1"
        assert answer.error == "Too many requests: try again in a second."
    assert all(b'"digit":7' in answer.body for answer in answered)
    # A slow machine is too slow for those that wait longest.
    assert {answer.status for answer in answers} <= {200, 429, 504}
    assert len(answered) > 0


@pytest.mark.slow
def test_slow_clients_are_cut_off(gateway: Gateway) -> None:
    begun = time.monotonic()
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(gateway)) for _ in range(2)]
        clients[0].sendall(b"GET / HTTP/1.1\r\nHost: dig")
        clients[1].sendall(f"POST {PREDICTIONS} HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12".encode())
        for client in clients:
            with suppress(ConnectionResetError):
                assert not client.recv(1000).startswith(b"HTTP/1.1 200")
    assert 5 < time.monotonic() - begun < 20


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


@pytest.mark.slow
def test_a_service_that_fails_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    running = start(tmp_path, write_config(tmp_path, ROOT / "docker" / "config.properties"))
    with run_gateway(running.config.inference) as gateway:

        def status(wanted: int) -> Answer:
            answer = ask(gateway, f"POST {PREDICTIONS}", body=SEVEN)
            assert ask(gateway, "GET /ready").status == answer.status == wanted
            return answer

        assert not [name for name in status(200).headers if name.startswith("access-control")]

        workers = running.config.management + "/models/mnist?synchronous=true"
        requests.put(workers + "&min_worker=0&max_worker=0", timeout=60)
        assert status(503).error == "The service is not ready: try again in a few seconds."
        requests.put(workers + "&min_worker=1&max_worker=1", timeout=60)
        status(200)

        stop(running)
        gone = status(503)
        assert gone.headers["retry-after"] == "5"
        assert gone.error == "The service is not ready: try again in a few seconds."
        assert requests.get(gateway.address, timeout=30).ok

        again = start(tmp_path, running.config.path)
        status(200)
        stop(again)


@pytest.mark.slow
@pytest.mark.parametrize(("timeout_s", "answers_after_s"), [(3, 6), (15, 15)])
def test_a_service_is_asked_twice_in_15_s_before_it_is_too_slow(
    timeout_s: int, answers_after_s: int, service: Service
) -> None:
    (java,) = psutil.Process(service.process.pid).children()
    with run_gateway(service.config.inference, settings={"GATEWAY_TIMEOUT": f"{timeout_s}s"}) as gateway:
        with frozen(java):
            begun = time.monotonic()
            late = ask(gateway, f"POST {PREDICTIONS}", body=SEVEN)
            assert answers_after_s <= time.monotonic() - begun < answers_after_s + 2
        assert (late.status, late.headers["retry-after"]) == (504, "5")
        assert late.error == "The service is too slow: try again in a few seconds."


@pytest.mark.slow
def test_a_request_is_answered_at_the_second_try(service: Service) -> None:
    (java,) = psutil.Process(service.process.pid).children()
    with (
        run_gateway(service.config.inference, settings={"GATEWAY_TIMEOUT": "3s"}) as gateway,
        ThreadPoolExecutor(1) as client,
    ):
        with frozen(java):
            answer = client.submit(ask, gateway, f"POST {PREDICTIONS}", body=SEVEN)
            time.sleep(4)
        assert answer.result().status == 200


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
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
