"""A Prometheus that watches one service by the rules of docker/prometheus."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from operate.config import ROOT
from tests.harness.service import free_port, poll

SHIPPED = ROOT / "docker" / "prometheus"


@contextmanager
def run_prometheus(target: str, folder: Path) -> Iterator[str]:
    """Watch the metrics at host:port each second while the context lasts; yield Prometheus's http://host:port.

    Everything but the target and the interval is as shipped.
    """
    config = (SHIPPED / "prometheus.yml").read_text()
    for shipped, ours in {"service:8082": target, "15s": "1s", "alerts.yml": str(SHIPPED / "alerts.yml")}.items():
        config = config.replace(shipped, ours)
    (folder / "prometheus.yml").write_text(config)
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("w") as output:
        prometheus = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )

    def has_scraped_once() -> bool:
        assert prometheus.poll() is None, f"Prometheus ended; see {folder}"
        # It refuses connections at first, then answers in plain text until it is ready.
        with suppress(requests.ConnectionError, requests.JSONDecodeError):
            return bool(query(f"http://{address}", "up == 1"))
        return False

    try:
        poll(has_scraped_once)
        yield f"http://{address}"
    finally:
        prometheus.terminate()
        prometheus.wait()


def query(address: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return the labels and the value of each series now."""
    result = get(address, "query", query=expression)["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


def get(address: str, endpoint: str, **parameters: str | float) -> dict[str, Any]:
    """Return the data of an answer of Prometheus's HTTP API, which must hold neither an error nor a warning."""
    response = requests.get(f"{address}/api/v1/{endpoint}", params=parameters, timeout=30)
    answer = response.json()
    assert answer["status"] == "success", answer
    assert not answer.get("warnings"), answer
    data: dict[str, Any] = answer["data"]
    return data
