"""Changes which version serves without losing a request; a change that fails is undone."""

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from operate.archive import read_version
from operate.client import Client, ServiceError
from operate.config import OperatorError
from operate.examples import list_examples
from operate.readiness import WARM_UP, check_examples, wait_for_workers

# The limit. More than one per core only takes memory.
WORKERS_PER_CORE = 4


def report(sentence: str) -> None:
    """Print progress on standard error, apart from the result; the change goes on if nobody reads it."""
    with suppress(BrokenPipeError):
        print(sentence, file=sys.stderr, flush=True)


def scale(client: Client, min_workers: int, max_workers: int, wait: bool) -> None:
    """Change how many workers the default version has. Raises OperatorError."""
    limit = WORKERS_PER_CORE * (os.cpu_count() or 1)
    if not 0 < min_workers <= max_workers <= limit:
        raise OperatorError(f"{min_workers} to {max_workers} workers are not possible: 1 <= --min <= --max <= {limit}.")
    default, versions = client.list_versions()
    before = versions[default]
    client.scale(min_workers, max_workers)
    if wait:
        try:
            wait_for_version(client, default, min_workers)
        except ServiceError:
            report(f"Back to {before['minWorkers']} workers.")
            client.scale(before["minWorkers"], before["maxWorkers"])
            raise
        check_examples(client, times=WARM_UP)
    report("This lasts until the service stops: a start uses minWorkers in handler/model-config.yaml.")


def wait_for_version(client: Client, version: str, count: int) -> None:
    """Return when that many workers of a version are ready. Raises ServiceError."""
    list_workers = partial(client.list_workers, version)
    wait_for_workers(list_workers, count, lambda ready: report(f"{ready} of {count} workers ready"))


class Rollout:
    """Versions in the model store: a start loads MODEL.mar, the others are MODEL-VERSION.mar.

    The most recent of the others is the one to roll back to.
    """

    def __init__(self, client: Client) -> None:
        self.client, self.model = client, client.config.model
        self.store = client.config.model_store
        self.serving = self.store / f"{self.model}.mar"

    def list_archives(self) -> list[Path]:
        """Return the archives that are not serving, the one to roll back to first."""
        return sorted(self.store.glob(f"{self.model}-*.mar"), key=lambda file: file.stat().st_mtime, reverse=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other changes of versions out while the context lasts. Raises OperatorError if one is under way."""
        try:
            file = (self.store / ".rollout").open("w")
        except OSError as cause:
            raise OperatorError(f"{self.store} cannot be written: {cause.strerror}.") from cause
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise OperatorError("Another change of versions is under way: wait until it has finished.") from cause
            yield

    def deploy(self, archive: Path) -> None:
        """Switch from the default version to an archive's; the default one keeps serving if anything fails."""
        version = str(read_version(archive, self.model))
        default, versions = self.client.list_versions()
        if version in versions:
            raise OperatorError(f"Version {version} is already registered: give the new archive another version.")
        before = versions[default]
        with ExitStack() as undo:
            file = self.store_archive(archive, version, undo)
            undo.callback(self.withdraw, version)
            self.client.register(file.name)
            report(f"{version}: registered beside {default}")
            workers = max(1, before["minWorkers"])
            self.client.scale(workers, max(workers, before["maxWorkers"]), version)
            wait_for_version(self.client, version, workers)
            median_ms = check_examples(self.client, version, times=WARM_UP)
            count = WARM_UP * len(list_examples())
            report(f"{version}: read {count} shipped pictures correctly, each in {median_ms:.1f} ms")
            undo.callback(self.client.set_default, default)
            self.client.set_default(version)
            check_examples(self.client)
            undo.pop_all()
        report(f"{version}: serves")
        self.keep(default, file)
        self.client.unregister(default)
        report(f"{default}: finished its requests and is retired")

    def store_archive(self, archive: Path, version: str, undo: ExitStack) -> Path:
        """Copy an archive into the model store under its version's name. Raises OperatorError."""
        file = self.store / f"{self.model}-{version}.mar"
        if not file.exists() or not file.samefile(archive):
            part = file.with_suffix(".part")
            undo.callback(file.unlink, missing_ok=True)
            try:
                shutil.copyfile(archive, part)
                part.replace(file)
            except OSError as cause:
                part.unlink(missing_ok=True)
                raise OperatorError(f"{archive} cannot be copied to {self.store}: {cause.strerror}.") from cause
        return file

    def keep(self, retired: str, deployed: Path) -> None:
        """Make the next start load the deployed version, and keep the retired one to roll back to."""
        kept = self.store / f"{self.model}-{retired}.mar"
        try:
            if self.serving.exists() and str(read_version(self.serving, self.model)) == retired:
                self.serving.replace(kept)
                # The first of list_archives, by this time, is the one to roll back to.
                os.utime(kept)
            deployed.replace(self.serving)
        except OSError as cause:
            sentence = f"{self.store} cannot be written: {cause.strerror}; the next start will load {retired}."
            raise OperatorError(sentence) from cause

    def withdraw(self, version: str) -> None:
        """Unregister a version that failed, if it was registered."""
        with suppress(ServiceError):
            self.client.unregister(version)

    def roll_back(self) -> None:
        """Switch back to the previous version."""
        archives = self.list_archives()
        if not archives:
            raise OperatorError(f"{self.store} holds no other version to roll back to.")
        self.deploy(archives[0])

    def undeploy(self, version: str) -> None:
        """Remove a version that is not serving."""
        default, versions = self.client.list_versions()
        file = self.store / f"{self.model}-{version}.mar"
        if version == default:
            raise OperatorError(f"Version {version} is serving: deploy another one, or roll back first.")
        if version not in versions and not file.exists():
            raise OperatorError(f"There is no version {version}.")
        if version in versions:
            self.client.unregister(version)
        file.unlink(missing_ok=True)
        report(f"{version}: removed")
