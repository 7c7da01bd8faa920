"""Which port answers what to whom, in each shipped configuration; and that there are no other doors."""

import socket
import stat
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from operate import host
from operate.config import ROOT
from tests.harness.service import EXAMPLES, Service, start, stop, write_config

pytestmark = [pytest.mark.server, pytest.mark.slow]

SEVEN = EXAMPLES[7].read_bytes()
ELSEWHERE = "http://elsewhere.example"
# scripts/serve; the image of the service; service and gateway in one container.
CONFIGURATIONS = ("config.properties", "docker/config.properties", "operate.host")

# Who asks, as a browser or another program says it in the headers; PORT is the port's own number, PAGE the origin of
# the configured page, or else one of another site.
CLIENTS = {
    "curl": "Host: 127.0.0.1:PORT",
    "curl, by the name": "Host: localhost:PORT",
    "curl, shouting": "HOST: LOCALHOST.:PORT",
    "curl, IPv6": "Host: [::1]:PORT",
    "another container": "Host: service:PORT",
    "a gateway": "Host: torchserve",
    "the page": "Host: 127.0.0.1:PORT\nOrigin: PAGE",
    # For what changes nothing, browsers send no Origin; the page cannot read the answer.
    "a link or a picture in a web page": "Host: 127.0.0.1:PORT\nSec-Fetch-Site: cross-site",
    "its own page": "Host: localhost:PORT\nOrigin: http://localhost:PORT",
    "the page of another port": "Host: localhost:PORT\nOrigin: http://localhost",
    "a web page": f"Host: 127.0.0.1:PORT\nOrigin: {ELSEWHERE}",
    "a file in a browser": "Host: 127.0.0.1:PORT\nOrigin: null",
    "DNS rebinding": "Host: elsewhere.example:PORT",
    "DNS rebinding, a change": "Host: elsewhere.example:PORT\nOrigin: http://elsewhere.example:PORT",
    "userinfo": "Host: 127.0.0.1@elsewhere.example",
    "two hosts": "Host: 127.0.0.1:PORT\nHost: elsewhere.example",
    "no host": "X-None: 1",
}

LOCAL = {"curl", "curl, by the name", "curl, shouting", "curl, IPv6", "its own page"}
READERS = LOCAL | {"a link or a picture in a web page"}
NAMED = {"another container", "a gateway", "DNS rebinding"}
MALFORMED = {"two hosts", "no host", "userinfo"}
ANYONE = set(CLIENTS) - MALFORMED
PAGES = {"a web page", "a file in a browser", "DNS rebinding, a change", "its own page", "the page of another port"}

