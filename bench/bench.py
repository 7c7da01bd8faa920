"""Measure how fast the service answers, check every answer, and write a report with curves.

The load is closed: each client sends its next request when it has the answer to the last one. The load generator,
wrk, takes its share of the same cores.
"""

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw
from tqdm import tqdm

from bench.load import require, run_wrk
from bench.machine import describe_machine
from bench.service import ensure_service, sum_cpu_seconds, sum_memory_mb
from evaluate.document import Section, Table, align, write_report
from evaluate.pictures import png
from evaluate.style import figure_style, save
from operate.client import Client, ServiceError
from operate.config import OperatorError, read_config
from train.mnist import read_test

CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BULK = (1, 4, 16, 64, 256, 1024)
SIDES_PX = (28, 100, 300, 640, 1200, 2400, 4000)

# One measured point: requests, seconds, wrong, failed, p50, p95, p99 (ms) and what follows from them.
Point = dict[str, float]


def main() -> int:
    """Return 0 if every answer was right, 1 if one was not or nothing could be measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--url", help="address of the inference API (that of config.properties)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="picture to send (MNIST's first test picture)")
    parser.add_argument("--seconds", type=float, default=4, help="length of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each point; medians count (%(default)s)")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="write report.md, report.html, curves and bench.json there"
    )
    options = parser.parse_args()
    try:
        require("wrk")
        client = Client(read_config(), options.url)
        with ensure_service(client), tempfile.TemporaryDirectory() as scratch:
            picture = options.picture
            if not picture:
                picture = Path(scratch) / "7.png"
                picture.write_bytes(png(read_test()[0][0, 0].numpy()))
            digit = int(client.predict(picture.read_bytes())["digit"])
            load = measure_load(client, picture, digit, options.seconds, options.rounds)
            bulk = {count: measure_bulk(client, count, options.seconds) for count in BULK}
            sizes = {side: measure_size(client, side) for side in SIDES_PX}
            results = {"machine": describe_machine(), "load": load, "bulk": bulk, "sizes": sizes}
    except (OperatorError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(align(tabulate(load)))
    if options.report:
        options.report.mkdir(parents=True, exist_ok=True)
        (options.report / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
        write_report(options.report, "How fast the service answers", describe(results))
        print(f"Wrote {options.report / 'report.md'}.")
    bad = sum(point["wrong"] + point["failed"] for point in load.values())
    if bad:
        print(f"{bad:.0f} answers were wrong or missing.", file=sys.stderr)
    return 1 if bad else 0


def measure_load(client: Client, picture: Path, digit: int, seconds: float, rounds: int) -> dict[int, Point]:
    """Return the medians over the rounds for each number of clients."""
    measure_point(client, picture, digit, 64, seconds)
    points: dict[int, list[Point]] = {clients: [] for clients in CLIENTS}
    with tqdm(total=rounds * len(CLIENTS), unit="point", leave=False, disable=None) as bar:
        for _ in range(rounds):
            for clients in CLIENTS:
                points[clients].append(measure_point(client, picture, digit, clients, seconds))
                bar.update()
    return {
        clients: {
            name: (sum if name in ("wrong", "failed") else statistics.median)([point[name] for point in measured])
            for name in measured[0]
        }
        for clients, measured in points.items()
    }


def measure_point(client: Client, picture: Path, digit: int, clients: int, seconds: float) -> Point:
    """Return one point, measured with wrk."""
    before = sum_cpu_seconds()
    printed = run_wrk("bench.lua", client, clients, seconds, PICTURE=str(picture), DIGIT=str(digit))
    used = sum_cpu_seconds() - before
    results = [line for line in printed.splitlines() if line.startswith("RESULT ")]
    if not results:
        raise ServiceError(f"wrk failed: {printed.strip()}")
    point: Point = json.loads(results[0].removeprefix("RESULT "))
    point["rate"] = point["requests"] / point["seconds"]
    point["cpu_ms"] = 1e3 * used / max(1, point["requests"])
    point["memory_mb"] = sum_memory_mb()
    return point


def measure_bulk(client: Client, count: int, seconds: float) -> float:
    """Return how many pictures a second are read from tensors of that many, sent by two clients."""
    pixels = np.zeros((count, 28, 28), np.uint8)
    pixels[:, 4:24, 12:16] = 255
    end = time.monotonic() + seconds

    def send(_: int) -> int:
        done = 0
        while time.monotonic() < end:
            digits = client.infer(pixels)["digit"]
            if set(digits) != {1}:
                raise ServiceError(f"A tensor of ones was read wrong: {digits[:100]}")
            done += count
        return done

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(send, range(2))) / seconds


def measure_size(client: Client, side: int) -> float:
    """Return the median milliseconds of a lone request for a JPEG of this side: a 7 on shaded paper."""
    page = Image.new("L", (side, side), 0)
    seven = [(0.3 * side, 0.25 * side), (0.7 * side, 0.25 * side), (0.45 * side, 0.78 * side)]
    ImageDraw.Draw(page).line(seven, fill=255, width=max(2, side // 16), joint="curve")
    noise = np.random.default_rng(0).normal(0, 2, (side, side))
    paper = np.linspace(240, 150, side)[None] * (1 - 0.6 * np.asarray(page, np.float32) / 255) + noise
    file = io.BytesIO()
    Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    times = []
    for _ in range(15):
        started = time.perf_counter()
        if client.predict(file.getvalue())["digit"] != 7:
            raise ServiceError(f"A 7 of {side}x{side} pixels was read as another digit.")
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def tabulate(load: dict[int, Point]) -> Table:
    """Return the load curve as a table."""
    table = [["clients", "requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms/request", "PSS MB", "wrong", "failed"]]
    for clients, point in load.items():
        cells = [f"{point['rate']:,.0f}", *(f"{point[name]:.2f}" for name in ("p50", "p95", "p99", "cpu_ms"))]
        table.append([str(clients), *cells, *(f"{point[name]:.0f}" for name in ("memory_mb", "wrong", "failed"))])
    return table


def describe(results: dict[str, Any]) -> list[Section]:
    """Return the sections of the report."""
    known = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in results["machine"].items())
    bulk = [["pictures in a tensor", "pictures/s"], *([str(n), f"{rate:,.0f}"] for n, rate in results["bulk"].items())]
    sizes = [["side of a JPEG, pixels", "ms, alone"], *([str(n), f"{ms:.1f}"] for n, ms in results["sizes"].items())]
    curves = {"Throughput, latency, cost, memory, bulk, picture size": ("bench.png", plot(results))}
    return [
        Section("Load", f"The machine: {known}.", [tabulate(results["load"])], curves),
        Section("Bulk", "Two clients send tensors of that many pictures, one after the other.", [bulk]),
        Section("Picture size", "A lone client sends a 7 on shaded paper; medians.", [sizes]),
    ]


@figure_style()
def plot(results: dict[str, Any]) -> bytes:
    """Draw throughput, latency, cost, memory, bulk and picture size."""
    load = results["load"]
    clients = list(load)
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    (rate, latency, cost), (memory, bulk, size) = axes
    rate.plot(clients, [point["rate"] for point in load.values()], "o-")
    rate.set(title="Throughput", xlabel="clients", ylabel="requests/s", ylim=(0, None))
    for name in ("p50", "p95", "p99"):
        latency.plot(clients, [point[name] for point in load.values()], "o-", label=name)
    latency.set(title="Latency", xlabel="clients", ylabel="ms", yscale="log")
    latency.legend()
    cost.plot(clients, [point["cpu_ms"] for point in load.values()], "o-")
    cost.set(title="Processor time", xlabel="clients", ylabel="ms/request", ylim=(0, None))
    memory.plot(clients, [point["memory_mb"] for point in load.values()], "o-")
    most = max(point["memory_mb"] for point in load.values())
    memory.set(title="Memory", xlabel="clients", ylabel="PSS, MB", ylim=(0, 1.2 * most))
    bulk.plot(list(results["bulk"]), list(results["bulk"].values()), "o-")
    bulk.set(title="Bulk", xlabel="pictures in a tensor", ylabel="pictures/s", ylim=(0, None))
    size.plot(list(results["sizes"]), list(results["sizes"].values()), "o-")
    size.set(title="Picture size, one client", xlabel="side of a JPEG, pixels", ylabel="ms", ylim=(0, None))
    latency.yaxis.set_major_formatter("{x:g}")
    latency.yaxis.set_minor_formatter("{x:g}")
    for axis in (rate, latency, cost, memory, bulk):
        axis.set_xscale("log", base=2)
        axis.set_xticks(BULK if axis is bulk else clients)
        axis.xaxis.set_major_formatter("{x:g}")
    return save(figure)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
