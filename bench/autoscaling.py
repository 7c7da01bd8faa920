"""Simulate what the shipped autoscaler does on a day with a tenfold peak and in a tenfold spike, beside others.

The autoscaler is that of docker/kubernetes/production/autoscaling.yaml; a pod does what bench/capacity.py measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from bench.capacity import MEASURED, MOST_OTHERS, Point
from bench.fleet import SHIPPED, Capacity, Numbers, Run, Watch, read_capacity, select_stable, simulate
from bench.hpa import DOWN, UP, Autoscaler, Policy, read_manifest
from evaluate.document import Section, Table, align, write_report
from evaluate.style import BLUE, GREY, INK, ORANGE, figure_style, save
from operate.config import ROOT, OperatorError

MANIFEST = ROOT / "docker" / "kubernetes" / "production" / "autoscaling.yaml"
DAY_S = 24 * 3600
# Pictures: ten thousand million a day, ten times as many at noon as at midnight.
PER_DAY = 10e9
PEAK = 10
# The spike, in seconds: ten times as many within ten, for a quarter of an hour.
SPIKE_AT_S, SPIKE_RISE_S, SPIKE_S, SPIKE_END_S = 300, 10, 900, 1800
# What the photos' rows compare: the same autoscalers, a day of as many photos as the same pods can read.
PHOTO_VARIANTS = ("shipped", "down 20 %", "requests/s", "CPU 70 %, Kubernetes's behaviour")
# The load of each pod when a run starts.
START_LOAD = 2
LIGHT = "#8fb4e8"
# What metrics-server does.
RESOURCES = Watch(scrape_s=15, window_s=15, delay_s=15)


@dataclass(frozen=True)
class Variant:
    """An autoscaler to compare, how its metric reaches it, and what it did on the day and in the spike."""

    name: str
    autoscaler: Autoscaler
    watch: Watch
    day: Run
    spike: Run


def main() -> int:
    """Return 0 when the simulation is done, 1 with a sentence if what it needs is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.autoscaling", description=__doc__)
    parser.add_argument("--capacity", type=Path, default=MEASURED, metavar="FILE", help="of a pod (%(default)s)")
    parser.add_argument("--manifest", type=Path, default=MANIFEST, metavar="FILE", help="autoscaler (%(default)s)")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write report.md, report.html and curves there")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        measured = json.loads(options.capacity.read_text())
        shipped = read_manifest(options.manifest)
        digits, photos = (read_capacity(options.capacity, kind) for kind in ("digits", "photos"))
        listed = list_variants(shipped, digits)
        variants = [run(digits, name, *variant) for name, variant in listed.items()]
        fewer = PER_DAY * photos.most / digits.most
        for name in PHOTO_VARIANTS:
            variants.append(run(photos, f"photos: {name}", *listed[name], fewer))
        print(align(tabulate(variants)))
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
            write_report(options.report, "How the fleet scales", describe(measured, digits, photos, variants))
            print(f"Wrote {options.report / 'report.md'} after {time.monotonic() - started:.0f} s.")
    except (OperatorError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def list_variants(shipped: Autoscaler, capacity: Capacity) -> dict[str, tuple[Autoscaler, Watch]]:
    """Return the shipped autoscaler and what it is compared with: each differs from it in what its name says."""
    targets = (1.5, 2, 2.5, 3.5, 4)
    percent = [
        (direction, value, replace(getattr(shipped, direction), policies=(Policy("Percent", value, period_s),)))
        for direction, period_s, values in (("up", 15, (100, 200, 900)), ("down", 60, (10, 20)))
        for value in values
    ]
    peak = int(np.ceil(make_day(PER_DAY).max() / rate_at(capacity, shipped.target)))
    usual = replace(shipped, up=UP, down=DOWN)
    variants = {
        "shipped": shipped,
        **{f"target {target:g}": replace(shipped, target=target) for target in targets},
        **{f"{direction} {value} %": replace(shipped, **{direction: each}) for direction, value, each in percent},
        "down after 60 s, not 300": replace(shipped, down=replace(shipped.down, window_s=60)),
        "Kubernetes's own behaviour": usual,
        "waiting, not its root": replace(shipped, metric="waiting", target=shipped.target**2),
        "waiting, not its root, Kubernetes's behaviour": replace(usual, metric="waiting", target=shipped.target**2),
        "requests/s": replace(shipped, metric="rate", target=rate_at(capacity, shipped.target)),
        "busy share 80 %": replace(shipped, metric="busy", target=0.8),
        "CPU 70 %, Kubernetes's behaviour": replace(usual, metric="cpu", target=0.7),
        "CPU 90 %, Kubernetes's behaviour": replace(usual, metric="cpu", target=0.9),
        f"fixed: {peak} pods": replace(shipped, min_pods=peak, max_pods=peak),
    }
    watched = {name: (each, RESOURCES if each.metric == "cpu" else SHIPPED) for name, each in variants.items()}
    return watched | {"scraped each 5 s, rate of 30 s": (shipped, Watch(scrape_s=5, window_s=30, delay_s=5))}


def rate_at(capacity: Capacity, target: float) -> float:
    """Return the requests a second of a pod whose load, the root of the requests that wait, is that target."""
    return float(np.interp(target**2, capacity.figures["waiting"], capacity.rates))


def make_day(pictures: float) -> Numbers:
    """Return the requests of each second of a day of so many pictures, one each."""
    wave = np.cos(2 * np.pi * np.arange(DAY_S) / DAY_S)
    return pictures / DAY_S * (1 - (PEAK - 1) / (PEAK + 1) * wave)


def make_spike(low: float) -> Numbers:
    """Return the requests of each second around a spike from a low rate."""
    rise = [0, SPIKE_AT_S, SPIKE_AT_S + SPIKE_RISE_S]
    fall = [each + SPIKE_S for each in rise[1:]]
    rates = [low, low, PEAK * low, PEAK * low, low]
    return np.interp(np.arange(SPIKE_END_S), [*rise, *fall], rates)


def run(capacity: Capacity, name: str, autoscaler: Autoscaler, watch: Watch, pictures: float = PER_DAY) -> Variant:
    """Return what an autoscaler does on the day, and in a spike from the day's lowest rate."""
    offered = make_day(pictures)
    first = int(np.ceil(offered[0] / rate_at(capacity, START_LOAD)))
    start = min(max(first, autoscaler.min_pods), autoscaler.max_pods)
    day, spike = (simulate(capacity, each, autoscaler, start, watch) for each in (offered, make_spike(offered[0])))
    return Variant(name, autoscaler, watch, day, spike)


def tabulate(variants: Sequence[Variant]) -> Table:
    """Return what each variant did as a table."""
    table = [
        [
            *("", "day: pod-hours", "most pods", "changes", "p50 ms", "p99 ms", "refused per million"),
            *("spike: refused", "last refusal after", "most pods"),
        ]
    ]
    for variant in variants:
        day, spike = variant.day, variant.spike
        late = np.nonzero(spike.refused >= 1)[0]
        table.append(
            [
                variant.name,
                f"{day.pod_hours:,.0f}",
                f"{day.pods.max():.0f}",
                f"{np.count_nonzero(np.diff(day.pods)):,}",
                f"{np.median(day.p50):.1f}",
                f"{np.median(day.p99):.0f}",
                f"{1e6 * day.refused.sum() / day.offered.sum():,.0f}",
                f"{100 * count_lost(spike):.1f} %",
                f"{late[-1] - SPIKE_AT_S + 1} s" if len(late) else "",
                f"{spike.pods.max():.0f}",
            ]
        )
    return table


def count_lost(spike: Run) -> float:
    """Return the share of the requests in the spike that was refused."""
    during = slice(SPIKE_AT_S, SPIKE_AT_S + SPIKE_RISE_S + SPIKE_S)
    return float(spike.refused.sum() / spike.offered[during].sum())


def tabulate_load(points: Sequence[Point]) -> Table:
    """Return what was measured of a pod at fixed rates as a table."""
    table = [
        [
            *("requests/s sent", "answered", "refused", "p50 ms", "p99 ms", "CPU", "busy share"),
            *("requests in a batch", "waiting per worker", "its root", "waiting, sampled", "other programs"),
        ]
    ]
    for point in points:
        table.append(
            [f"{point[name]:,.0f}" for name in ("offered", "served", "refused")]
            + [f"{point[name]:.1f}" for name in ("p50", "p99")]
            + [f"{100 * point[name]:.0f} %" for name in ("cpu", "busy")]
            + [f"{point[name]:.{0 if point[name] >= 10 else 2}f}" for name in ("batch", "waiting")]
            + [f"{point['waiting'] ** 0.5:.2f}", f"{point['sampled']:.1f}", f"{100 * point['others']:.0f} %"]
        )
    return table


def tabulate_clients(points: Sequence[Point]) -> Table:
    """Return what was measured of a pod with clients that never pause as a table."""
    table = [["clients", "requests/s", "p50 ms", "p99 ms", "CPU", "busy share", "waiting per worker", "other programs"]]
    for point in points:
        table.append(
            [f"{point[name]:,.0f}" for name in ("load", "served")]
            + [f"{point[name]:.1f}" for name in ("p50", "p99")]
            + [f"{100 * point[name]:.0f} %" for name in ("cpu", "busy")]
            + [f"{point['waiting']:.2f}", f"{100 * point['others']:.0f} %"]
        )
    return table


def describe(
    measured: dict[str, Any], digits: Capacity, photos: Capacity, variants: Sequence[Variant]
) -> list[Section]:
    """Return the sections of the report."""
    shipped = variants[0]
    machine = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in measured["machine"].items())
    load = {"The figures that might mean load, and latency, by the rate": ("load.png", plot_load(measured))}
    by_cpu = next(variant for variant in variants if variant.autoscaler.metric == "cpu")
    drawn = "Requests, pods, latency and refusals"
    day = {f"{drawn} on the day": ("day.png", plot_run([shipped.day, by_cpu.day], DAY_S / 24))}
    spike = {f"{drawn} in the spike": ("spike.png", plot_run([shipped.spike, by_cpu.spike], 1))}
    return [
        Section(
            "One pod under load",
            f"The machine: {machine}, load generator included. Medians of {measured['rounds']} rounds of "
            f"{measured['seconds']} s. Thousands of clients send 28x28 PNG files at a rate of their own, then photos "
            "of 640x480. Waiting per worker is the rate of the time that requests waited; sampled, it is the mean of "
            "the gauge, which is set each second. Rows in which other programs took more than "
            f"{100 * MOST_OTHERS:.0f} % of the cores are not used.",
            [tabulate_load(measured["digits"]["open"]), tabulate_load(measured["photos"]["open"])],
            load,
        ),
        Section(
            "One pod and clients that never pause",
            "Small pictures, then photos.",
            [tabulate_clients(measured["digits"]["closed"]), tabulate_clients(measured["photos"]["closed"])],
        ),
        Section(
            "Autoscalers compared",
            f"A day of {PER_DAY / 1e6:,.0f} million requests with {PEAK} times as many at noon as at midnight, and a "
            f"spike of {PEAK} times as many within {SPIKE_RISE_S} s, for {SPIKE_S / 60:.0f} minutes. A pod does at "
            f"most {digits.most:,.0f} requests a second of small pictures, {photos.most:,.0f} of photos. Each row "
            "differs from the shipped autoscaler in what it names. Latencies are medians over the day's seconds. "
            "The last rows are a day of as many photos as the same pods can read.",
            [tabulate(variants)],
        ),
        Section("The day", f"Shipped: target {shipped.autoscaler.target:g}. Beside it, CPU at 70 %.", [], day),
        Section("The spike", "The same two.", [], spike),
    ]


