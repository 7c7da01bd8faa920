"""Raises the load in steps from one client to many and back, and then keeps it for long to see whether memory grows."""

import json
import shutil
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from bench.load import run_wrk, send_in_turn
from bench.traffic import make_bad
from evaluate.pictures import png
from operate.client import ServiceError, encode_picture
from operate.examples import list_examples
from soak.clients import Load, make_known, witness
from soak.memory import PER_REQUESTS, Fit, Sampler, Samples
from soak.service import Service
from soak.tally import Row

STEPS = tuple(2**power for power in range(10))
STEADY_CLIENTS = 32
# Of the clients beside it, between two requests: explanations, and uploads that are too large, take long.
MIXED_PAUSE_S = 0.3
# Of the load that is kept, one piece.
PIECE_S = 5
# MB for PER_REQUESTS requests.
MOST_GROWTH = 1.0


class Step(NamedTuple):
    """What one number of clients got: right answers a second, and the time of an answer."""

    clients: int
    rate: float
    median_s: float
    longest_s: float


def climb(service: Service, number: int, seconds: float, say: Callable[[str], None]) -> tuple[list[Row], list[Step]]:
    """Return what came of each number of clients, up and down again."""
    known = make_known(service.client, number)
    rows, steps = [], []
    order = [*STEPS, *STEPS[-2::-1]]
    for place, clients in enumerate(order):
        name = f"{clients} client{'s' if clients > 1 else ''}, {'up' if place < len(STEPS) else 'down'}"
        say(name)
        row = Row(name, "every answer right", ("right",))
        begun = time.monotonic()
        with Load(service.address, known, clients) as load:
            time.sleep(seconds / len(order))
        passed = time.monotonic() - begun
        row.counts, row.longest_s = load.count()
        rows.append(row)
        median = statistics.median(event.wait_s for event in load.events) if load.events else 0
        steps.append(Step(clients, row.counts["right"] / passed, median, row.longest_s))
    return rows, steps


def endure(
    service: Service, number: int, seconds: float, say: Callable[[str], None]
) -> tuple[list[Row], Samples, dict[str, Fit]]:
    """Return what came of a load that is kept for long, right and wrong requests mixed, and the growth of memory."""
    known, bad = make_known(service.client, number), list(make_bad(service.client).values())
    end = time.monotonic() + seconds
    fast = Row("one 28x28 picture, as fast as it goes", "every answer right", ("right",))
    say(fast.name)
    digit, picture = 7, service.folder / "seven.png"
    seen = service.client.post(service.client.explanations, encode_picture(list_examples()[digit].read_bytes()))
    picture.write_bytes(png(np.array(seen["pixels"], np.uint8)))
    with ExitStack() as stack:
        sampler = stack.enter_context(Sampler(service))
        load = stack.enter_context(witness(service.address, known, pause_s=MIXED_PAUSE_S))
        # Their answers are judged in the part of hostile input.
        stack.enter_context(send_in_turn(service.config.inference, bad[:-2], MIXED_PAUSE_S))
        if shutil.which("wrk"):
            while time.monotonic() < end:
                printed = run_wrk(
                    "bench.lua", service.client, STEADY_CLIENTS, PIECE_S, PICTURE=str(picture), DIGIT=str(digit)
                )
                point = json.loads(printed.partition("RESULT ")[2] or "{}")
                if not point:
                    raise ServiceError(f"wrk failed: {printed.strip()}")
                fast.counts.update(
                    {"right": point["requests"] - point["wrong"], "wrong": point["wrong"], "lost": point["failed"]}
                )
        else:
            crowd = stack.enter_context(Load(service.address, known, STEADY_CLIENTS))
            time.sleep(seconds)
            fast.counts, fast.longest_s = crowd.count()
    fast.counts = +fast.counts
    mixed = Row("known pictures beside it", "every answer right", ("right",))
    mixed.counts, mixed.longest_s = load.count()
    return [fast, mixed], sampler.samples, sampler.fit()


def hold_growth(fits: dict[str, Fit]) -> list[Row]:
    """Return a row for the memory of each process."""
    rows = []
    for name, fit in fits.items():
        row = Row(f"memory of {name}", f"grows by less than {MOST_GROWTH:g} MB for {PER_REQUESTS:,} requests")
        verdict = fit.verdict(MOST_GROWTH)
        if verdict == "missed":
            row.problems.append(f"{fit.growth:.2f} MB ({fit.low:.2f} to {fit.high:.2f})")
        elif verdict == "too short":
            row.not_run = "the run is too short to tell"
        rows.append(row)
    return rows
