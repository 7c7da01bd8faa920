"""Samples the memory of every process of a service, and fits its growth to the requests that were answered."""

import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil
import requests
from numpy.typing import NDArray

from bench.service import find_workers, is_server
from soak.service import Service

SAMPLE_S = 1.0
MB = 2**20
# Growth is given for so many requests.
PER_REQUESTS = 100_000
# Neighbouring samples resemble each other: the fit is made to the means of so many blocks.
BLOCKS = 20
# Student's t for 95 % of the slopes, for that many blocks less two.
T_95 = 2.101
# Java's heap and the workers' buffers fill at first.
WARM_UP_SHARE = 0.4
# From fewer requests after that, nothing is concluded: Java's heap fills for some 50,000.
FEWEST_REQUESTS = 50_000
ANSWERS = re.compile(r"^digit_requests_total\{.*\} (\S+)$", re.MULTILINE)

# By the name of a process, (seconds, answered requests, MB).
Samples = dict[str, list[tuple[float, float, float]]]


@dataclass(frozen=True)
class Fit:
    """Growth in MB for PER_REQUESTS requests, its interval of 95 %, and the growth in each half."""

    growth: float
    low: float
    high: float
    requests: float
    halves: tuple[float, float] = (0, 0)

    def verdict(self, bar: float) -> str:
        """Return "missed" if it surely grows by more than the bar, "held" if surely by less, else "too short".

        What grows goes on to grow: a step, which an allocator makes now and then, is in one half only.
        """
        if self.requests < FEWEST_REQUESTS:
            return "too short"
        if self.low > bar and min(self.halves) > bar:
            return "missed"
        return "held" if self.high < bar else "too short"


def fit(answered: NDArray[np.float64], memory_mb: NDArray[np.float64]) -> Fit:
    """Fit (n,) MB to (n,) numbers of answered requests, after the warm-up, by least squares over blocks."""
    first = int(np.searchsorted(answered, answered[0] + WARM_UP_SHARE * (answered[-1] - answered[0])))
    blocks = min(BLOCKS, len(answered) - first)
    if blocks < 5 or answered[-1] == answered[first]:
        return Fit(0, -np.inf, np.inf, 0)
    x = np.array([block.mean() for block in np.array_split(answered[first:], blocks)])
    y = np.array([block.mean() for block in np.array_split(memory_mb[first:], blocks)])
    slope, half = find_slope(x, y), blocks // 2
    centred = x - x.mean()
    left = y - y.mean() - slope * centred
    error = float(np.sqrt(left @ left / (blocks - 2) / (centred @ centred)))
    scaled, wide = slope * PER_REQUESTS, T_95 * error * PER_REQUESTS
    halves = (find_slope(x[:half], y[:half]) * PER_REQUESTS, find_slope(x[half:], y[half:]) * PER_REQUESTS)
    return Fit(scaled, scaled - wide, scaled + wide, float(answered[-1] - answered[first]), halves)


def find_slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return the slope of the line through (n,) points by least squares."""
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


class Sampler:
    """Samples memory (PSS, MB of 2**20 bytes) each second while the context lasts."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.samples: Samples = {}
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.sample_for_ever)

    def __enter__(self) -> "Sampler":
        """Start to sample."""
        self.thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        """Sample no more."""
        self.is_over.set()
        self.thread.join()

    def sample_for_ever(self) -> None:
        """Sample until it is over."""
        while not self.is_over.wait(SAMPLE_S):
            answered = count_answers(self.service)
            for process in self.service.find_processes():
                # It may have ended.
                with suppress(psutil.Error):
                    name, memory = name_process(process), process.memory_full_info().pss / MB
                    if memory and name and answered is not None:
                        self.samples.setdefault(name, []).append((time.monotonic(), answered, memory))

    def peak_mb(self) -> float:
        """Return the most that all processes together had in one sample, roughly: the sum of each one's most."""
        return sum(max(memory for *_, memory in samples) for samples in self.samples.values())

    def fit(self) -> dict[str, Fit]:
        """Return the growth of each process that was there throughout."""
        longest = max(map(len, self.samples.values()), default=0)
        return {
            name: fit(*np.array(samples).T[1:])
            for name, samples in self.samples.items()
            if len(samples) > 0.9 * longest
        }


def name_process(process: psutil.Process) -> str:
    """Return what a process of the service is, or "" if it is no lasting part of it."""
    if is_server(process):
        return "Java"
    if find_workers([process]):
        return f"worker {process.pid}"
    return "scripts/serve" if any("operate.serve" in word for word in process.cmdline()) else ""


def count_answers(service: Service) -> float | None:
    """Return how many requests the service has answered, as it counts them itself."""
    try:
        text = requests.get(f"{service.config.metrics}/metrics", timeout=10).text
    except requests.RequestException:
        return None
    return sum(float(value) for value in ANSWERS.findall(text))
