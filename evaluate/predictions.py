"""Predictions for picture files, by the nets in this process or by a running service."""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np
import requests
from numpy.typing import NDArray
from tqdm import tqdm

from evaluate.pictures import PictureSet
from model.decode import Picture, decode
from model.engine import Engine, build_engine
from model.errors import BadImage
from model.geometry import Pixels
from model.recognise import Reading, add_numbers, recognise
from operate.client import Client, ServiceError

THREADS = 2
CONNECTIONS = 16
REFUSED = -1


class FoundNumber(NamedTuple):
    """A number in a picture: its digits, its confidence, and whether it is certain."""

    text: str
    confidence: float
    certain: bool


class Answer(NamedTuple):
    """The digit in a picture or REFUSED, its confidence, and whether it is certain.

    The numbers are in reading order; None if they were not looked for.
    """

    digit: int = REFUSED
    confidence: float = 0.0
    certain: bool = False
    numbers: list[FoundNumber] | None = None


@dataclass(frozen=True)
class Predictions:
    """The digits 0..9 and confidences 0..1 of n pictures, (n,) each; a refused one has REFUSED and 0."""

    digits: NDArray[np.int64]
    confidences: NDArray[np.float64]
    certain: NDArray[np.bool_]
    # Of each picture, or of none, as Answer has them.
    numbers: Sequence[list[FoundNumber] | None] = ()

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Which pictures (n,) were not refused."""
        return self.digits != REFUSED

    @property
    def found(self) -> list[list[FoundNumber]]:
        """The numbers of each picture, [] also where they were not looked for."""
        return [numbers or [] for numbers in self.numbers]

    @property
    def are_thumbnails(self) -> bool:
        """Whether a picture was doubted, and yet not searched for numbers."""
        doubted = self.accepted & ~self.certain
        return any(numbers is None for numbers, is_one in zip(self.numbers, doubted, strict=True) if is_one)

    @property
    def number_confidences(self) -> NDArray[np.float64]:
        """The confidence of each picture's least certain number, (n,); 0 if it has none."""
        return np.array([min((each.confidence for each in numbers), default=0.0) for numbers in self.found])

    @property
    def all_certain(self) -> NDArray[np.bool_]:
        """Which pictures (n,) have numbers, all of them certain."""
        return np.array([len(numbers) > 0 and all(each.certain for each in numbers) for numbers in self.found])

    @property
    def any_certain(self) -> NDArray[np.bool_]:
        """Which pictures (n,) have a certain number."""
        return np.array([any(each.certain for each in numbers) for numbers in self.found])


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


def find_exact(result: Result) -> NDArray[np.bool_]:
    """Return in which pictures (n,) of numbers exactly their digits were read, those of all numbers in order."""
    read = ["".join(each.text for each in numbers) for numbers in result[1].found]
    return np.array(read) == np.array(result[0].texts)


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


def predict_in_process(
    threshold: float, uploads: Sequence[bytes], name: str, with_numbers: bool = False
) -> Predictions:
    """Return the nets' predictions for picture files, without a service.

    Numbers, which take time, are looked for where a service would by default, if they are wanted.
    """
    # Before the threads, each of which would load them.
    load_engines()
    return predict_in_threads(partial(read_one, threshold, with_numbers), uploads, THREADS, name)


def read_one(threshold: float, with_numbers: bool, upload: bytes) -> Answer:
    """Return the nets' answer to one picture file."""
    reading = read_upload(upload, threshold if with_numbers else 0.0)
    if reading is None:
        return Answer()
    answer = Answer(reading.digit, reading.confidence, reading.confidence >= threshold)
    if reading.numbers is None:
        return answer
    found = [FoundNumber(each.text, each.confidence, each.confidence >= threshold) for each in reading.numbers]
    return answer._replace(numbers=found)


def read_upload(upload: bytes, least_confidence: float = 0.0) -> Reading | None:
    """Return the nets' reading of a picture file, or None if it is refused.

    As in a service, numbers are looked for if the confidence in one digit is less. With 0 none are.
    """
    engine = load_engines().get()
    try:
        picture = decode(upload)
        (reading,) = recognise([picture], engine)
        is_doubted = isinstance(reading, BadImage) or reading.confidence < least_confidence
        if least_confidence and is_doubted and isinstance(picture, Picture):
            reading = add_numbers(picture, reading, engine)
        return None if isinstance(reading, BadImage) else reading
    except BadImage:
        return None
    finally:
        load_engines().put(engine)


def predict_with_service(client: Client, uploads: Sequence[bytes], name: str) -> Predictions:
    """Return a service's predictions for picture files, sent over 16 connections. Raises ServiceError."""
    return predict_in_threads(partial(predict_one, client), uploads, CONNECTIONS, name)


def predict_one(client: Client, upload: bytes) -> Answer:
    """Return a service's answer to one picture file.

    The status 400 or 413 means that it refuses the picture; for any other error, raises ServiceError.
    """
    try:
        answer = client.predict(upload)
    except ServiceError as error:
        if error.status in (requests.codes.bad_request, requests.codes.request_entity_too_large):
            return Answer()
        raise
    try:
        numbers = answer.get("numbers")
        if numbers is not None:
            numbers = [FoundNumber(each["text"], float(each["confidence"]), bool(each["certain"])) for each in numbers]
        return Answer(int(answer["digit"]), float(answer["confidence"]), bool(answer["certain"]), numbers)
    except (KeyError, TypeError, ValueError) as cause:
        raise ServiceError(f"The service at {client.inference} sent an answer without a digit: {answer}") from cause


def predict_in_threads(
    predict: Callable[[bytes], Answer], uploads: Sequence[bytes], threads: int, name: str
) -> Predictions:
    """Return the predictions for picture files, each made in one of the threads, behind a progress bar on stderr."""
    pool = ThreadPoolExecutor(threads)
    try:
        answers = tqdm(pool.map(predict, uploads), name, len(uploads), unit="picture", leave=False, disable=None)
        digits, confidences, certain, numbers = zip(*answers, strict=True)
        return Predictions(np.array(digits), np.array(confidences), np.array(certain), numbers)
    finally:
        # After Ctrl-C nobody waits for the rest.
        pool.shutdown(cancel_futures=True)
