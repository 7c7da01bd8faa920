"""Folders of labelled pictures: with a file labels.csv, or with a sub-folder of pictures for each class."""

import csv
from pathlib import Path
from typing import NamedTuple

from model.formats import SUFFIXES
from operate.config import OperatorError

LABELS = "labels.csv"
# What a person may say that a picture shows: a digit, or none.
CHOICES = (*map(str, range(10)), "none")


class FolderError(OperatorError):
    """The reason why a folder of labelled pictures cannot be used, in a sentence."""


class Labelled(NamedTuple):
    """A picture file and its label; writer is empty if unknown."""

    file: Path
    label: str
    writer: str = ""


def list_pictures(folder: Path) -> list[Labelled]:
    """Return a folder's picture files with their labels. Raises FolderError.

    These are in labels.csv (columns file and label, perhaps writer), or are the names of sub-folders.
    """
    return read_labels(folder / LABELS) if (folder / LABELS).is_file() else list_classes(folder)


def read_labels(path: Path) -> list[Labelled]:
    """Return what labels.csv lists, whose files are relative to its folder. Raises FolderError."""
    rows = read_rows(path)
    if not rows:
        raise FolderError(f"{path} lists no files.")
    labelled = []
    for number, row in enumerate(rows, 2):
        file_name, label, writer = ((row.get(name) or "").strip() for name in ("file", "label", "writer"))
        if not file_name or not label:
            raise FolderError(f"{path}, line {number}: file or label is missing.")
        labelled.append(Labelled(path.parent / file_name, label, writer))
    return labelled


def read_rows(path: Path) -> list[dict[str, str | None]]:
    """Return the rows of labels.csv; a cell that is missing is None. Raises FolderError."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as cause:
        raise FolderError(f"{path} cannot be read: {cause}.") from cause
    if rows and not {"file", "label"} <= rows[0].keys():
        raise FolderError(f"{path} needs the columns file and label in its first line.")
    return rows


def list_classes(folder: Path) -> list[Labelled]:
    """Return the picture files in the sub-folders of a folder with those folders' names as labels.

    The classes take turns, so that the first files hold all of them. Raises FolderError.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [
        (number, Labelled(path, child.name))
        for child in classes
        for number, path in enumerate(sorted(p for p in child.iterdir() if p.suffix.lower() in SUFFIXES))
    ]
    if not files:
        raise FolderError(
            f"{folder} holds neither {LABELS} (columns file, label) nor a sub-folder of pictures for each class."
        )
    return [labelled for _, labelled in sorted(files, key=lambda file: file[0])]
