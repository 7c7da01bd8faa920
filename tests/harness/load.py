"""Clients that send requests for as long as a test wants, and count what they get."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import cycle
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from evaluate.pictures import png
from operate.client import Body, Client, encode_picture, encode_v1
from tests.harness.service import EXAMPLES

# A path of the inference API, and the body that is POSTed to it.
Request = tuple[str, Body]

PAUSE_S = 0.1
REFUSED_PAUSE_S = 0.1


@contextmanager
def load(
    url: str,
    clients: int = 16,
    pictures: dict[int, bytes] | None = None,
    requests: Sequence[Request] = (),
    waits_s: list[float] | None = None,
    pause_s: float = 0,
) -> Iterator[Counter[str]]:
    """Run that many clients, each on its own connection, while the context lasts.

    They send pictures in turn: those given by their digits, or else those shipped; or else the requests given, to the
    host of the URL. Counts answers that are "right" (of requests: any), "refused" connections, after which it tries
    again, and every other outcome of a request by its own words. To a gateway that trusts them, each is a client of its
    own. The time that each request took is added to waits_s. With PAUSE_S before each, every moment is covered, but not
    every core.
    """
    address = urlsplit(url)
    known = pictures or {digit: path.read_bytes() for digit, path in EXAMPLES.items()}
    sent: list[tuple[Request, str]] = [(request, "") for request in requests] or [
        ((address.path, (picture, {})), f'"digit":{digit},') for digit, picture in known.items()
    ]
    counts: Counter[str] = Counter()
    lock = threading.Lock()
    is_over = threading.Event()

    def ask_for_ever(client: int) -> None:
        first = client % len(sent)
        own = {"X-Forwarded-For": f"10.0.0.{client}"}
        with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)) as connection:
            for (path, (body, headers)), part in cycle(sent[first:] + sent[:first]):
                if is_over.wait(pause_s):
                    return
                sent_s = time.monotonic()
                result = ask(connection, path, (body, headers | own), part)
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


def ask(connection: http.client.HTTPConnection, path: str, body: Body, part: str) -> str:
    """Return what came of one request, whose right answer has a part."""
    try:
        if connection.sock is None:
            try:
                connection.connect()
            except ConnectionError:
                return "refused"
        connection.request("POST", path, *body)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as problem:
        connection.close()
        return f"lost: {type(problem).__name__}"
    if response.status != http.client.OK:
        return f"status {response.status}: {text[:100]}"
    return "right" if part in text else f"wrong: {text[:60]}"


def make_good(client: Client, pixels: NDArray[np.uint8]) -> list[Request]:
    """Return requests for the digits of (n, 28, 28) uint8 MNIST pixels: most hold one, some ten, some a truth.

    Some more are for numbers, in a shipped picture.
    """
    files = [png(picture) for picture in pixels]
    tens = [slice(start, start + 10) for start in range(0, len(files), 50)]
    return [
        *((client.predictions, encode_picture(file)) for file in files),
        *((client.explanations, encode_picture(file)) for file in files[::20]),
        *((client.predictions, (file, {"Truth": str(number % 10)})) for number, file in enumerate(files[::10])),
        *[(client.predictions, encode_picture(EXAMPLES[7].read_bytes(), "numbers"))] * len(tens),
        *((client.v1, encode_v1(files[ten])) for ten in tens),
        *((client.v2, encode_v2_as_json(pixels[ten])) for ten in tens),
    ]


def encode_v2_as_json(pixels: NDArray[np.uint8]) -> Body:
    """Return the body that sends (n, 28, 28) uint8 pixels as numbers in KServe's v2 protocol."""
    tensor = {"name": "pixels", "shape": pixels.shape, "datatype": "UINT8", "data": pixels.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}


def make_bad(client: Client) -> dict[str, Request]:
    """Return a request that is refused for each reason of digit_refused_total, except a full queue."""
    file = png(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))
    blank = np.full((60, 60), 255, np.uint8)
    return {
        "not_a_picture": (client.predictions, encode_picture(b"hello")),
        "damaged": (client.predictions, encode_picture(file[: len(file) // 2])),
        "blank": (client.predictions, encode_picture(png(blank))),
        "too_small": (client.predictions, encode_picture(png(blank[:2, :2]))),
        "too_many_megapixels": (client.predictions, encode_picture(png(np.zeros((5001, 5000), np.uint8)))),
        "malformed_request": (client.v1, (b'{"pictures": []}', {"Content-Type": "application/json"})),
        "too_many_pictures": (client.v1, encode_v1([])),
        "too_large": (client.predictions, encode_picture(bytes(client.config.max_request_bytes + 1))),
        "malformed_form": (client.predictions, (file, {"Content-Type": 'multipart/form-data; boundary="'})),
    }
