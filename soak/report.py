"""Writes the report: a table for each part, and what was measured over time as figures."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluate.document import Section, Table, write_report
from evaluate.style import BLUE, GREY, INK, ORANGE, figure_style, save
from operate.archive import read_checkout_version
from operate.config import ROOT
from soak.clients import Event
from soak.faults import Mark
from soak.load import Step
from soak.memory import PER_REQUESTS, Fit, Samples
from soak.tally import LONGEST_S, Row

TITLE = "What the service bears"
WORDS = (
    "Each row says what was sent and what came of it. right: a picture whose digit is known was read as that digit. "
    "read: an answer, where it is not known which is right, such as that to a damaged picture. refused: an error with "
    "a sentence, by its status; 503 and 504 ask to try again. turned away: the connection was not accepted, so that "
    "nothing was lost. closed: the connection was closed without an answer, which only malformed HTTP may meet. wrong: "
    "another answer than that of the request. lost: no answer to a request on an open connection. "
    f"No answer may take more than {LONGEST_S:.0f} s; others may use the machine, so that this is far from the usual. "
    "Requests whose outcome missed a bar are kept byte for byte in the folder failing beside the report; "
    "nc HOST PORT < FILE sends one again."
)


def tabulate(rows: list[Row]) -> Table:
    """Return rows as a table."""
    table = [["", "sent", "right", "read", "refused", "other", "wrong", "lost", "longest, s", "bar", ""]]
    for row in rows:
        if row.not_run:
            table.append([row.name, *["-"] * 8, row.bar, f"not run: {row.not_run}"])
            continue
        refused = {key: count for key, count in row.counts.items() if key.isdecimal()}
        other = {
            key.replace("refused", "turned away"): count
            for key, count in row.counts.items()
            if key not in ("right", "read", "wrong", "lost", *refused)
        }
        verdict = "held" if row.verdict == "held" else f"**missed**: {', '.join(row.faults)}"
        table.append(
            [
                row.name,
                *(f"{number:,}" for number in (row.sent, row.counts["right"], row.counts["read"])),
                list_counts(refused),
                list_counts(other),
                *(f"{row.counts[key]:,}" for key in ("wrong", "lost")),
                f"{row.longest_s:.1f}",
                row.bar,
                verdict,
            ]
        )
    return table


def list_counts(counts: dict[str, int]) -> str:
    """Return counts as text."""
    return ", ".join(f"{count:,} x {key}" for key, count in sorted(counts.items())) or "0"


def tabulate_growth(fits: dict[str, Fit]) -> Table:
    """Return the growth of each process as a table."""
    table = [["process", f"MB for {PER_REQUESTS:,} requests", "interval of 95 %", "in each half", "requests fitted"]]
    for name, fit in fits.items():
        interval, halves = (f"{low:+.2f} to {high:+.2f}" for low, high in ((fit.low, fit.high), fit.halves))
        table.append([name, f"{fit.growth:+.2f}", interval, halves.replace(" to ", ", "), f"{fit.requests:,.0f}"])
    return table


def tabulate_bombs(bombs: list[tuple[str, int, str, float]]) -> Table:
    """Return the files that grow, the slowest first."""
    table = [["file", "bytes", "answer", "s"]]
    return table + [
        [name, f"{size:,}", outcome, f"{wait_s:.2f}"]
        for name, size, outcome, wait_s in sorted(bombs, key=lambda bomb: -bomb[3])
    ]


def summarise(facts: dict[str, Any], parts: dict[str, list[Row]]) -> Section:
    """Return the section that says what was run where, and how many bars were held."""
    table = [["part", "sent", "right", "wrong", "lost", "longest, s", "bars held", "missed", "not run"]]
    for name, rows in parts.items():
        verdicts = [row.verdict for row in rows]
        totals = [sum(numbers) for numbers in zip(*((r.sent, r.counts["right"]) for r in rows), strict=True)]
        table.append(
            [
                name,
                *(f"{number:,}" for number in totals),
                *(str(sum(row.counts[key] for row in rows)) for key in ("wrong", "lost")),
                f"{max(row.longest_s for row in rows):.1f}",
                *(str(verdicts.count(verdict)) for verdict in ("held", "missed", "not run")),
            ]
        )
    known = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items())
    missed = [
        f"{name}: {row.name} ({', '.join(row.faults)})" for name, rows in parts.items() for row in rows if row.faults
    ]
    text = f"{known}.\n\n{WORDS}\n\n"
    text += f"Missed: {'; '.join(missed)}." if missed else "Every bar was held."
    return Section("Summary", text, [table])


def read_versions() -> dict[str, str]:
    """Return the versions of what was tested."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "version": f"{read_checkout_version()}{f' ({commit})' if commit else ''}",
        "TorchServe": version("torchserve"),
        "OpenVINO": version("openvino"),
        "Pillow": version("pillow"),
        "pillow-heif": version("pillow-heif"),
        "hypothesis": version("hypothesis"),
        "Python": platform.python_version(),
    }


