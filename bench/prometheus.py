"""Runs a Prometheus that watches one service by the rules of docker/prometheus, and queries it."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from operate.config import ROOT, OperatorError

SHIPPED = ROOT / "docker" / "prometheus"
START_TIMEOUT_S = 30
POLL_S = 0.05

# The labels of a series, and its samples: seconds since 1970 and values.
Series = tuple[dict[str, str], list[tuple[float, float]]]


class PrometheusError(OperatorError):
    """Why Prometheus does not run or cannot answer."""


@contextmanager
def run_prometheus(target: str, folder: Path, port: int) -> Iterator[str]:
    """Watch the metrics at host:port each second while the context lasts; yield Prometheus's http://host:port.

    Everything but the target and the interval is as shipped. Raises PrometheusError if it does not start.
    """
    config = (SHIPPED / "prometheus.yml").read_text()
    for shipped, ours in {"service:8082": target, "15s": "1s", "alerts.yml": str(SHIPPED / "alerts.yml")}.items():
        config = config.replace(shipped, ours)
    (folder / "prometheus.yml").write_text(config)
    address, log = f"127.0.0.1:{port}", folder / "prometheus.log"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with log.open("w") as output:
        prometheus = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until_ready(f"http://{address}", prometheus, log)
        yield f"http://{address}"
    finally:
        prometheus.terminate()
        prometheus.wait()


def wait_until_ready(address: str, prometheus: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when Prometheus has scraped the service once. Raises PrometheusError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and prometheus.poll() is None:
        # It refuses connections at first, then answers in plain text until it is ready.
        with suppress(requests.ConnectionError, requests.JSONDecodeError):
            if query(address, "up == 1"):
                return
        time.sleep(POLL_S)
    raise PrometheusError(f"Prometheus got no metrics; {log} says why.")


def query(address: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """Return the labels and the value of each series now. Raises PrometheusError."""
    result = get(address, "query", query=expression)["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


def query_range(address: str, expression: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
    """Return the series between two times since 1970. Raises PrometheusError."""
    result = get(address, "query_range", query=expression, start=start_s, end=end_s, step=step_s)["result"]
    return [
        (series["metric"], [(float(second), float(value)) for second, value in series["values"]]) for series in result
    ]


def get(address: str, endpoint: str, **parameters: str | float) -> dict[str, Any]:
    """Return the data of an answer of Prometheus's HTTP API. Raises PrometheusError for an error or a warning."""
    response = requests.get(f"{address}/api/v1/{endpoint}", params=parameters, timeout=30)
    answer = response.json()
    if answer["status"] != "success" or answer.get("warnings"):
        raise PrometheusError(f"Prometheus answered {parameters} with: {answer.get('error') or answer['warnings']}.")
    data: dict[str, Any] = answer["data"]
    return data
