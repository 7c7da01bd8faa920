"""Measure how fast the running service answers, and check every answer.

The load is closed: each client sends its next request when it has the answer to the last one. The load generator,
wrk, takes its share of the same cores.
"""

import argparse
import gzip
import io
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageDraw
from tqdm import tqdm

from bench.processes import find_service, sum_cpu_seconds, sum_memory_mb
from operate.client import Client, ServiceError
from operate.command import run
from operate.config import ROOT, OperatorError, read_config

CLIENTS = (1, 8, 64, 256, 512)
BULK = (1, 4, 16, 64, 256, 1024)
SIDES_PX = (28, 100, 300, 640, 1200, 2400, 4000)
MNIST = ROOT / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
# The columns of the load table: each value's heading and format.
COLUMNS = {
    "rate": ("requests/s", ",.0f"),
    "p50": ("p50 ms", ".2f"),
    "p95": ("p95 ms", ".2f"),
    "p99": ("p99 ms", ".2f"),
    "cpu_ms": ("CPU ms/request", ".2f"),
    "memory_mb": ("PSS MB", ".0f"),
    "wrong": ("wrong", ".0f"),
    "failed": ("failed", ".0f"),
}

# One measured point: the values of COLUMNS; processor time and memory only if the service is on this machine.
Point = dict[str, float]

progress = partial(tqdm, leave=False, disable=None)


def main() -> int:
    """Return 0 if every answer was right, 1 if one was not. Raises OperatorError, OSError."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--url", help="address of the inference API (that of config.properties)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="picture to send (MNIST's first test picture)")
    parser.add_argument("--seconds", type=float, default=4, help="length of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each point; medians count (%(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the tables there too, in Markdown")
    options = parser.parse_args()
    try:
        if not shutil.which("wrk"):
            raise OperatorError("wrk is missing: install it first (Debian: apt install wrk).")
        client = Client(read_config(), options.url)
        picture = options.picture.read_bytes() if options.picture else draw_mnist()
        load = measure_load(client, picture, options.seconds, options.rounds)
        bulk = {count: measure_bulk(client, count, options.seconds) for count in progress(BULK, desc="bulk")}
        sizes = {side: measure_size(client, side) for side in progress(SIDES_PX, desc="picture size")}
        report = describe(client, load, bulk, sizes)
        print(report, end="")
        if options.report:
            options.report.write_text(report)
    except psutil.NoSuchProcess as cause:
        raise OperatorError("A process of the service ended while it was measured: see its logs.") from cause
    bad = sum(point["wrong"] + point["failed"] for point in load.values())
    if bad:
        print(f"{bad:.0f} answers were wrong or missing.", file=sys.stderr)
    return 1 if bad else 0


def draw_mnist() -> bytes:
    """Return MNIST's first test picture, a 7, as a PNG file."""
    # Pixels come after a header of 16 bytes.
    pixels = np.frombuffer(gzip.decompress(MNIST.read_bytes()), np.uint8, 28 * 28, offset=16)
    file = io.BytesIO()
    Image.fromarray(pixels.reshape(28, 28)).save(file, "PNG")
    return file.getvalue()


def measure_load(client: Client, picture: bytes, seconds: float, rounds: int) -> dict[int, Point]:
    """Return the medians over the rounds for each number of clients. Raises ServiceError."""
    digit = int(client.predict(picture)["digit"])
    points: dict[int, list[Point]] = {clients: [] for clients in CLIENTS}
    with tempfile.NamedTemporaryFile() as file:
        file.write(picture)
        file.flush()
        # Java compiles what is used most.
        measure_point(client, file.name, digit, 64, seconds)
        for clients in progress(CLIENTS * rounds, desc="load"):
            points[clients].append(measure_point(client, file.name, digit, clients, seconds))
    return {
        clients: {
            name: (sum if name in ("wrong", "failed") else statistics.median)([point[name] for point in measured])
            for name in measured[0]
        }
        for clients, measured in points.items()
    }


def measure_point(client: Client, picture: str, digit: int, clients: int, seconds: float) -> Point:
    """Return one point, measured by sending a picture file with wrk. Raises ServiceError."""
    service = find_service(client.inference)
    before_s = sum_cpu_seconds(service)
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_name("bench.lua")), client.inference + client.predictions]
    environment = os.environ | {"PICTURE": picture, "DIGIT": str(digit)}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    _, found, result = run.stdout.partition("RESULT ")
    if run.returncode or not found:
        raise ServiceError(f"wrk failed: {(run.stderr or run.stdout).strip()}")
    point: Point = json.loads(result)
    requests = point.pop("requests")
    point["rate"] = requests / point.pop("seconds")
    if service:
        point["cpu_ms"] = 1e3 * (sum_cpu_seconds(service) - before_s) / max(1, requests)
        point["memory_mb"] = sum_memory_mb(service)
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


def describe(client: Client, load: dict[int, Point], bulk: dict[int, float], sizes: dict[int, float]) -> str:
    """Return the report in Markdown."""
    facts = describe_machine()
    if service := find_service(client.inference):
        facts["workers"] = sum("operate.worker" in process.cmdline() for process in service)
    parts = [
        f"This machine: {'; '.join(f'{name}: {value}' for name, value in facts.items())}.",
        tabulate(*list_load(load)),
        "Tensors from two clients:",
        tabulate(["pictures in a tensor", "pictures/s"], *([str(n), f"{rate:,.0f}"] for n, rate in bulk.items())),
        "A 7 on shaded paper from a lone client, medians:",
        tabulate(["side of a JPEG, pixels", "ms"], *([str(side), f"{ms:.1f}"] for side, ms in sizes.items())),
    ]
    return "\n\n".join(parts) + "\n"


def describe_machine() -> dict[str, str | int]:
    """Return the facts about the machine that the figures depend on."""
    processors = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", processors)
    return {
        "processor": name[1] if name else platform.machine(),
        "multiplies in": "bf16" if "bf16" in processors else "f32",
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "OpenVINO": version("openvino"),
    }


def list_load(load: dict[int, Point]) -> Iterator[list[str]]:
    """Yield the heading and the rows of the load table."""
    measured = load[CLIENTS[0]]
    columns = {name: column for name, column in COLUMNS.items() if name in measured}
    yield ["clients", *(heading for heading, _ in columns.values())]
    for clients, point in load.items():
        yield [str(clients), *(f"{point[name]:{form}}" for name, (_, form) in columns.items())]


def tabulate(*rows: Sequence[str]) -> str:
    """Return a heading and rows as a Markdown table that is aligned in a terminal too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *body = (f"| {' | '.join(map(str.rjust, row, widths))} |" for row in rows)
    return "\n".join([head, f"|{'|'.join('-' * (width + 1) + ':' for width in widths)}|", *body])


if __name__ == "__main__":
    run(main)
