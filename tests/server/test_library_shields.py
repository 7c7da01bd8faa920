"""What keeps the known findings about TorchServe's libraries out of reach, as SECURITY.md says."""

import re
import shutil
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from operate.config import ROOT
from tests.harness.management import remake
from tests.harness.service import EXAMPLES, Service, start, stop

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()


@pytest.mark.parametrize("port", ["inference", "management", "metrics"])
@pytest.mark.parametrize(
    "opening",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ],
    ids=["prior knowledge", "upgrade"],
)
def test_no_port_speaks_http_2(port: str, opening: bytes, service: Service) -> None:
    address = urlsplit(getattr(service.config, port))
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as client:
        client.sendall(opening)
        assert client.recv(1000).startswith((b"HTTP/1.1 4", b"HTTP/1.1 505"))


@pytest.mark.parametrize("encoding", ["br", "zstd", "snappy", "x-lzf", "bzip2"])
def test_bodies_are_unpacked_by_java_alone(encoding: str, service: Service) -> None:
    refused = requests.post(service.predictions, data=SEVEN, headers={"Content-Encoding": encoding}, timeout=30)
    assert refused.status_code == 415


@pytest.mark.parametrize("count", [129, 130_000])
def test_a_form_of_many_fields_is_refused_at_once(count: int, service: Service) -> None:
    fields = (f'--b\r\nContent-Disposition: form-data; name="{number:x}"\r\n\r\n\r\n' for number in range(count))
    form = "".join(fields).encode() + b"--b--\r\n"
    assert len(form) < service.config.max_request_bytes
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    started = time.monotonic()
    refused = requests.post(service.predictions, data=form, headers=headers, timeout=60)
    assert refused.status_code == 400
    assert "more than 128 fields" in refused.json()["error"]
    assert time.monotonic() - started < 5
    assert requests.post(service.predictions, data=SEVEN, timeout=30).json()["digit"] == 7


def test_logs_go_to_files_and_the_terminal_as_plain_lines() -> None:
    settings = (ROOT / "log4j2.xml").read_text()
    appenders = settings.partition("<Appenders>")[2].partition("</Appenders>")[0]
    assert set(re.findall(r"^    <(\w+)", appenders, re.MULTILINE)) == {"Console", "RollingFile"}
    assert set(re.findall(r"<(\w*Layout)", settings)) == {"PatternLayout"}


@pytest.mark.slow
def test_netty_and_log4j_are_those_of_server_lib(tmp_path: Path) -> None:
    log = tmp_path / "loaded"
    running = start(tmp_path, environment={"JAVA_TOOL_OPTIONS": f"-XX:AOTMode=off -Xlog:class+load:file={log}"})
    form = {"data": ("seven.jpg", SEVEN)}
    assert requests.post(running.predictions, files=form, timeout=30).json()["digit"] == 7
    stop(running)
    loaded = re.findall(r" (?:io\.netty|org\.apache\.logging\.log4j)\.\S+ source: file:(\S+)", log.read_text())
    assert len(loaded) > 500
    assert {Path(jar).parent for jar in loaded} == {ROOT / "server" / "lib"}


@pytest.mark.slow
def test_yaml_in_an_archive_makes_no_objects(service: Service, built: Path, tmp_path: Path) -> None:
    """An archive runs code in its worker, but its YAML none in the server: this one would ask a web server for it."""
    with socket.create_server(("127.0.0.1", 0)) as web:
        url = f"http://127.0.0.1:{web.getsockname()[1]}/"
        classes = f"!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL ['{url}']]]]"

        def name_classes(files: dict[str, bytes]) -> None:
            files["model-config.yaml"] += f"poison: {classes}\n".encode()

        shutil.copy(remake(built, tmp_path, "0.3.0", name_classes), service.config.model_store / "poison.mar")
        models = service.config.management + "/models"
        requests.post(models, params={"url": "poison.mar", "model_name": "poison"}, timeout=60)
        requests.delete(models + "/poison", timeout=60)
        (service.config.model_store / "poison.mar").unlink()
        web.settimeout(1)
        with pytest.raises(TimeoutError):
            web.accept()