@figure_style()
def plot_load(measured: dict[str, Any]) -> bytes:
    """Draw, for both kinds of picture, each figure as a multiple of its value at 70 % of capacity, and the latency."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    for (shares, latency), kind in zip(figure.subplots(2, 2), ("digits", "photos"), strict=True):
        points = select_stable(measured[kind]["open"])
        rates = [point["served"] for point in points]
        middle = min(points, key=lambda point: abs(point["served"] - 0.7 * rates[-1]))
        for name, power, title, colour in (
            ("busy", 1, "busy share", GREY),
            ("cpu", 1, "CPU", ORANGE),
            ("waiting", 1, "waiting per worker", LIGHT),
            ("waiting", 0.5, "its root", BLUE),
        ):
            values = [(point[name] / middle[name]) ** power for point in points]
            shares.plot(rates, values, "o-", color=colour, label=title)
        shares.plot(
            [0, rates[-1]],
            [0, rates[-1] / middle["served"]],
            color=INK,
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            label="proportional",
        )
        shares.set(title=f"{kind.capitalize()}: multiple of the value at 70 % of capacity", ylim=(0, 3), xlim=(0, None))
        for name in ("p50", "p99"):
            latency.plot(rates, [point[name] for point in points], "o-", label=name)
        latency.set(title=f"{kind.capitalize()}: latency", ylabel="ms", yscale="log", xlim=(0, None))
        write_plainly(latency)
        for axes in (shares, latency):
            axes.set_xlabel("requests/s of one pod")
            axes.legend()
    return save(figure)


@figure_style()
def plot_run(runs: Sequence[Run], unit_s: float) -> bytes:
    """Draw the shipped autoscaler's run over time, and that by CPU."""
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    (requests, pods), (latency, refused) = figure.subplots(2, 2, sharex=True)
    times = np.arange(len(runs[0].offered)) / unit_s
    requests.plot(times, runs[0].offered / 1e3, color=GREY, label="offered")
    for run, name, colour in zip(runs, ("shipped", "by CPU"), (BLUE, ORANGE), strict=True):
        requests.plot(times, run.served / 1e3, color=colour, label=f"served, {name}")
        pods.plot(times, run.pods, color=colour, label=name)
        latency.plot(times, run.p50, color=colour, linewidth=1, linestyle=(0, (4, 2)), label=f"p50, {name}")
        latency.plot(times, run.p99, color=colour, label=f"p99, {name}")
        refused.plot(times, run.refused / 1e3, color=colour, label=name)
    requests.set(title="Requests", ylabel="thousand/s", ylim=(0, None))
    pods.set(title="Pods", ylim=(0, None))
    latency.set(title="Latency", ylabel="ms", yscale="log")
    write_plainly(latency)
    refused.set(
        title="Refused", ylabel="thousand/s", ylim=(0, 1.1 * max(1, *(run.refused.max() / 1e3 for run in runs)))
    )
    for axes in figure.axes:
        axes.legend(fontsize=8)
    for axes in (latency, refused):
        axes.set_xlabel("hours" if unit_s > 1 else "seconds")
    return save(figure)


def write_plainly(axes: Axes) -> None:
    """Write the numbers of a logarithmic axis as they are."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
