"""Draws the panels of the dashboard as Grafana does, from the data of a Prometheus."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from bench.prometheus import query_range
from evaluate.style import BLUE, GREY, INK, ORANGE, figure_style, save
from operate.config import ROOT

DASHBOARD = ROOT / "docker" / "grafana" / "digits.json"
# Seconds over which rates are taken: a few scrape intervals.
RATE_S = 5
COLUMNS = 3
# How many fit in a line of a legend.
LEGEND_LETTERS = 68
RED = "#b3261e"
COLOURS = (BLUE, ORANGE, "#2f9e5b", "#7b4fb5", "#0f8b8d", "#c2528b", "#a08a00", "#5b4636", GREY, RED)
UNITS = {"reqps": "requests/s", "cps": "per second", "ms": "ms", "percentunit": "", "short": ""}

# Curves by name, each with a value per second, NaN where there is none.
Curves = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Panel:
    """One panel: its queries, each with the legend of its series, and how Grafana draws them."""

    title: str
    kind: str
    queries: list[tuple[str, str]]
    style: dict[str, Any]


def read_panels() -> list[Panel]:
    """Return the dashboard's panels in their order, without the headings between them."""
    return [
        Panel(
            panel["title"],
            panel["type"],
            [
                (target["expr"].replace("$__rate_interval", f"{RATE_S}s"), target["legendFormat"])
                for target in panel["targets"]
            ],
            panel["fieldConfig"]["defaults"],
        )
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        if panel["type"] != "row"
    ]


@figure_style()
def draw(address: str, titles: Sequence[str], start_s: int, end_s: int, events: Mapping[int, str]) -> bytes:
    """Draw the panels of these titles from the data of the Prometheus at http://host:port, as a PNG file.

    All times are seconds since 1970.
    """
    panels = {panel.title: panel for panel in read_panels()}
    rows = math.ceil(len(titles) / COLUMNS)
    figure = Figure(figsize=(12.5, 2.5 * rows), layout="constrained")
    every = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False)
    for axes, title in zip(every.flat, titles, strict=True):
        panel = panels[title]
        curves = read_curves(address, panel, start_s, end_s)
        seconds = np.arange(end_s - start_s + 1)
        (draw_states if panel.kind == "state-timeline" else draw_curves)(axes, panel, seconds, curves)
        for event_s in events:
            axes.axvline(event_s - start_s, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    for axes in every[0]:
        for number, event_s in enumerate(events, 1):
            axes.text(event_s - start_s, 1.0, f" {number}", transform=axes.get_xaxis_transform(), va="top", color=GREY)
    for axes in every[-1]:
        axes.set_xlabel("seconds")
    figure.supxlabel(
        "   ".join(f"{number} {event}" for number, event in enumerate(events.values(), 1)), fontsize=9, color=INK
    )
    return save(figure)


def read_curves(address: str, panel: Panel, start_s: int, end_s: int) -> Curves:
    """Return the curves of a panel's queries."""
    curves: Curves = {}
    for expression, legend in panel.queries:
        for labels, samples in query_range(address, expression, start_s, end_s, 1):
            name = legend
            for label, text in labels.items():
                name = name.replace("{{" + label + "}}", text)
            curve = curves.setdefault(name, np.full(end_s - start_s + 1, np.nan))
            for second, value in samples:
                curve[round(second) - start_s] = value
    return curves


def draw_curves(axes: Axes, panel: Panel, seconds: NDArray[np.int64], curves: Curves) -> None:
    """Draw a panel's curves, stacked or not, and its threshold, as Grafana does."""
    custom = panel.style["custom"]
    stacking, scale = custom.get("stacking", {}).get("mode"), custom.get("scaleDistribution", {})
    if stacking:
        names = sorted(curves)
        heights = np.nan_to_num(np.array([curves[name] for name in names]))
        if stacking == "percent":
            heights = heights / np.where(heights.sum(0) > 0, heights.sum(0), np.nan)
        axes.stackplot(seconds, heights, labels=names, colors=COLOURS)
    else:
        for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
            axes.plot(seconds, curve, label=name, color=colour, linewidth=1.3)
    if scale.get("type") == "log":
        axes.set_yscale("log")
    elif scale.get("type") == "symlog":
        axes.set_yscale("symlog", linthresh=scale["linearThreshold"])
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=panel.style.get("decimals") == 0))
    if scale:
        axes.yaxis.set_major_formatter("{x:g}")
    if "min" in panel.style:
        axes.set_ylim(panel.style["min"], None)
    if stacking == "percent" or panel.style["unit"] == "percentunit":
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %", decimals=0))
    if stacking == "percent":
        axes.set_ylim(0, 1)
    else:
        axes.set_ylabel(UNITS[panel.style["unit"]])
    if "thresholds" in panel.style:
        # The scale stays that of the curves: a threshold far above would flatten them.
        axes.set_ylim(axes.get_ylim())
        axes.axhline(panel.style["thresholds"]["steps"][1]["value"], color=RED, linewidth=1)
    add_legend(axes, panel.title)


def draw_states(axes: Axes, panel: Panel, seconds: NDArray[np.int64], curves: Curves) -> None:
    """Draw a bar for each curve, coloured by its values as the panel maps them."""
    states = {
        float(value): (state["text"], {"yellow": "#f2c14e", "red": RED}[state["color"]])
        for mapping in panel.style["mappings"]
        for value, state in mapping["options"].items()
    }
    for row, (name, curve) in enumerate(curves.items()):
        for value, (text, colour) in states.items():
            axes.fill_between(
                seconds,
                row - 0.35,
                row + 0.35,
                where=curve == value,
                color=colour,
                step="post",
                label=text,
                linewidth=0,
            )
        axes.text(0, row, name, fontsize=7.5, va="center")
    axes.set_yticks([])
    add_legend(axes, panel.title)


def add_legend(axes: Axes, title: str) -> None:
    """Write the title and, below it, what each colour means."""
    names = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    columns = LEGEND_LETTERS // max(len(name) + 3 for name in ["", *names])
    legend = axes.legend(
        names.values(),
        names.keys(),
        fontsize=7.5,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        handlelength=1,
        handletextpad=0.4,
        columnspacing=0.9,
        labelspacing=0.2,
        borderpad=0.1,
        borderaxespad=0.1,
    )
    legend.set_in_layout(False)
    axes.set_title(title, pad=5 + 11 * math.ceil(len(names) / columns))
