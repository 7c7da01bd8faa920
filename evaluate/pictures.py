"""Sets of labelled picture files, as somebody would upload them."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from operate.labels import list_pictures

# The label of pictures that do not show one digit.
OUT_OF_DISTRIBUTION = -1


@dataclass(frozen=True)
class PictureSet:
    """n picture files with the digit 0..9 of each, (n,), or OUT_OF_DISTRIBUTION for all of them."""

    name: str
    uploads: list[bytes]
    digits: NDArray[np.int64]

    @property
    def shows_digits(self) -> bool:
        """Whether these are pictures of digits."""
        return OUT_OF_DISTRIBUTION not in self.digits


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return (h, w) uint8 grey levels as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
    return file.getvalue()


def read_folder(folder: Path, limit: int | None) -> list[PictureSet]:
    """Return a folder's pictures as up to two sets of at most limit each: digits, and out of distribution.

    Raises FolderError, or OSError for a file that cannot be read.
    """
    labelled = list_pictures(folder)
    is_digit = [len(each.label) == 1 and each.label in "0123456789" for each in labelled]
    sets = []
    name = folder.resolve().name
    for digits, title in ((True, name), (False, f"{name}, not one digit")):
        chosen = [each for each, is_one in zip(labelled, is_digit, strict=True) if is_one == digits][:limit]
        if chosen:
            uploads = [each.file.read_bytes() for each in chosen]
            labels = np.array([int(each.label) if digits else OUT_OF_DISTRIBUTION for each in chosen])
            sets.append(PictureSet(title, uploads, labels))
    return sets
