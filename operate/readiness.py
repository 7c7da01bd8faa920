"""Checks whether a version is ready: its workers have loaded the model, and it reads the shipped pictures."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial

from operate.client import Client, Description, ServiceError, retry_while_busy
from operate.config import log_folder
from operate.examples import list_examples

# Within which a worker must have loaded the model.
LOAD_TIMEOUT_S = 120
POLL_S = 0.1
# Readings of each shipped picture that warm up every worker.
WARM_UP = 30


def wait_for_workers(
    list_workers: Callable[[], list[Description]], count: int, on_change: Callable[[int], None] = lambda _ready: None
) -> None:
    """Return when that many workers are ready, passing each new number to on_change. Raises ServiceError."""
    start, deadline = datetime.now(), time.monotonic() + LOAD_TIMEOUT_S
    processes: dict[str, set[int]] = {}
    reported = -1
    while time.monotonic() < deadline:
        workers = list_workers()
        ready = Counter(worker["status"] for worker in workers)["READY"]
        if ready != reported:
            reported = ready
            on_change(ready)
        if ready >= count:
            return
        # A second process of the same worker: the first died while it loaded the model.
        for worker in workers:
            if worker["pid"] > 0:
                processes.setdefault(worker["id"], set()).add(worker["pid"])
        if any(len(pids) > 1 for pids in processes.values()):
            raise ServiceError(f"The model does not load: {find_last_error(start)}")
        time.sleep(POLL_S)
    raise ServiceError(f"The model was not ready after {LOAD_TIMEOUT_S} s.")


def find_last_error(since: datetime) -> str:
    """Return the last error that a worker has logged since then, or where to look for it."""
    file = log_folder() / "model.log"
    # TorchServe's own error, which explains nothing, follows the one that does.
    error = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception)\b(?!: 500 - Unknown)")
    # Logs have milliseconds.
    first = since.replace(microsecond=since.microsecond // 1000 * 1000).astimezone()
    with suppress(OSError):
        lines = map(parse_line, file.read_text(errors="replace")[-100_000:].splitlines())
        errors = [message for logged, message in filter(None, lines) if logged >= first and error.match(message)]
        if errors:
            return errors[-1]
    return f"see {file}."


def parse_line(line: str) -> tuple[datetime, str] | None:
    """Return time and message of a line that was logged in one of the formats of log4j2.xml; None for another line."""
    with suppress(ValueError, LookupError):
        if line.startswith("{"):
            logged = json.loads(line)
            return datetime.fromisoformat(logged["time"]), logged["message"]
        head, _, message = line.partition(" - ")
        return datetime.fromisoformat(head.split()[0]).astimezone(), message
    return None


def check_examples(client: Client, version: str = "", times: int = 1, digits: Iterable[int] = range(10)) -> float:
    """Read shipped pictures with a version, or with the default one; return the median time in ms.

    Many are sent at once, so that with enough times every worker reads some.
    Raises ServiceError if one is read wrong or not at all.
    """
    examples = list_examples()
    contents = {digit: examples[digit].read_bytes() for digit in digits}

    def check(digit: int) -> float:
        start = time.monotonic()
        answered = retry_while_busy(partial(client.predict, contents[digit], version)).get("digit")
        if answered != digit:
            raise ServiceError(f"{examples[digit].name} was read as {answered}: weights and code do not match.")
        return 1000 * (time.monotonic() - start)

    with ThreadPoolExecutor(8) as clients:
        times_ms = sorted(clients.map(check, [*contents] * times))
    return times_ms[len(times_ms) // 2]
