"""Show, scale, roll out and take back what the running service serves; no request is lost by it.

It talks to the management API and the model store of a service on this machine, with or without tokens.
"""

import argparse
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests
from archive import ArchiveError, read_version
from management import Description, check_pictures, list_versions, manage, wait_for_workers
from service import CONFIG, EXAMPLES, MODEL, ROOT, ServiceError, connect, read_config

# How often each shipped picture is read by a new version before it serves: so many that every worker is warm.
WARM_UP = 30
# More would only take memory: one per core is the most that makes the service faster.
WORKERS_PER_CORE = 4


def main() -> int:
    """Do what is asked; return 0 if that was done and the service reads pictures, 1 with a sentence if not."""
    parser = argparse.ArgumentParser(prog="scripts/manage", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="TorchServe's configuration (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("status", help="versions, workers, queue, and whether a picture is read right")
    scaling = commands.add_parser("scale", help="change how many workers the default version has")
    scaling.add_argument("--min", type=int, required=True, help="workers at least: so many are started")
    scaling.add_argument("--max", type=int, help="workers at most: more are ended (--min)")
    scaling.add_argument("--wait", action="store_true", help="return when they are ready and a picture was read")
    deploying = commands.add_parser("deploy", help="let another version serve, if it reads the shipped pictures right")
    deploying.add_argument("archive", type=Path, metavar="FILE.mar", help="as scripts/archive makes it")
    commands.add_parser("rollback", help="let the version serve that served before")
    removing = commands.add_parser("undeploy", help="remove a version that does not serve")
    removing.add_argument("version")
    options = parser.parse_args()
    # A change that is broken off is taken back.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        config = read_config(options.config)
        with connect(config) as session:
            rollout = Rollout(config, session)
            if options.command == "scale":
                scale(config, session, options.min, options.min if options.max is None else options.max, options.wait)
            elif options.command != "status":
                with rollout.alone():
                    if options.command == "deploy":
                        rollout.deploy(options.archive)
                    elif options.command == "rollback":
                        rollout.roll_back()
                    else:
                        rollout.undeploy(options.version)
            found = status(config, session, rollout)
    except (ServiceError, ArchiveError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if options.json else as_tables(found))
    return 0 if found["ready"] else 1


def tell(sentence: str) -> None:
    """Say how far the work is, apart from its result."""
    print(sentence, file=sys.stderr, flush=True)


def status(config: dict[str, str], session: requests.Session, rollout: "Rollout") -> dict[str, Any]:
    """Return what is known of the service; it is ready if it reads a shipped picture right."""
    default, versions = list_versions(config, session)
    found: dict[str, Any] = {"model": MODEL, "default": default, "ready": False, "problem": None, "read_ms": None}
    try:
        found["read_ms"] = round(check_pictures(config, session, digits=[7]), 1)
        found["ready"] = True
    except ServiceError as error:
        found["problem"] = str(error)
    found["versions"] = [describe(version, each) for version, each in sorted(versions.items())]
    found["archives"] = [file.stem.removeprefix(f"{MODEL}-") for file in rollout.archives()]
    return found


def describe(version: str, described: Description) -> dict[str, Any]:
    """Return what is worth knowing of TorchServe's description of a version."""
    workers = [
        {
            "id": worker["id"],
            "pid": worker["pid"],
            "status": worker["status"],
            "memory_mb": memory_mb(worker["pid"]),
            "started": worker["startTime"],
        }
        for worker in described["workers"]
    ]
    return {
        "version": version,
        "min_workers": described["minWorkers"],
        "max_workers": described["maxWorkers"],
        "ready_workers": sum(worker["status"] == "READY" for worker in workers),
        "waiting_requests": described["jobQueueStatus"]["pendingRequests"],
        "free_places": described["jobQueueStatus"]["remainingCapacity"],
        "workers": workers,
    }


def memory_mb(pid: int) -> float | None:
    """Return a process's share of memory (PSS) in MB, if it can be seen from here."""
    with suppress(psutil.Error, ValueError):
        return round(psutil.Process(pid).memory_full_info().pss / 1e6, 1)
    return None


def as_tables(found: dict[str, Any]) -> str:
    """Return the status for a person."""
    versions = [["VERSION", "DEFAULT", "READY", "MIN", "MAX", "WAITING", "PLACES"]]
    workers = [["VERSION", "WORKER", "PID", "STATUS", "MEMORY", "STARTED"]]
    for each in found["versions"]:
        name = each["version"]
        default = "yes" if name == found["default"] else "no"
        counts = [each[key] for key in ("ready_workers", "min_workers", "max_workers", "waiting_requests")]
        versions.append([name, default, *map(str, counts), str(each["free_places"])])
        for worker in each["workers"]:
            memory = "?" if worker["memory_mb"] is None else f"{worker['memory_mb']:.0f} MB"
            workers.append([name, worker["id"], str(worker["pid"]), worker["status"], memory, worker["started"]])
    if found["ready"]:
        result = f"Ready: a shipped picture was read right in {found['read_ms']} ms."
    else:
        result = f"Not ready: {found['problem']}"
    archives = f"To roll back to: {', '.join(found['archives']) or 'nothing'}."
    return "\n\n".join([columns(versions), columns(workers), archives + "\n" + result])


def columns(rows: list[list[str]]) -> str:
    """Return rows of text as lines with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def scale(config: dict[str, str], session: requests.Session, least: int, most: int, wait: bool) -> None:
    """Change how many workers the default version has. Raises ServiceError."""
    limit = WORKERS_PER_CORE * (os.cpu_count() or 1)
    if not 0 < least <= most <= limit:
        raise ServiceError(f"{least} to {most} workers are not possible: 1 <= --min <= --max <= {limit} here.")
    default, versions = list_versions(config, session)
    before = versions[default]
    manage(config, session, "PUT", min_worker=least, max_worker=most)
    if wait:
        try:
            wait_for_version(config, session, default, least)
        except ServiceError:
            tell(f"Back to {before['minWorkers']} workers.")
            manage(config, session, "PUT", min_worker=before["minWorkers"], max_worker=before["maxWorkers"])
            raise
        check_pictures(config, session, times=WARM_UP)


def wait_for_version(config: dict[str, str], session: requests.Session, version: str, count: int) -> None:
    """Return when so many workers of a version are ready. Raises ServiceError."""

    def list_workers() -> list[Description]:
        return list_versions(config, session)[1][version]["workers"]

    wait_for_workers(list_workers, count, lambda ready: tell(f"{ready} of {count} workers ready"))


class Rollout:
    """Changes which version serves. In the model store, mnist.mar is what a start loads, mnist-VERSION.mar the others.

    The most recent of the others is what served before.
    """

    def __init__(self, config: dict[str, str], session: requests.Session) -> None:
        self.config, self.session = config, session
        self.store = ROOT / config.get("model_store", "model_store")
        self.served = self.store / f"{MODEL}.mar"

    def archives(self) -> list[Path]:
        """Return the archives that do not serve, the one to roll back to first."""
        return sorted(self.store.glob(f"{MODEL}-*.mar"), key=lambda file: file.stat().st_mtime, reverse=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raise ServiceError if another one changes versions at the same time."""
        try:
            lock = (self.store / ".rollout").open("w")
        except OSError as cause:
            raise ServiceError(f"{self.store} cannot be written: {cause.strerror}.") from cause
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise ServiceError("Another change of versions is under way: wait for its end.") from cause
            yield

    def deploy(self, archive: Path) -> None:
        """Let an archive serve in place of the default version, which serves on if anything fails."""
        version = str(read_version(archive))
        default, versions = list_versions(self.config, self.session)
        if version in versions:
            raise ServiceError(f"Version {version} is already there: give the new archive another one.")
        before = versions[default]
        with ExitStack() as failed:
            file = self.place(archive, version, failed)
            failed.callback(self.withdraw, version)
            manage(self.config, self.session, "POST", url=file.name, model_name=MODEL, synchronous="false")
            tell(f"{version}: registered beside {default}")
            workers = max(1, before["minWorkers"])
            numbers = {"min_worker": workers, "max_worker": max(workers, before["maxWorkers"])}
            manage(self.config, self.session, "PUT", f"/{version}", **numbers)
            wait_for_version(self.config, self.session, version, workers)
            read = check_pictures(self.config, self.session, version, times=WARM_UP)
            tell(f"{version}: read {WARM_UP * len(EXAMPLES)} shipped pictures right, each in {read:.1f} ms")
            failed.callback(manage, self.config, self.session, "PUT", f"/{default}/set-default")
            manage(self.config, self.session, "PUT", f"/{version}/set-default")
            check_pictures(self.config, self.session)
            failed.pop_all()
        tell(f"{version}: serves")
        self.keep(default, file)
        self.unregister(default)
        tell(f"{default}: finished its requests and is retired")

    def place(self, archive: Path, version: str, failed: ExitStack) -> Path:
        """Bring an archive into the model store under its version's name. Raises ServiceError."""
        file = self.store / f"{MODEL}-{version}.mar"
        if not file.exists() or not file.samefile(archive):
            part = file.with_suffix(".part")
            failed.callback(file.unlink, missing_ok=True)
            try:
                shutil.copyfile(archive, part)
                part.replace(file)
            except OSError as cause:
                part.unlink(missing_ok=True)
                raise ServiceError(f"{archive} cannot be copied to {self.store}: {cause.strerror}.") from cause
        return file

    def keep(self, retired: str, serving: Path) -> None:
        """Let a start load what serves now, and keep what served before."""
        kept = self.store / f"{MODEL}-{retired}.mar"
        try:
            if self.served.exists() and str(read_version(self.served)) == retired:
                self.served.replace(kept)
                # Its age says what to roll back to.
                os.utime(kept)
            serving.replace(self.served)
        except OSError as cause:
            raise ServiceError(f"{self.store} cannot be written: {cause.strerror}; {retired} starts next.") from cause

    def unregister(self, version: str) -> None:
        """End a version when it has answered what it was asked. Raises ServiceError."""
        manage(self.config, self.session, "DELETE", f"/{version}")

    def withdraw(self, version: str) -> None:
        """End a version that is not to serve, if it came so far."""
        with suppress(ServiceError):
            self.unregister(version)

    def roll_back(self) -> None:
        """Let the version serve that served before."""
        archives = self.archives()
        if not archives:
            raise ServiceError(f"{self.store} holds no other version to roll back to.")
        self.deploy(archives[0])

    def undeploy(self, version: str) -> None:
        """Remove a version that does not serve."""
        default, versions = list_versions(self.config, self.session)
        file = self.store / f"{MODEL}-{version}.mar"
        if version == default:
            raise ServiceError(f"Version {version} serves: deploy another one, or roll back first.")
        if version not in versions and not file.exists():
            raise ServiceError(f"There is no version {version}.")
        if version in versions:
            self.unregister(version)
        file.unlink(missing_ok=True)
        tell(f"{version}: removed")


if __name__ == "__main__":
    sys.exit(main())
