"""Sets of labelled picture files, as somebody would upload them."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.formats import SUFFIXES
from operate.config import OperatorError

LABELS = "labels.csv"
# The label of pictures that do not show one digit.
OUT_OF_DISTRIBUTION = -1


class FolderError(OperatorError):
    """The reason why a folder cannot be evaluated, in a sentence."""


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

    Their labels are in labels.csv (columns file and label), or are the names of sub-folders.
    Raises FolderError, or OSError for a file that cannot be read.
    """
    labelled = read_labels(folder / LABELS) if (folder / LABELS).is_file() else list_classes(folder)
    is_digit = [len(label) == 1 and label in "0123456789" for _, label in labelled]
    sets = []
    name = folder.resolve().name
    for digits, title in ((True, name), (False, f"{name}, not one digit")):
        chosen = [pair for pair, is_one in zip(labelled, is_digit, strict=True) if is_one == digits][:limit]
        if chosen:
            uploads = [path.read_bytes() for path, _ in chosen]
            labels = np.array([int(label) if digits else OUT_OF_DISTRIBUTION for _, label in chosen])
            sets.append(PictureSet(title, uploads, labels))
    return sets


def read_labels(path: Path) -> list[tuple[Path, str]]:
    """Return the files and labels of labels.csv, whose paths are relative to its folder. Raises FolderError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as cause:
        raise FolderError(f"{path} cannot be read: {cause}.") from cause
    if not rows:
        raise FolderError(f"{path} lists no pictures.")
    if not {"file", "label"} <= rows[0].keys():
        raise FolderError(f"{path} needs the columns file and label in its first line.")
    labelled = []
    for number, row in enumerate(rows, 2):
        file_name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
        if not file_name or not label:
            raise FolderError(f"{path}, line {number}: file or label is missing.")
        labelled.append((path.parent / file_name, label))
    return labelled


def list_classes(folder: Path) -> list[tuple[Path, str]]:
    """Return the picture files in the sub-folders of a folder with those folders' names as labels.

    The classes take turns, so that the first files hold all of them. Raises FolderError.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [
        (number, path, child.name)
        for child in classes
        for number, path in enumerate(sorted(p for p in child.iterdir() if p.suffix.lower() in SUFFIXES))
    ]
    if not files:
        raise FolderError(
            f"{folder} holds neither {LABELS} (columns file, label) nor a sub-folder of pictures for each class."
        )
    return [(path, label) for _, path, label in sorted(files, key=lambda file: file[0])]
