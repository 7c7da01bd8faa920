"""Clients that send requests for as long as a test wants, and count what they get."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

from soak.clients import REFUSED_PAUSE_S, post
from tests.services import EXAMPLES

PAUSE_S = 0.05


@contextmanager
def load(
    url: str,
    clients: int = 16,
    pictures: dict[int, bytes] | None = None,
    waits_s: list[float] | None = None,
    pause_s: float = 0,
) -> Iterator[Counter[str]]:
    """Run that many clients, each on a connection of its own, while the context lasts.

    Each sends one picture again and again: those given by their digits, or else those shipped. Counts "right" answers,
    "refused" connections, after which it tries again, and every other outcome of a request by its own words. To a
    gateway that trusts them, each is a client of its own. The time that each request took is added to waits_s. With
    PAUSE_S before each, every moment is covered, but not every core.
    """
    sent = list((pictures or {digit: path.read_bytes() for digit, path in EXAMPLES.items()}).items())
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    is_over = threading.Event()

    def ask_for_ever(client: int) -> None:
        digit, picture = sent[client % len(sent)]
        headers = {"X-Forwarded-For": f"10.0.0.{client}"}
        address = urlsplit(url)
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)) as connection:
            while not is_over.wait(pause_s):
                sent_s = time.monotonic()
                result = ask(connection, address.path, digit, picture, headers)
                with lock:
                    counts[result] += 1
                    if waits_s is not None:
                        waits_s.append(time.monotonic() - sent_s)
                if result == "refused":
                    is_over.wait(REFUSED_PAUSE_S)

    threads = [threading.Thread(target=ask_for_ever, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def ask(connection: http.client.HTTPConnection, path: str, digit: int, picture: bytes, headers: dict[str, str]) -> str:
    """Return what came of one request for a picture of a digit."""
    try:
        answer = post(connection, path, picture, headers)
    except (OSError, http.client.HTTPException) as problem:
        return f"lost: {type(problem).__name__}"
    if not answer:
        return "refused"
    text = answer.body.decode()
    if answer.status != http.client.OK:
        return f"status {answer.status}: {text[:100]}"
    return "right" if f'"digit":{digit},' in text else f"wrong: {text[:60]}"
