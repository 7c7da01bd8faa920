"""Simulates pods that an autoscaler starts and stops, second by second, with the capacity that was measured of one."""

import json
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.capacity import Point, is_quiet
from bench.hpa import SYNC_S, Autoscaler, Controller

WORKERS = 2
# Requests that a pod lets wait (handler/model-config.yaml); it refuses more.
PLACES = 1000
# What an autoscaler may look at: a figure of a pod, to a power. docker/kubernetes/production/adapter-values.yaml takes
# the root of the requests that wait for each worker; "rate" is all requests a second, refused ones included.
METRICS = {
    "digits_load": ("waiting", 0.5),
    "waiting": ("waiting", 1),
    "busy": ("busy", 1),
    "cpu": ("cpu", 1),
    "rate": ("rate", 1),
}
# Until a new pod gets requests: it is scheduled on a node that has the image and room (2), starts (3) and is probed
# (1); the gateway's resolver (5) learns of it from a DNS that remembers (5).
STARTUP_S = 2 + 3 + 1 + 5 + 5

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Capacity:
    """What one pod does at each rate, in requests a second: p50 and p99 in ms, and what might mean load."""

    rates: Numbers
    p50: Numbers
    p99: Numbers
    figures: dict[str, Numbers]
    # Requests a second at most.
    most: float


@dataclass(frozen=True)
class Watch:
    """How the metric reaches the autoscaler: seconds between two scrapes, under the rate, and on the way."""

    scrape_s: int = 15
    window_s: int = 60
    delay_s: int = 15


# As docker/prometheus has it.
SHIPPED = Watch()


@dataclass(frozen=True)
class Run:
    """A simulated run, a value for each second: requests, pods, ms; waiting is at the second's end, all pods'."""

    offered: Numbers
    served: Numbers
    refused: Numbers
    waiting: Numbers
    pods: Numbers
    ready: Numbers
    p50: Numbers
    p99: Numbers

    @property
    def pod_hours(self) -> float:
        """How long the pods took up their processors, all together."""
        return float(self.pods.sum() / 3600)


@dataclass
class Fleet:
    """The pods at work, the oldest first: when each is or was ready, its backlog, and its metric added up."""

    ready_s: Numbers
    backlog: Numbers
    total: Numbers
    # When Prometheus read the sums of the pods that were ready, and what it read.
    scrapes: deque[tuple[int, Numbers]] = field(default_factory=deque)

    def scale(self, now_s: int, count: int) -> None:
        """Start pods, or stop the youngest, which finish what waits before they end."""
        new = max(0, count - len(self.ready_s))
        self.ready_s = np.append(self.ready_s[:count], np.full(new, float(now_s + STARTUP_S)))
        self.backlog = np.append(self.backlog[:count], np.zeros(new))
        self.total = np.append(self.total[:count], np.zeros(new))
        self.scrapes = deque((at_s, totals[:count]) for at_s, totals in self.scrapes)

    def scrape(self, now_s: int, ready: int, watch: Watch) -> None:
        """Let Prometheus read the sums of the pods that are ready."""
        self.scrapes.append((now_s, self.total[:ready].copy()))
        while self.scrapes[0][0] < now_s - watch.window_s - watch.delay_s:
            self.scrapes.popleft()

    def read_metric(self, now_s: int, watch: Watch) -> list[float]:
        """Return the mean of each pod's metric over the window, as seen now, for pods with two scrapes in it."""
        end_s = now_s - watch.delay_s
        seen = [scrape for scrape in self.scrapes if end_s - watch.window_s <= scrape[0] <= end_s]
        if not seen:
            return []
        last_s, last = seen[-1]
        firsts = [next(each for each in seen if pod < len(each[1])) for pod in range(len(last))]
        return [
            float(total - first[pod]) / (last_s - first_s)
            for pod, (total, (first_s, first)) in enumerate(zip(last, firsts, strict=True))
            if first_s < last_s
        ]


def read_capacity(path: Path, kind: str) -> Capacity:
    """Return what bench/capacity.py measured at fixed rates, for a kind of picture."""
    points = json.loads(path.read_text())[kind]["open"]
    stable = select_stable(points)
    most = max(point["served"] for point in stable)
    rates = np.array([0, *(point["served"] for point in stable)])
    figures = {name: rise([0, *(point[name] for point in stable)]) for name in ("waiting", "busy", "cpu")}
    p50, p99 = (rise([stable[0][name], *(point[name] for point in stable)]) for name in ("p50", "p99"))
    return Capacity(rates, p50, p99, figures, most)


def select_stable(points: list[Point]) -> list[Point]:
    """Return the undisturbed points of a pod that refused nothing, slowest first: above them its queue fills."""
    stable = [point for point in points if point["refused"] == 0 and is_quiet(point)]
    return sorted(stable, key=lambda point: point["served"])


def rise(values: list[float]) -> Numbers:
    """Return values without the dips that noise puts between growing ones."""
    return np.maximum.accumulate(np.array(values, float))


def simulate(capacity: Capacity, offered: Numbers, autoscaler: Autoscaler, pods: int, watch: Watch = SHIPPED) -> Run:
    """Return what a fleet does with the requests that arrive each second; it starts with that many pods.

    Each pod gets an equal share. Up to its capacity it does what was measured at that rate; above it, a backlog grows
    until its queue is full. Refused requests are not repeated.
    """
    fleet = Fleet(np.full(pods, -math.inf), np.zeros(pods), np.zeros(pods))
    controller = Controller(autoscaler)
    figure, power = METRICS[autoscaler.metric]
    # A pod that does all it can has the others waiting without any backlog.
    room = PLACES - WORKERS * capacity.figures["waiting"][-1]
    served, refused, waiting, wanted, ready, mean, most = np.zeros((7, len(offered)))
    for now_s, arriving in enumerate(offered):
        if now_s and now_s % SYNC_S == 0:
            metric = [value**power for value in fleet.read_metric(now_s, watch)]
            count = controller.decide(now_s, len(fleet.ready_s), metric)
            fleet.scale(now_s, count)
        count = int(np.count_nonzero(fleet.ready_s <= now_s))
        if now_s % watch.scrape_s == 0:
            fleet.scrape(now_s, count, watch)
        share = arriving / max(count, 1)
        held = waiting[now_s - 1] if now_s else 0.0
        kept = fleet.backlog[:count]
        if held or not count or share > capacity.most:
            grown = np.maximum(0, kept + share - capacity.most)
            kept = fleet.backlog[:count] = np.minimum(grown, room)
            refused[now_s] = (grown - kept).sum() if count else arriving
            waiting[now_s], mean[now_s], most[now_s] = kept.sum(), kept.sum() / max(count, 1), kept.max(initial=0)
        served[now_s] = arriving - refused[now_s] + held - waiting[now_s]
        wanted[now_s], ready[now_s] = len(fleet.ready_s), count
        fleet.total[:count] += share if figure == "rate" else np.interp(share, capacity.rates, capacity.figures[figure])
        if figure == "waiting" and waiting[now_s]:
            fleet.total[:count] += kept / WORKERS
    share = offered / np.maximum(ready, 1)
    p50 = np.interp(share, capacity.rates, capacity.p50) + 1e3 * mean / capacity.most
    p99 = np.interp(share, capacity.rates, capacity.p99) + 1e3 * most / capacity.most
    return Run(offered, served, refused, waiting, wanted, ready, p50, p99)
