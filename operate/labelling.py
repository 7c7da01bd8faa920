"""Finds the pictures of a folder that labels.csv lacks, and adds their labels line by line."""

import csv
import io
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from model.formats import SUFFIXES
from operate.config import OperatorError
from operate.labels import CHOICES, LABELS, read_rows


class LabelTable:
    """The labels.csv of a folder, with whole lines whenever a process is stopped; threads may share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LABELS
        self.lock = threading.Lock()

    def list_files(self) -> list[str]:
        """Return the paths that have a line, relative to the folder. Raises OperatorError."""
        rows = read_rows(self.path) if self.path.exists() else []
        return [(row["file"] or "").strip() for row in rows]

    def add(self, file: str, label: str) -> None:
        """Add a line; columns other than file and label are empty. Raises OSError."""
        with self.lock:
            text = self.read() or "file,label\n"
            if not text.endswith("\n"):
                text += "\n"
            self.write(text + format_line(text, file, label))

    def remove(self, file: str, label: str) -> None:
        """Remove the line that was added, unless somebody else did or changed it. Raises OSError."""
        with self.lock:
            text = self.read()
            before, line, after = text.rpartition("\n" + format_line(text, file, label))
            if line:
                self.write(before + "\n" + after)

    def read(self) -> str:
        """Return the text, "" if there is no file."""
        return self.path.read_bytes().decode() if self.path.exists() else ""

    def write(self, text: str) -> None:
        """Replace the text. Raises OSError."""
        # It may be a link.
        target = self.path.resolve()
        unfinished = target.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)


def format_line(text: str, file: str, label: str) -> str:
    """Return the line of a file in a table that has this text."""
    columns = next(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    line = io.StringIO()
    csv.DictWriter(line, columns, lineterminator="\n").writerow({"file": file, "label": label})
    return line.getvalue()


def find_pictures(folder: Path) -> list[str]:
    """Return the paths of the picture files in a folder, relative to it, and report how many others it skips.

    Raises OperatorError if there are none, OSError for a folder that cannot be read.
    """
    files = [path.relative_to(folder).as_posix() for path in walk(folder) if path.suffix != ".json"]
    pictures = [file for file in files if file.lower().endswith(SUFFIXES)]
    # The table has UTF-8, and its readers drop spaces around names.
    named = [file for file in pictures if file == file.strip() == file.encode(errors="ignore").decode()]
    if not named:
        raise OperatorError(f"{folder} has no picture files.")
    others = len(files) - len(pictures) - (LABELS in files)
    if others:
        print(f"Skipped files that are not pictures: {others}.", file=sys.stderr)
    if named != pictures:
        print(f"Skipped pictures with names that {LABELS} cannot hold: {len(pictures) - len(named)}.", file=sys.stderr)
    return named


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder in order, but not of hidden ones. Raises OSError for one that cannot be read."""

    def fail(problem: OSError) -> NoReturn:
        raise problem

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names))


def read_answer(path: Path) -> dict[str, Any]:
    """Return the digit, the confidence and the truth in the JSON file beside a picture, as far as it has them."""
    try:
        answer = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(answer, dict):
        return {}
    digit, confidence, truth = (answer.get(name) for name in ("digit", "confidence", "truth"))
    read: dict[str, Any] = {}
    if str(digit) in CHOICES and isinstance(confidence, int | float):
        read |= {"digit": digit, "confidence": confidence}
    return read | ({"truth": truth} if truth in CHOICES else {})
