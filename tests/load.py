"""Clients that send requests without a pause, and count what they get."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

from tests.services import EXAMPLES


@contextmanager
def load(url: str, clients: int = 16, pictures: dict[int, bytes] | None = None) -> Iterator[Counter[str]]:
    """Run that many clients, each on a connection of its own, while the context lasts.

    Each sends one picture again and again: those given by their digits, or else those shipped. Counts "right" answers,
    "refused" connections, and every other outcome of a request by its own words.
    """
    sent = list((pictures or {digit: path.read_bytes() for digit, path in EXAMPLES.items()}).items())
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    is_over = threading.Event()

    def ask_for_ever(digit: int, picture: bytes) -> None:
        address = urlsplit(url)
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)) as connection:
            result = ""
            while result != "refused" and not is_over.is_set():
                result = ask(connection, address.path, digit, picture)
                with lock:
                    counts[result] += 1

    threads = [threading.Thread(target=ask_for_ever, args=sent[client % len(sent)]) for client in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def ask(connection: http.client.HTTPConnection, path: str, digit: int, picture: bytes) -> str:
    """Return what came of one request for a picture of a digit."""
    try:
        if connection.sock is None:
            try:
                connection.connect()
            except ConnectionError:
                return "refused"
        connection.request("POST", path, picture)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as problem:
        connection.close()
        return f"lost: {type(problem).__name__}"
    if response.status != http.client.OK:
        return f"status {response.status}: {text[:100]}"
    return "right" if f'"digit":{digit},' in text else f"wrong: {text[:60]}"
