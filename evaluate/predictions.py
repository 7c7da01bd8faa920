"""What the recogniser answers to picture files: the net here, or the running service."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import requests
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from digit_image import BadImage, read_picture
from digit_net import DigitNet
from evaluate.pictures import PictureSet
from operate.client import Client, ServiceError
from operate.config import OperatorError
from train.accuracy import BATCH

MODEL_CONFIG = Path(__file__).parent.parent / "handler" / "model-config.yaml"
READERS = 2
CLIENTS = 16
REFUSED = -1

Item = TypeVar("Item")


@dataclass(frozen=True)
class Answers:
    """What n pictures were read as, (n,) each; a refused one has the digit REFUSED and no confidence (0)."""

    digits: NDArray[np.int64]
    confidences: NDArray[np.float64]
    certain: NDArray[np.bool_]

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which pictures (n,) were not refused."""
        return self.digits != REFUSED


Result = tuple[PictureSet, Answers]
# Takes picture files and a name for the progress bar.
Ask = Callable[[Sequence[bytes], str], Answers]


def read_threshold() -> float:
    """Return the confidence from which an answer counts as certain. Raises OperatorError."""
    config = yaml.safe_load(MODEL_CONFIG.read_text())
    try:
        return float(config["handler"]["certain_from"])
    except (KeyError, TypeError, ValueError) as cause:
        raise OperatorError(f"{MODEL_CONFIG} needs a number under handler: certain_from.") from cause


def read_pixels(net: DigitNet, threshold: float, pixels: Tensor) -> Answers:
    """Return what the net reads in (N, 1, 28, 28) uint8 pixels."""
    with torch.inference_mode():
        batches = [torch.softmax(net(batch), 1).double().max(1) for batch in pixels.split(BATCH)]
    confidences = torch.cat([batch.values for batch in batches]).numpy()
    return Answers(torch.cat([batch.indices for batch in batches]).numpy(), confidences, confidences >= threshold)


def read_here(net: DigitNet, threshold: float, uploads: Sequence[bytes], name: str) -> Answers:
    """Return what is read in picture files without a service."""
    pictures = spread(see, uploads, READERS, name)
    good = np.array([picture is not None for picture in pictures])
    digits, confidences = np.full(len(uploads), REFUSED), np.zeros(len(uploads))
    certain = np.zeros(len(uploads), bool)
    if good.any():
        pixels = torch.from_numpy(np.stack([picture for picture in pictures if picture is not None]))
        read = read_pixels(net, threshold, pixels)
        digits[good], confidences[good], certain[good] = read.digits, read.confidences, read.certain
    return Answers(digits, confidences, certain)


def see(upload: bytes) -> NDArray[np.uint8] | None:
    """Return the (1, 28, 28) uint8 pixels that the net sees of a picture file, or None if it is refused."""
    try:
        return read_picture(upload)
    except BadImage:
        return None


def ask_service(client: Client, uploads: Sequence[bytes], name: str) -> Answers:
    """Return what a service answers to picture files, asked over 16 connections. Raises ServiceError."""
    digits, confidences, certain = zip(*spread(partial(ask_once, client), uploads, CLIENTS, name), strict=True)
    return Answers(np.array(digits), np.array(confidences), np.array(certain))


def ask_once(client: Client, upload: bytes) -> tuple[int, float, bool]:
    """Return digit, confidence and certainty of a service's answer to one picture file.

    Only 400 and 413 mean that it refuses the picture. Raises ServiceError for anything else.
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
        raise ServiceError(f"The service at {client.inference} answered: {answer}") from cause


def spread(read: Callable[[bytes], Item], uploads: Sequence[bytes], threads: int, name: str) -> list[Item]:
    """Call a function for each picture file, from several threads behind a progress bar on stderr."""
    pool = ThreadPoolExecutor(threads)
    try:
        return list(tqdm(pool.map(read, uploads), name, len(uploads), unit="picture", leave=False, disable=None))
    finally:
        # After Ctrl-C nobody waits for the rest.
        pool.shutdown(cancel_futures=True)
