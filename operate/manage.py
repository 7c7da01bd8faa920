"""Show, scale, roll out and roll back the versions of the running service without losing a request.

It uses the management API and the model store of a service on this machine, with or without tokens.
"""

import argparse
import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from operate.client import Client, Description
from operate.command import run
from operate.config import CONFIG, OperatorError, read_config
from operate.readiness import check_examples
from operate.rollout import Rollout, scale


def main() -> int:
    """Run the command; return 0 if the service reads pictures after it, 1 if not. Raises OperatorError."""
    parser = argparse.ArgumentParser(prog="scripts/manage", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="TorchServe's configuration (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", help="versions, workers, queue, and whether a picture is read correctly")
    scaling = commands.add_parser("scale", help="change how many workers the default version has")
    scaling.add_argument("--min", type=int, required=True, help="fewest workers to run: missing ones are started")
    scaling.add_argument("--max", type=int, help="most workers to run: surplus ones are ended (--min)")
    scaling.add_argument("--wait", action="store_true", help="return when they are ready and have read a picture")
    deploying = commands.add_parser("deploy", help="switch to another version, if it reads the shipped pictures")
    deploying.add_argument("archive", type=Path, metavar="FILE.mar", help="made by scripts/archive")
    commands.add_parser("rollback", help="switch back to the previous version")
    removing = commands.add_parser("undeploy", help="remove a version that is not serving")
    removing.add_argument("version")
    options = parser.parse_args()
    # Like Ctrl-C, SIGTERM raises KeyboardInterrupt, so that an unfinished change is undone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    client = Client(read_config(options.config))
    rollout = Rollout(client)
    if options.command == "scale":
        scale(client, options.min, options.min if options.max is None else options.max, options.wait)
    elif options.command != "status":
        with rollout.lock():
            if options.command == "deploy":
                rollout.deploy(options.archive)
            elif options.command == "rollback":
                rollout.roll_back()
            else:
                rollout.undeploy(options.version)
    status = read_status(client, rollout)
    print(json.dumps(status, indent=2) if options.json else format_status(status))
    return 0 if status["ready"] else 1


def read_status(client: Client, rollout: Rollout) -> dict[str, Any]:
    """Return the state of the service; it is ready if it reads a shipped picture correctly."""
    default, versions = client.list_versions()
    read_ms = problem = None
    try:
        read_ms = round(check_examples(client, digits=[7]), 1)
    except OperatorError as error:
        problem = str(error)
    return {
        "model": client.config.model,
        "default": default,
        "ready": problem is None,
        "problem": problem,
        "read_ms": read_ms,
        "versions": [describe(version, each) for version, each in sorted(versions.items())],
        "archives": [file.stem.removeprefix(f"{rollout.model}-") for file in rollout.list_archives()],
    }


def describe(version: str, described: Description) -> dict[str, Any]:
    """Return the useful part of TorchServe's description of a version."""
    workers = [
        {name: worker[name] for name in ("id", "pid", "status")}
        | {"memory_mb": measure_memory_mb(worker["pid"]), "started": worker["startTime"]}
        for worker in described["workers"]
    ]
    return {
        "version": version,
        "min_workers": described["minWorkers"],
        "max_workers": described["maxWorkers"],
        "ready_workers": sum(worker["status"] == "READY" for worker in workers),
        "waiting_requests": described["jobQueueStatus"]["pendingRequests"],
        # The queue capacity.
        "free_places": described["jobQueueStatus"]["remainingCapacity"],
        "workers": workers,
    }


def measure_memory_mb(pid: int) -> float | None:
    """Return a process's share of memory (PSS) in MB, if it is visible from here."""
    with suppress(psutil.Error, ValueError):
        return round(psutil.Process(pid).memory_full_info().pss / 1e6, 1)
    return None


def format_status(status: dict[str, Any]) -> str:
    """Return the status as tables, for a person."""
    versions = [["VERSION", "DEFAULT", "READY", "MIN", "MAX", "WAITING", "CAPACITY"]]
    workers = [["VERSION", "WORKER", "PID", "STATUS", "MEMORY", "STARTED"]]
    counts = ("ready_workers", "min_workers", "max_workers", "waiting_requests", "free_places")
    for each in status["versions"]:
        name = each["version"]
        default = "yes" if name == status["default"] else "no"
        versions.append([name, default, *(str(each[count]) for count in counts)])
        for worker in each["workers"]:
            memory = "?" if worker["memory_mb"] is None else f"{worker['memory_mb']:.0f} MB"
            workers.append([name, worker["id"], str(worker["pid"]), worker["status"], memory, worker["started"]])
    archives = f"To roll back to: {', '.join(status['archives']) or 'nothing'}."
    result = f"Ready: a shipped picture was read correctly in {status['read_ms']} ms."
    if not status["ready"]:
        result = f"Not ready: {status['problem']}"
    return "\n\n".join([align(versions), align(workers), archives + "\n" + result])


def align(rows: list[list[str]]) -> str:
    """Return rows of text as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    run(main)
