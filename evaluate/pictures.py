"""Sets of labelled picture files, as somebody would upload them."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operate.labels import Labelled, list_pictures

# What stands for a digit where pictures do not show one.
OUT_OF_DISTRIBUTION = -1


@dataclass(frozen=True)
class PictureSet:
    """n picture files with the digit 0..9 of each, (n,), or OUT_OF_DISTRIBUTION for all of them.

    The latter show numbers, whose digits in reading order are n texts, or no digits: then there are no texts.
    """

    name: str
    uploads: list[bytes]
    digits: NDArray[np.int64]
    texts: list[str] = field(default_factory=list)

    @property
    def shows_digits(self) -> bool:
        """Whether these are pictures of one digit each."""
        return OUT_OF_DISTRIBUTION not in self.digits


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return (h, w) uint8 grey levels as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def without_one_digit(name: str, uploads: list[bytes], texts: list[str] | None = None) -> PictureSet:
    """Return pictures of numbers, whose digits are the texts, or of anything but digits."""
    return PictureSet(name, uploads, np.full(len(uploads), OUT_OF_DISTRIBUTION), texts or [])


def read_folder(folder: Path, limit: int | None) -> list[PictureSet]:
    """Return a folder's pictures as up to three sets of at most limit each: digits, numbers, and no digits.

    Raises FolderError, or OSError for a file that cannot be read.
    """
    parts: dict[str, list[Labelled]] = {"": [], ", numbers": [], ", no digits": []}
    for each in list_pictures(folder):
        is_number = each.label.isascii() and each.label.isdecimal()
        kind = ", no digits" if not is_number else ", numbers" if len(each.label) > 1 else ""
        parts[kind].append(each)
    sets = []
    for kind, part in parts.items():
        labels = [each.label for each in part[:limit]]
        uploads = [each.file.read_bytes() for each in part[:limit]]
        name = folder.resolve().name + kind
        if uploads and not kind:
            sets.append(PictureSet(name, uploads, np.array(labels, np.int64)))
        elif uploads:
            sets.append(without_one_digit(name, uploads, labels if kind == ", numbers" else []))
    return sets
