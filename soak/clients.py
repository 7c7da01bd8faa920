"""Clients that send known pictures without end, and check every answer."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import NamedTuple, TypeVar

from operate.client import Client, encode_picture, encode_v1
from operate.examples import list_examples
from soak.tally import judge_answer
from soak.wire import Answer

Job = TypeVar("Job")
Result = TypeVar("Result")

REFUSED_PAUSE_S = 0.1
# No answer for so long counts as lost.
TIMEOUT_S = 60
POLL_S = 0.05


class Known(NamedTuple):
    """A request whose answer is known: the path, the body with its headers, and the digits in their order."""

    path: str
    body: bytes
    headers: dict[str, str]
    digits: list[int]

    def judge(self, answer: Answer) -> str:
        """Return the outcome that an answer means."""
        if answer.status != http.client.OK or len(self.digits) == 1:
            return judge_answer(answer, self.digits[0])
        try:
            found = [each.get("digit") for each in json.loads(answer.body)["predictions"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "bad 200"
        return "right" if found == self.digits else "wrong"


class Event(NamedTuple):
    """One request of a steady load: when its answer came, how long that took, and what it was."""

    ended_s: float
    wait_s: float
    outcome: str


def make_known(client: Client, seed: int) -> list[Known]:
    """Return known requests in a random order: shipped pictures alone, some explained, or several in one request."""
    pictures = {digit: path.read_bytes() for digit, path in list_examples().items()}
    known = [
        Known(path, *encode_picture(picture), [digit])
        for digit, picture in pictures.items()
        for path in (*[client.predictions] * 9, client.explanations)
    ]
    chance = random.Random(seed)
    for _ in range(5):
        digits = chance.sample(sorted(pictures), 4)
        known.append(Known(client.v1, *encode_v1(pictures[digit] for digit in digits), digits))
    chance.shuffle(known)
    return known


class Load:
    """Clients on connections of their own, each of which sends its next request once it has an answer."""

    def __init__(self, address: str, known: Sequence[Known], clients: int, pause_s: float = 0) -> None:
        self.address, self.known, self.pause_s = address.removeprefix("http://"), known, pause_s
        self.events: list[Event] = []
        self.answered = [0] * clients
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self.send, args=(number,)) for number in range(clients)]

    def __enter__(self) -> "Load":
        """Start the clients."""
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        """Wait until each client has the answer to its last request."""
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def send(self, number: int) -> None:
        """Be one client, from its own place in the known requests."""
        place = number * 7
        # To a gateway that trusts this machine, each is a client of its own.
        client = {"X-Forwarded-For": f"10.0.{number // 200}.{number % 200 + 1}"}
        with closing(http.client.HTTPConnection(self.address, timeout=TIMEOUT_S)) as connection:
            while not self.is_over.wait(self.pause_s):
                known = self.known[place % len(self.known)]
                begun = time.monotonic()
                outcome = ask(connection, known, known.headers | client)
                ended = time.monotonic()
                self.events.append(Event(ended, ended - begun, outcome))
                self.answered[number] += outcome == "right"
                place += 1
                if outcome in ("refused", "503", "429"):
                    self.is_over.wait(REFUSED_PAUSE_S)

    def wait_for_all(self, count: int, timeout_s: float) -> bool:
        """Return whether within the time each client has got that many more right answers."""
        goals = [done + count for done in self.answered]
        deadline = time.monotonic() + timeout_s
        while any(done < goal for done, goal in zip(self.answered, goals, strict=True)):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def count(self, first: int = 0) -> tuple[Counter[str], float]:
        """Return the outcomes of the events from one on, and the longest wait."""
        events = self.events[first:]
        return Counter(event.outcome for event in events), max((event.wait_s for event in events), default=0)


def ask(connection: http.client.HTTPConnection, known: Known, headers: dict[str, str]) -> str:
    """Return what came of one request."""
    try:
        answer = post(connection, known.path, known.body, headers)
    except TimeoutError:
        return "hung"
    except (OSError, http.client.HTTPException):
        return "lost"
    return known.judge(answer) if answer else "refused"


def post(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
    """Return the answer to one request, None if the connection is refused. Raises OSError or HTTPException."""
    try:
        if connection.sock is None:
            try:
                connection.connect()
            except ConnectionError:
                return None
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    except (OSError, http.client.HTTPException):
        connection.close()
        raise


@contextmanager
def witness(address: str, known: Sequence[Known], clients: int = 2, pause_s: float = 0.05) -> Iterator[Load]:
    """Send known pictures beside something else, while the context lasts."""
    with Load(address, known, clients, pause_s) as load:
        yield load


def run_all(work: Callable[[Job], Result], jobs: Iterable[Job], threads: int) -> list[Result]:
    """Do all jobs, some at a time, and return their results in order; Ctrl-C waits for those only that have begun."""
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(work, jobs))
    finally:
        pool.shutdown(cancel_futures=True)
