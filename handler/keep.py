"""Keeps pictures on disk for people to review: doubted ones, and those that came with their truth."""

import atexit
import hashlib
import io
import logging
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from queue import Full, Queue
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image

from handler.metrics import Tally
from handler.requests import Answer, Request, is_doubted
from model.decode import Picture, turn_back
from model.errors import BadImage
from model.geometry import Ink

# In each of the two folders; the oldest go first.
MOST_PICTURES, MOST_BYTES = 1000, 100_000_000
# Pictures, of up to 160 kB, that wait to be written; further ones are dropped.
WAITING = 64
# The pause after each. Writing one takes some 5 ms of a core, of which an answer may have to wait for 1: a lower
# priority would make it wait longer, as both threads need Python's lock.
PAUSE_S = 0.1
# The parts of an answer that are kept: boxes, numbers among them, and explanations belong to the upload.
PARTS = ("digit", "confidence", "certain", "probabilities", "as_stored")
# With the number of a worker, one that is not written whole.
NAME = re.compile(r"([0-9a-f]{16})\.(?:png|json)(?:\.\d+)?")


class Kept(NamedTuple):
    """A picture to be written."""

    # (h, w) uint8, which the service reads as it read the upload.
    grey: NDArray[np.uint8]
    # The answer, and what else is known.
    described: Answer
    # "" if its sender does not say what it shows.
    truth: str

    @property
    def folder(self) -> str:
        """Where it is to be kept."""
        return "corrected" if self.truth else "doubted"


class Keeper:
    """Writes pictures from a thread, so that no answer waits for the disk; the workers share the folder."""

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.folder, self.tally = folder, tally
        self.waiting: Queue[Kept] = Queue(WAITING)
        self.is_ending = threading.Event()
        self.has_failed = False
        threading.Thread(target=self.write_for_ever, daemon=True).start()
        # Before the last counts are printed, as it was registered after them.
        atexit.register(self.finish)

    def add(self, request: Request, answers: list[Answer | BadImage]) -> None:
        """Hand over the pictures of an answered request that are to be kept, unless too many are waiting."""
        model, version = self.tally.model
        truths = request.truths or [""] * len(answers)
        for picture, answer, truth in zip(request.pictures, answers, truths, strict=True):
            if isinstance(answer, BadImage) or isinstance(picture, BadImage) or not (truth or is_doubted(answer)):
                continue
            described = {name: answer[name] for name in PARTS if name in answer} | {"model": model, "version": version}
            if truth:
                described["truth"] = truth
            grey = to_grey(picture, "as_stored" in answer)
            try:
                self.waiting.put_nowait(Kept(grey, described, truth))
            except Full:
                self.tally.count("digit_not_kept_total", "busy")

    def write_for_ever(self) -> None:
        """Write what was handed over, one picture after the other."""
        while True:
            kept = self.waiting.get()
            try:
                write(kept, self.folder)
                prune(self.folder / kept.folder)
            except (OSError, MemoryError) as problem:
                self.tally.count("digit_not_kept_total", "failed")
                if not self.has_failed:
                    logging.warning("Pictures cannot be kept until this is mended: %s", problem)
                self.has_failed = True
            else:
                self.tally.count("digit_kept_total", kept.folder)
                self.has_failed = False
            self.waiting.task_done()
            self.is_ending.wait(PAUSE_S)

    def finish(self) -> None:
        """Return when all is written; server/src/digits/server/DrainingWorkerThread.java waits 5 s for it."""
        self.is_ending.set()
        self.waiting.join()


def to_grey(picture: Picture | Ink, is_as_stored: bool) -> NDArray[np.uint8]:
    """Return a picture as (h, w) uint8 grey levels: of a thumbnail or of pixels, the 28x28 pixels made of them."""
    if isinstance(picture, Ink):
        # The request's other pictures may lie around it.
        return picture.pixels[0].copy()
    return (turn_back(picture) if is_as_stored else picture).grey


def write(kept: Kept, folder: Path) -> None:
    """Write a picture, with its description beside it; the same one is replaced, in "doubted" too. Raises OSError."""
    doubted, own = folder / "doubted", folder / kept.folder
    own.mkdir(mode=0o700, exist_ok=True)
    with io.BytesIO() as encoded:
        Image.fromarray(kept.grey).save(encoded, "PNG", compress_level=1)
        png = encoded.getvalue()
    name = hashlib.blake2b(png + kept.truth.encode(), digest_size=8).hexdigest()
    contents = {".json": orjson.dumps(kept.described), ".png": png}
    unfinished = {suffix: own / f"{name}{suffix}.{os.getpid()}" for suffix in contents}
    try:
        for suffix, content in contents.items():
            unfinished[suffix].write_bytes(content)
        # The picture last: whoever finds it finds both whole.
        for suffix, file in unfinished.items():
            file.rename(own / (name + suffix))
    except OSError:
        for file in unfinished.values():
            with suppress(OSError):
                file.unlink()
        raise
    if kept.truth:
        name = hashlib.blake2b(png, digest_size=8).hexdigest()
        for suffix in reversed(contents):
            (doubted / (name + suffix)).unlink(missing_ok=True)


def prune(folder: Path, most_pictures: int = MOST_PICTURES, most_bytes: int = MOST_BYTES) -> None:
    """Delete the oldest pictures of a folder, and what lies beside them, until it is within both limits."""
    found: dict[str, tuple[float, int, list[str]]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            # Another worker may delete it at the same time.
            with suppress(FileNotFoundError):
                if match := NAME.fullmatch(entry.name):
                    status, (changed, size, names) = entry.stat(), found.get(match[1], (0.0, 0, []))
                    found[match[1]] = max(changed, status.st_mtime), size + status.st_size, [*names, entry.name]
    count, total = len(found), sum(size for _, size, _ in found.values())
    for _, size, names in sorted(found.values()):
        if count <= most_pictures and total <= most_bytes:
            break
        # The picture first.
        for name in sorted(names, reverse=True):
            (folder / name).unlink(missing_ok=True)
        count, total = count - 1, total - size
