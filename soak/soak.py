"""Send a service of its own what breaks services, and hold each result against a bar.

The parts are load in steps, memory under a load that is kept up, hostile input, and faults under load.
Every answer that can be checked is checked. It exits with 1 if a bar is missed.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.machine import describe_machine
from evaluate.document import Section, align
from operate.config import OperatorError
from soak.faults import Faults, small_disk
from soak.hostile import Hostile
from soak.load import climb, endure, hold_growth
from soak.report import (
    plot_faults,
    plot_hostile,
    plot_load,
    plot_memory,
    read_versions,
    tabulate,
    tabulate_bombs,
    tabulate_growth,
    write,
)
from soak.service import Service, run_service
from soak.tally import Row, write_failures

# The parts, in their order, and the share of the time that each one gets.
SHARES = {"load": 0.13, "memory": 0.4, "hostile": 0.27, "faults": 0.2}
Say = Callable[[str], None]


def main() -> int:
    """Return 0 if every bar was held, 1 if one was missed or nothing could be run."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=parse_minutes, default=5, help="about how long (%(default)s)")
    parser.add_argument("--only", type=parse_parts, default=list(SHARES), help=f"of {','.join(SHARES)}, with commas")
    parser.add_argument("--seed", type=int, help="the same hostile input again (the report of a run has its seed)")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="write report.md, figures and failing requests")
    options = parser.parse_args()
    # As Ctrl-C, so that no process is left behind; also where a shell's background job has Ctrl-C ignored.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    number = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    try:
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
        parts = soak(options.only, 60 * options.minutes, number, options.report)
    except (OperatorError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return conclude(parts, number)


def parse_minutes(text: str) -> float:
    """Return a number of minutes above 0. Raises ArgumentTypeError."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 0 < minutes < 100_000:
        raise argparse.ArgumentTypeError(f"must be a number of minutes, not {text!r}")
    return minutes


def parse_parts(text: str) -> list[str]:
    """Return the names of parts, in the order in which they run. Raises ArgumentTypeError."""
    unknown = set(text.split(",")) - SHARES.keys()
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(sorted(unknown))}: {', '.join(SHARES)}")
    return [name for name in SHARES if name in text.split(",")]


def conclude(parts: dict[str, list[Row]], number: int) -> int:
    """Print what missed its bar and what was not run; return the exit code."""
    rows = [row for each in parts.values() for row in each]
    for row in rows:
        if row.not_run:
            print(f"Not run: {row.name}: {row.not_run}.")
    missed = [row for row in rows if row.verdict == "missed"]
    for row in missed:
        print(f"Missed: {row.name}: {', '.join(row.faults)}.", file=sys.stderr)
    held = sum(row.verdict == "held" for row in rows)
    print(f"{held} of {held + len(missed)} bars held; {sum(row.sent for row in rows):,} requests; seed {number}.")
    return 1 if missed else 0


def soak(names: list[str], seconds: float, number: int, report: Path | None) -> dict[str, list[Row]]:
    """Run parts on a service of its own, write the report if there is a folder for it, and return their rows."""
    begun = time.monotonic()
    whole = sum(SHARES[name] for name in names)
    parts: dict[str, list[Row]] = {}
    details: dict[str, Section] = {}

    def say(name: str) -> None:
        print(f"[{time.monotonic() - begun:4.0f} s] {name}", flush=True)

    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        folder = stack.enter_context(small_disk(scratch))
        say("the service starts")
        service = stack.enter_context(run_service(folder))
        facts = describe_machine() | {"workers": len(service.find_workers())} | read_versions() | {"seed": number}
        for name in names:
            parts[name], details[name] = RUN[name](service, number, seconds * SHARES[name] / whole, say)
            print(align([row[:9] for row in tabulate(parts[name])]))
        facts["minutes"] = f"{(time.monotonic() - begun) / 60:.1f}"
        if report:
            shutil.copytree(service.logs, report / "logs", dirs_exist_ok=True)
    if report:
        write_failures([row for rows in parts.values() for row in rows], report)
        write(report, facts, parts, details)
        print(f"Wrote {report / 'report.md'}.")
    return parts


def run_load(service: Service, number: int, seconds: float, say: Say) -> tuple[list[Row], Section]:
    """Raise the load in steps and lower it again."""
    rows, steps = climb(service, number, seconds, say)
    text = "Clients on connections of their own, each of which sends its next request when it has an answer: shipped "
    text += "pictures, some with explanations, some several in a request. The clients take their share of the cores."
    return rows, Section("Load", text, [tabulate(rows)], {"Rate and latency": ("load.png", plot_load(steps))})


def run_memory(service: Service, number: int, seconds: float, say: Say) -> tuple[list[Row], Section]:
    """Keep up a load and fit the growth of memory."""
    rows, samples, fits = endure(service, number, seconds, say)
    rows += hold_growth(fits)
    text = "Right and refused requests of every kind, and one 28x28 picture as fast as it goes. Memory is PSS, sampled "
    text += "each second; the requests are those that the service counts. The first two fifths are the warm-up; to the "
    text += "rest a line is fitted by least squares, to the means of 20 blocks, since neighbouring samples resemble "
    text += "each other. A bar is missed if growth is surely above it, and in both halves: a step, which an allocator "
    text += (
        "makes now and then, is in one only. It is not decided if the interval holds the bar, or after few requests."
    )
    figures = {"Memory over requests": ("memory.png", plot_memory(samples, fits))}
    return rows, Section("Memory", text, [tabulate(rows), tabulate_growth(fits)], figures)


def run_hostile(service: Service, number: int, seconds: float, say: Say) -> tuple[list[Row], Section]:
    """Send hostile input."""
    hostile = Hostile(service, number, say)
    hostile.run(seconds)
    text = "Files of every format with drawn damage, small files that claim to be huge, JSON, forms and heads of every "
    text += (
        "wrong kind, and connections that are slow, half-closed, reset or hold several requests; known pictures are "
    )
    text += "read meanwhile. At the gateway, a tap between it and the service notes what a strict server would take "
    text += "for requests. Hypothesis draws the examples from the seed. All processes of the service together had at "
    text += f"most {hostile.peak_mb:.0f} MB."
    figures: dict[str, tuple[str, bytes]] = {}
    if hostile.samples:
        figures["Memory over time"] = ("hostile.png", plot_hostile(hostile.samples))
    return hostile.rows, Section(
        "Hostile input", text, [tabulate(hostile.rows), tabulate_bombs(hostile.bombs)], figures
    )


def run_faults(service: Service, number: int, seconds: float, say: Say) -> tuple[list[Row], Section]:
    """Stage faults under load."""
    faults = Faults(service, number, say)
    faults.run(seconds)
    text = "Twelve clients send known pictures throughout. Each row counts the answers from the beginning of a fault "
    text += "until every client has had two right answers after its end."
    figures: dict[str, tuple[str, bytes]] = {}
    if faults.events:
        figures["Answers over time"] = ("faults.png", plot_faults(faults.events, faults.marks))
    return faults.rows, Section("Faults", text, [tabulate(faults.rows)], figures)


RUN: dict[str, Callable[[Service, int, float, Say], tuple[list[Row], Section]]] = {
    "load": run_load,
    "memory": run_memory,
    "hostile": run_hostile,
    "faults": run_faults,
}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
