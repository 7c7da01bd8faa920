"""What the management API says of the model's versions and their workers, and what it can be told."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import requests
from service import EXAMPLES, MODEL, PREDICTIONS, ServiceError, ask, log_folder, patiently, send

# Seconds for a worker to load the model, and for the service to answer: it waits for what workers have in hand.
LOAD_TIMEOUT_S = 120
ANSWER_TIMEOUT_S = 90
POLL_S = 0.1

# How TorchServe describes a version of the model, or a worker.
Description = dict[str, Any]


def manage(config: dict[str, str], session: requests.Session, method: str, path: str = "", **told: str | int) -> Any:  # noqa: ANN401
    """Send a request for the model, or for a path below it, and return the JSON of the answer. Raises ServiceError."""
    # A new version is not below the model: its archive says what it is of.
    whole = "/models" if method == "POST" else f"/models/{MODEL}{path}"
    return send(session, method, config["management_address"], whole, ANSWER_TIMEOUT_S, params=told)


def list_versions(config: dict[str, str], session: requests.Session) -> tuple[str, dict[str, Description]]:
    """Return which version is the default, and TorchServe's description of each. Raises ServiceError."""
    (default,) = manage(config, session, "GET")
    versions = {each["modelVersion"]: each for each in manage(config, session, "GET", "/all")}
    return default["modelVersion"], versions


def wait_for_workers(list_workers: Callable[[], list[Description]], count: int, tell: Callable[[int], None]) -> None:
    """Return when so many workers are ready; tell how many are, whenever that changes. Raises ServiceError."""
    begin, deadline = datetime.now(), time.monotonic() + LOAD_TIMEOUT_S
    processes: dict[str, set[int]] = {}
    before = -1
    while time.monotonic() < deadline:
        workers = list_workers()
        ready = Counter(worker["status"] for worker in workers)["READY"]
        if ready != before:
            before = ready
            tell(ready)
        if ready >= count:
            return
        # A second process of the same worker: the first died while it loaded the model.
        for worker in workers:
            if worker["pid"] > 0:
                processes.setdefault(worker["id"], set()).add(worker["pid"])
        if any(len(pids) > 1 for pids in processes.values()):
            raise ServiceError(f"The model does not load: {last_problem(begin)}")
        time.sleep(POLL_S)
    raise ServiceError(f"The model was not ready after {LOAD_TIMEOUT_S} s.")


def last_problem(since: datetime) -> str:
    """Return the last error that a worker has written down since then, or where it would be."""
    file = log_folder() / "model.log"
    with suppress(OSError):
        lines = file.read_text(errors="replace")[-100_000:].splitlines()
        # TorchServe's own error, which says nothing, follows the one that does.
        error = re.compile(r" - ((?:\w+\.)*\w*(?:Error|Exception)\b(?!: 500 - Unknown).*)")
        found = [match[1] for line in lines if line >= since.isoformat() and (match := error.search(line))]
        if found:
            return found[-1]
    return f"{file} says why."


def check_pictures(
    config: dict[str, str],
    session: requests.Session,
    version: str = "",
    times: int = 1,
    digits: Iterable[int] = EXAMPLES,
) -> float:
    """Have shipped pictures read by a version, or the default, and return the median time in ms. Raises ServiceError.

    Several times means many at once, so that all workers have read some.
    """
    path = f"{PREDICTIONS}/{version}".rstrip("/")
    contents = {digit: EXAMPLES[digit].read_bytes() for digit in digits}

    def check(digit: int) -> float:
        begin = time.monotonic()
        answer = patiently(partial(ask, config["inference_address"], path, contents[digit], session))
        if answer.get("digit") != digit:
            found = answer.get("digit")
            raise ServiceError(f"{EXAMPLES[digit].name} was read as {found}: weights and code do not fit.")
        return 1000 * (time.monotonic() - begin)

    with ThreadPoolExecutor(8) as clients:
        took = sorted(clients.map(check, [*contents] * times))
    return took[len(took) // 2]
