"""Memory does not grow with the requests that a service answers, right and refused ones mixed."""

import numpy as np
import pytest
from hypothesis import settings
from scipy.stats import linregress

from evaluate.pictures import png
from operate.client import encode_picture
from tests.harness.load import PAUSE_S, load, make_bad
from tests.harness.service import EXAMPLES, Service, poll

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.soak]

# By hypothesis's profile: requests, and the MB (2**20 bytes) for 100,000 of them by which no process may surely grow.
# Java's heap fills for some 50,000 requests.
RUNS = {"short": (20_000, 50.0), "soak": (2_000_000, 1.0)}
SAMPLES = 40
# Heap and buffers fill at first.
WARM_UP_SAMPLES = 16
# Student's t for 95 % of the slopes through the other samples.
T_95 = 2.07


def test_memory_does_not_grow_with_requests(own: Service) -> None:
    total, most = RUNS[settings.get_current_profile_name()]
    seen = own.client.post(own.client.explanations, encode_picture(EXAMPLES[7].read_bytes()))
    # The smallest picture gives the most requests.
    seven = {7: png(np.array(seen["pixels"], np.uint8))}
    processes = [own.java, *own.workers]
    answered: list[int] = []
    memory_mb: list[list[float]] = []
    bad = list(make_bad(own.client).values())
    with (
        load(own.predictions, 16, seven) as counts,
        load(own.predictions, 1, requests=bad, pause_s=10 * PAUSE_S) as refused,
    ):
        for sample in range(1, SAMPLES + 1):
            poll(lambda goal=total * sample // SAMPLES: counts["right"] >= goal, 600)  # type: ignore[misc]
            answered.append(counts["right"])
            memory_mb.append([process.memory_full_info().pss / 2**20 for process in processes])
    assert set(counts) == {"right"}, counts
    assert refused.total() >= len(bad)
    x = np.array(answered[WARM_UP_SAMPLES:]) / 100_000
    for process, y in zip(processes, np.array(memory_mb[WARM_UP_SAMPLES:]).T, strict=True):
        fit, half = linregress(x, y), len(x) // 2
        halves = linregress(x[:half], y[:half]).slope, linregress(x[half:], y[half:]).slope
        print(f"{process.name()} {process.pid}: {y[-1]:.0f} MB, {fit.slope:+.2f} MB for 100,000 requests")
        # Memory that stays the same to the byte has no standard error.
        surely = fit.slope - T_95 * np.nan_to_num(fit.stderr)
        # What grows goes on to grow: a step, which an allocator makes now and then, is in one half only.
        assert min(surely, *halves) < most, (process, fit, halves)