# Port, request line, and who gets an answer; the others get 403, or 400 if MALFORMED.
DOORS = [
    ("inference", "POST /predictions/mnist", ANYONE - PAGES),
    ("inference", "GET /v2/health/ready", ANYONE - PAGES),
    ("inference", "OPTIONS /predictions/mnist", ANYONE - PAGES),
    ("management", "GET /models", READERS),
    ("management", "POST /models?url=none.mar", LOCAL),
    ("management", "PUT /models/mnist?min_worker=2&max_worker=4", LOCAL),
    ("management", "DELETE /models/mnist/none", LOCAL),
    ("management", "OPTIONS /models", LOCAL),
    ("metrics", "GET /metrics", READERS),
]
# A path that another port has: TorchServe knows it only there.
NOWHERE = [
    ("inference", "GET /models"),
    ("inference", "POST /models?url=none.mar"),
    ("inference", "PUT /models/mnist?min_worker=2"),
    ("inference", "GET /metrics"),
    ("inference", "GET /token?type=management"),
    ("management", "POST /predictions/mnist"),
    ("management", "GET /metrics"),
    ("metrics", "GET /models"),
    ("metrics", "POST /models?url=none.mar"),
    ("metrics", "POST /predictions/mnist"),
]


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def configured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service in each shipped configuration, where its ports are free."""
    folder = tmp_path_factory.mktemp("doors")
    shipped = host.write_config(8080, folder / "host").path if request.param == "operate.host" else ROOT / request.param
    running = start(folder, write_config(folder, shipped))
    yield running
    stop(running)


def ask(address: str, line: str, client: str, page: str = ELSEWHERE, version: str = "HTTP/1.1") -> tuple[int, str]:
    """Send a request as a client would; return the status and the body of the answer."""
    port = urlsplit(address).port
    headers = CLIENTS[client].replace("PORT", str(port)).replace("PAGE", page).replace("\n", "\r\n")
    body = SEVEN if line.startswith("POST") else b""
    head = f"{line} {version}\r\n{headers}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        response = HTTPResponse(connection)
        response.begin()
        return response.status, response.read().decode()


@pytest.mark.parametrize(("port", "line", "welcome"), DOORS, ids=[f"{port} {line}" for port, line, _ in DOORS])
def test_a_port_answers_those_it_is_for(port: str, line: str, welcome: set[str], configured: Service) -> None:
    address = getattr(configured.config, port)
    page = configured.config.page
    # A gateway decides about pages where none is configured; and names of a network are known in it alone.
    if port == "inference":
        welcome = welcome | (set() if page else PAGES)
    if "//0.0.0.0:" in configured.config.values["metrics_address"] and port == "metrics":
        welcome = welcome | NAMED | {"DNS rebinding, a change"}
    for client in CLIENTS:
        if "Sec-Fetch" in CLIENTS[client] and not line.startswith("GET"):
            continue
        status, text = ask(address, line, client, page or ELSEWHERE)
        if client in welcome:
            assert status not in (403, 503), (client, text)
        elif client in MALFORMED:
            assert status == 400, (client, text)
        else:
            assert status == 403, (client, text)
            assert any(advice in text for advice in ("use localhost or", "use scripts/manage", "add it to")), text
            assert '"digit"' not in text
            assert "modelName" not in text


@pytest.mark.parametrize(("port", "line"), NOWHERE)
def test_no_port_does_the_work_of_another(port: str, line: str, configured: Service) -> None:
    assert ask(getattr(configured.config, port), line, "curl")[0] in (404, 405)


def test_the_host_in_a_whole_url_counts(configured: Service) -> None:
    for client in ("curl", "DNS rebinding"):
        assert ask(configured.config.management, "GET http://elsewhere.example/models", client)[0] == 403
        assert ask(configured.config.management, "GET http://127.0.0.1/models", client)[0] == 200


def test_an_old_client_without_a_host_is_served(configured: Service) -> None:
    for address, path in ((configured.config.management, "/models"), (configured.config.metrics, "/metrics")):
        assert ask(address, f"GET {path}", "no host", version="HTTP/1.0")[0] == 200
        assert ask(address, f"GET {path}", "DNS rebinding, a change", version="HTTP/1.0")[0] == (
            200 if "//0.0.0.0:" in configured.config.values["metrics_address"] and path == "/metrics" else 403
        )


def test_nothing_else_listens(configured: Service) -> None:
    config = configured.config
    names = ("inference_address", "management_address", "metrics_address", "cors_allowed_origin")
    expected = {urlsplit(config.values.get(name, "")).netloc for name in names}
    listening = {
        f"{connection.laddr.ip}:{connection.laddr.port}"
        for process in (psutil.Process(configured.process.pid), *configured.family)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == socket.SOCK_DGRAM
    }
    # Java listens on all addresses with an IPv6 socket.
    assert {each.replace(":::", "0.0.0.0:").removeprefix("::ffff:") for each in listening} == expected - {""}


def test_workers_listen_where_only_the_service_can_reach_them(configured: Service) -> None:
    (scratch,) = {
        Path(str(connection.laddr)).parent
        for process in configured.family
        for connection in process.net_connections("unix")
        if ".ts.sock." in str(connection.laddr)
    }
    assert len(list(scratch.glob(".ts.sock.*"))) == 2
    assert stat.S_IMODE(scratch.stat().st_mode) == 0o700
