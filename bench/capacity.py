"""Measure what one pod serves under rising load, and which of Prometheus's figures rises with that load.

It starts a service and a Prometheus, and sends small pictures and photos: from clients that send one request after
the other, and at fixed rates, from thousands of clients that pause between requests. bench/autoscaling.py takes its
pods from the result. The load generator, wrk, takes its share of the same cores.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.load import require, run_wrk
from bench.machine import describe_machine
from bench.prometheus import get, run_prometheus
from bench.service import find_free_port, run_service, write_config
from evaluate.pictures import png
from operate.client import Client, ServiceError
from operate.config import ROOT, OperatorError, read_config
from train.mnist import read_test

MEASURED = ROOT / "docs" / "autoscaling" / "capacity.json"
PHOTO = ROOT / "examples" / "7.jpg"
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Requests a second; the last of each is more than two workers can do.
RATES = {
    "digits": (250, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000, 8000),
    "photos": (25, 50, 100, 150, 200, 250, 300, 350, 400, 600),
}
# Clients that pause: more than the queue has places.
MANY_CLIENTS = 2000
SETTLE_S = 2
CORES = psutil.cpu_count() or 1
WARM_UP_S = 15
# The share of all cores that other programs may take during a measurement.
MOST_OTHERS = 0.08
# How long a measurement is put off for that.
PATIENCE_S = 20
# How many times as many rounds are made at most, to replace disturbed measurements.
MOST_ROUNDS = 2
# What might mean load, {s} being the seconds over which it is taken.
FIGURES = {
    "busy": "sum(rate(digit_batch_ms_sum[{s}s])) / 1000 / sum(digit_ready_workers)",
    "sampled": "sum(avg_over_time(digit_waiting_requests[{s}s])) / sum(digit_ready_workers)",
    "waiting": "sum(rate(digit_queue_ms_sum[{s}s])) / 1000 / sum(digit_ready_workers)",
    "inside": "sum(rate(digit_request_ms_sum[{s}s])) / 1000 / sum(digit_ready_workers)",
    "queue_ms": "sum(rate(digit_queue_ms_sum[{s}s])) / sum(rate(digit_queue_ms_count[{s}s]))",
    "batch": "sum(rate(digit_batch_requests_sum[{s}s])) / sum(rate(digit_batch_requests_count[{s}s]))",
}

# One measured point: served and refused requests a second, p50 and p99 in ms, processor time as a share of the cores,
# and the figures above.
Point = dict[str, float]


def main() -> int:
    """Return 0 when everything was measured, 1 with a sentence if it could not be."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--seconds", type=int, default=8, help="length of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each point; medians count (%(default)s)")
    parser.add_argument("--output", type=Path, default=MEASURED, metavar="FILE", help="(%(default)s)")
    options = parser.parse_args()
    try:
        require("prometheus", "wrk")
        results = measure(options.seconds, options.rounds, lambda point: print(json.dumps(point), flush=True))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    except (OperatorError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Wrote {options.output}.")
    return 0


def measure(seconds: int, rounds: int, note: Callable[[Point], None]) -> dict[str, object]:
    """Return every point by kind of picture, way of sending and load; tell of each measurement as it is made.

    The points take turns, so that a disturbance spoils no point in all rounds.
    """
    measured: dict[tuple[str, str, int], list[Point]] = {
        (kind, way, load): []
        for kind, rates in RATES.items()
        for way, loads in {"closed": CLIENTS, "open": rates}.items()
        for load in loads
    }
    with run_watched_service() as (client, service, prometheus), tempfile.TemporaryDirectory() as scratch:
        digit = Path(scratch) / "7.png"
        digit.write_bytes(png(read_test()[0][0, 0].numpy()))
        pictures = {"digits": digit, "photos": PHOTO}
        machine = describe_machine()
        for picture in pictures.values():
            send(client, picture, 64, 0, WARM_UP_S)
        for _ in range(MOST_ROUNDS * rounds):
            for (kind, way, load), points in measured.items():
                if sum(map(is_quiet, points)) < rounds:
                    clients, rate = (load, 0) if way == "closed" else (MANY_CLIENTS, load)
                    point = measure_point(service, client, pictures[kind], clients, rate, seconds + SETTLE_S)
                    points.append({"load": load} | point | read_figures(prometheus, seconds))
                    note(points[-1])
    results: dict[str, dict[str, list[Point]]] = {kind: {"closed": [], "open": []} for kind in RATES}
    for (kind, way, _), points in measured.items():
        results[kind][way].append(take_medians(points))
    return {"machine": machine, "seconds": seconds, "rounds": rounds} | results


def measure_point(
    service: psutil.Process, client: Client, picture: Path, clients: int, rate: int, seconds: int
) -> Point:
    """Return one point, with the share of the cores that the service took, and that other programs did."""
    deadline = time.monotonic() + PATIENCE_S
    while take_cpu_shares(service, lambda: time.sleep(1))[1] > MOST_OTHERS and time.monotonic() < deadline:
        pass
    point: Point = {}
    served, others = take_cpu_shares(service, lambda: point.update(send(client, picture, clients, rate, seconds)))
    return point | {"cpu": served, "others": others}


def is_quiet(point: Point) -> bool:
    """Whether other programs left the cores alone."""
    return point["others"] <= MOST_OTHERS


def take_cpu_shares(service: psutil.Process, action: Callable[[], None]) -> tuple[float, float]:
    """Return the shares of all cores that the service and that programs not of this run took during an action."""
    started, before = time.monotonic(), count_cpu_seconds(service)
    action()
    seconds = CORES * (time.monotonic() - started)
    served, ours, every = (after - each for after, each in zip(count_cpu_seconds(service), before, strict=True))
    return served / seconds, max(0, every - ours) / seconds


def count_cpu_seconds(service: psutil.Process) -> tuple[float, float, float]:
    """Return the processor time so far of the service, of this run with all that it started, and of the machine."""
    this = psutil.Process()
    every = psutil.cpu_times()
    return (
        sum_times([service, *service.children(recursive=True)]),
        sum_times([this, *this.children(recursive=True)]) + sum(this.cpu_times()[2:4]),
        sum(every[:3]) + sum(every[5:8]),
    )


def sum_times(processes: list[psutil.Process]) -> float:
    """Return the processor time that processes have taken so far, in seconds."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def take_medians(points: list[Point]) -> Point:
    """Return the median of each figure over the quiet measurements, or the least disturbed one if none is quiet."""
    quiet = [point for point in points if is_quiet(point)] or [min(points, key=lambda point: point["others"])]
    medians = {name: statistics.median(point[name] for point in quiet) for name in quiet[0]}
    return medians | {
        f"{name}_range": max(point[name] for point in quiet) - min(point[name] for point in quiet)
        for name in ("sampled", "waiting", "busy", "served")
    }


@contextmanager
def run_watched_service() -> Iterator[tuple[Client, psutil.Process, str]]:
    """Run a service on free ports and its Prometheus; yield a client, the process and Prometheus's address."""
    with tempfile.TemporaryDirectory() as scratch:
        config = read_config(write_config(Path(scratch)))
        with (
            run_service(config) as service,
            run_prometheus(config.metrics.removeprefix("http://"), Path(scratch), find_free_port()) as prometheus,
        ):
            yield Client(config), service, prometheus


def send(client: Client, picture: Path, clients: int, rate: int, seconds: int) -> Point:
    """Send a picture from that many clients, at that many requests a second or, if it is 0, without pauses."""
    think_ms = 1000 * clients / rate if rate else 0
    printed = run_wrk("open.lua", client, clients, seconds, PICTURE=str(picture), THINK_MS=str(think_ms))
    results = [line for line in printed.splitlines() if line.startswith("RESULT ")]
    if not results:
        raise ServiceError(f"wrk failed: {printed.strip()}")
    point: Point = json.loads(results[0].removeprefix("RESULT "))
    if point["failed"]:
        raise ServiceError(f"{point['failed']:.0f} answers were wrong or missing.")
    return {
        "offered": point["requests"] / point["seconds"],
        "served": (point["requests"] - point["refused"]) / point["seconds"],
        "refused": point["refused"] / point["seconds"],
        "p50": point["p50"],
        "p99": point["p99"],
    }


def read_figures(prometheus: str, seconds: int) -> Point:
    """Return the mean figures of the seconds that end now; a figure without requests is 0."""
    figures = {}
    for name, expression in FIGURES.items():
        result = get(prometheus, "query", query=expression.format(s=seconds), time=time.time() - 1)["result"]
        figures[name] = float(result[0]["value"][1])
    return figures


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
