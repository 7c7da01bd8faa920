"""Predictions for picture files, by the nets in this process or by a running service."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import numpy as np
import requests
from numpy.typing import NDArray
from tqdm import tqdm

from evaluate.pictures import PictureSet
from model.decode import decode
from model.engine import Engine, build_engine
from model.errors import BadImage
from model.geometry import Pixels
from model.recognise import Reading, recognise
from operate.client import Client, ServiceError

THREADS = 2
CONNECTIONS = 16
REFUSED = -1


@dataclass(frozen=True)
class Predictions:
    """The digits 0..9 and confidences 0..1 of n pictures, (n,) each; a refused one has REFUSED and 0."""

    digits: NDArray[np.int64]
    confidences: NDArray[np.float64]
    certain: NDArray[np.bool_]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Which pictures (n,) were not refused."""
        return self.digits != REFUSED


# A digit, its confidence, and whether it is certain.
Answer = tuple[int, float, bool]
Result = tuple[PictureSet, Predictions]
# Takes picture files and a name for the progress bar.
Predictor = Callable[[Sequence[bytes], str], Predictions]


def find_correct(result: Result) -> NDArray[np.bool_]:
    """Return which predictions (n,) for pictures of digits were correct."""
    return result[0].digits == result[1].digits


def count_correct(result: Result) -> tuple[int, int]:
    """Return how many pictures of digits were read correctly, and how many there are."""
    return int(find_correct(result).sum()), len(result[0].digits)


def certain_but_wrong(result: Result) -> NDArray[np.bool_]:
    """Return which predictions (n,) for pictures of digits were certain but wrong."""
    return result[1].certain & ~find_correct(result)


def predict_pixels(threshold: float, pixels: Pixels) -> Predictions:
    """Return DigitNet's predictions for (n, 1, 28, 28) uint8 pixels."""
    probabilities = build_engine().classify(pixels)
    confidences = probabilities.max(1).astype(np.float64)
    return Predictions(probabilities.argmax(1), confidences, confidences >= threshold)


@functools.cache
def load_engines() -> "SimpleQueue[Engine]":
    """Return the shipped nets as a service's workers have them, once for each thread: two cannot use the same."""
    engines: SimpleQueue[Engine] = SimpleQueue()
    for _ in range(THREADS):
        engines.put(build_engine())
    return engines


def predict_in_process(threshold: float, uploads: Sequence[bytes], name: str) -> Predictions:
    """Return the nets' predictions for picture files, without a service."""
    # Before the threads, each of which would load them.
    load_engines()
    return predict_in_threads(partial(read_one, threshold), uploads, THREADS, name)


def read_one(threshold: float, upload: bytes) -> Answer:
    """Return the nets' digit and confidence for one picture file, and whether it is certain."""
    reading = read_upload(upload)
    if reading is None:
        return REFUSED, 0.0, False
    return reading.digit, reading.confidence, reading.confidence >= threshold


def read_upload(upload: bytes) -> Reading | None:
    """Return the nets' reading of a picture file, or None if it is refused."""
    engine = load_engines().get()
    try:
        (reading,) = recognise([decode(upload)], engine)
    except BadImage:
        return None
    finally:
        load_engines().put(engine)
    return None if isinstance(reading, BadImage) else reading


def predict_with_service(client: Client, uploads: Sequence[bytes], name: str) -> Predictions:
    """Return a service's predictions for picture files, sent over 16 connections. Raises ServiceError."""
    return predict_in_threads(partial(predict_one, client), uploads, CONNECTIONS, name)


def predict_one(client: Client, upload: bytes) -> Answer:
    """Return a service's digit and confidence for one picture file, and whether it is certain.

    The status 400 or 413 means that it refuses the picture; for any other error, raises ServiceError.
    """
    try:
        answer = client.predict(upload)
    except ServiceError as error:
        if error.status in (requests.codes.bad_request, requests.codes.request_entity_too_large):
            return REFUSED, 0.0, False
        raise
    try:
        return int(answer["digit"]), float(answer["confidence"]), bool(answer["certain"])
    except (KeyError, TypeError, ValueError) as cause:
        raise ServiceError(f"The service at {client.inference} sent an answer without a digit: {answer}") from cause


def predict_in_threads(
    predict: Callable[[bytes], Answer], uploads: Sequence[bytes], threads: int, name: str
) -> Predictions:
    """Return the predictions for picture files, each made in one of the threads, behind a progress bar on stderr."""
    pool = ThreadPoolExecutor(threads)
    try:
        answers = tqdm(pool.map(predict, uploads), name, len(uploads), unit="picture", leave=False, disable=None)
        return Predictions(*(np.array(part) for part in zip(*answers, strict=True)))
    finally:
        # After Ctrl-C nobody waits for the rest.
        pool.shutdown(cancel_futures=True)