@figure_style()
def plot_load(steps: list[Step]) -> bytes:
    """Draw rate and latency of each step."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    rate, wait = figure.subplots(1, 2)
    top = max(range(len(steps)), key=lambda place: steps[place].clients)
    for way, part, style in (("up", steps[: top + 1], "o-"), ("down", steps[top:], "s--")):
        clients = [step.clients for step in part]
        colour = BLUE if way == "up" else ORANGE
        rate.plot(clients, [step.rate for step in part], style, color=colour, label=way)
        wait.plot(clients, [1e3 * step.median_s for step in part], style, color=colour, label=f"median, {way}")
        wait.plot(
            clients, [1e3 * step.longest_s for step in part], style, color=colour, alpha=0.4, label=f"longest, {way}"
        )
    rate.set(title="Right answers a second", xlabel="clients", ylim=(0, None))
    wait.set(title="Time of an answer, ms", xlabel="clients", yscale="log")
    wait.yaxis.set_major_formatter("{x:g}")
    for axis in (rate, wait):
        axis.set_xscale("log", base=2)
        axis.set_xticks([step.clients for step in steps[: top + 1]])
        axis.xaxis.set_major_formatter("{x:g}")
        axis.legend()
    return save(figure)


@figure_style()
def plot_memory(samples: Samples, fits: dict[str, Fit]) -> bytes:
    """Draw the memory of each process over the requests that were answered, with what was fitted."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    for place, (name, points) in enumerate(samples.items()):
        _, answered, memory = np.array(points).T
        x = (answered - answered[0]) / 1000
        colour = mpl.colormaps["tab10"](place)
        axis.plot(x, memory, ".", color=colour, markersize=3)
        label = name
        if name in fits and fits[name].requests:
            growth = fits[name].growth
            tail = answered >= answered[-1] - fits[name].requests
            slope = growth / PER_REQUESTS
            middle, level = answered[tail].mean(), memory[tail].mean()
            axis.plot(x[tail], level + slope * (answered[tail] - middle), "-", color=colour)
            label += f": {growth:+.2f} MB for {PER_REQUESTS:,} requests"
        axis.plot([], [], "o-", color=colour, markersize=3, label=label)
    axis.set(title="Memory (PSS), MB", xlabel="thousand requests answered", ylim=(0, None))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return save(figure)


@figure_style()
def plot_hostile(samples: Samples) -> bytes:
    """Draw the memory of each process while hostile input is read."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    axis = figure.subplots()
    begun = min(points[0][0] for points in samples.values())
    for name, points in samples.items():
        seconds, _, memory = np.array(points).T
        axis.plot(seconds - begun, memory, label=name)
    axis.set(title="Memory (PSS) while hostile input is read, MB", xlabel="s", ylim=(0, None))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return save(figure)


@figure_style()
def plot_faults(events: list[Event], marks: list[Mark]) -> bytes:
    """Draw right answers a second and each request's time, with the faults."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    rate, wait = figure.subplots(2, 1, sharex=True)
    begun = min(event.ended_s for event in events)
    ended = np.array([event.ended_s - begun for event in events])
    waits = np.array([max(1e-3, event.wait_s) for event in events])
    outcomes = np.array([event.outcome for event in events])
    edges = np.arange(0, ended.max() + 1)
    counted, _ = np.histogram(ended[outcomes == "right"], edges)
    rate.stairs(counted, edges, color=BLUE)
    rate.set(title="Right answers a second", ylim=(0, None))
    kinds = {"right": BLUE, "refused": GREY, "lost": "#c0202a", "wrong": "#c0202a"}
    for kind in dict.fromkeys(["right", *outcomes]):
        chosen = outcomes == kind
        name = {"refused": "not accepted"}.get(kind, kind)
        size = 3 if kind in ("right", "refused") else 18
        wait.scatter(
            ended[chosen], waits[chosen], s=size, color=kinds.get(kind, ORANGE), label=f"{name}: {chosen.sum():,}"
        )
    wait.set(title="Time of each answer, s", xlabel="s", yscale="log")
    wait.yaxis.set_major_formatter("{x:g}")
    wait.legend(loc="upper left", bbox_to_anchor=(1, 1), markerscale=2)
    for number, mark in enumerate(marks, 1):
        for axis in (rate, wait):
            axis.axvspan(
                mark.begun_s - begun, mark.ended_s - begun, color=ORANGE if number % 2 else GREY, alpha=0.12, lw=0
            )
        label(rate, mark.begun_s - begun, str(number))
    names = "\n".join(f"{number} {mark.name}" for number, mark in enumerate(marks, 1))
    rate.text(1.02, 1, names, transform=rate.transAxes, va="top", fontsize=7.5, color=INK)
    return save(figure)


def label(axis: Axes, x: float, text: str) -> None:
    """Write a small text at the top of an axis."""
    axis.text(x, 1, f" {text}", transform=axis.get_xaxis_transform(), va="top", fontsize=8, color=INK)


def write(folder: Path, facts: dict[str, Any], parts: dict[str, list[Row]], details: dict[str, Section]) -> None:
    """Write the report into an existing folder; details has the sections of the parts by their names."""
    write_report(folder, TITLE, [summarise(facts, parts), *details.values()])
