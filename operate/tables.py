"""Tables of answers as CSV or JSON Lines, in which an interrupted run can resume."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from operate.config import OperatorError

SUFFIXES = (".csv", ".jsonl")
COLUMNS = ("file", "digit", "confidence", "certain", "numbers", "numbers_certain", "error")

# A value for each of COLUMNS.
Row = dict[str, Any]


@contextmanager
def open_table(output: Path) -> Iterator[tuple[set[str], Callable[[Row], object]]]:
    """Yield the files that a table already has, and a function that appends a row. Raises OperatorError."""
    try:
        lines, files = read_table(output)
        with output.open("a", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.truncate(len(lines.encode(errors="surrogateescape")))
            if output.suffix == ".jsonl":
                yield files, lambda row: stream.write(json.dumps(row) + "\n")
            else:
                writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
                if not lines:
                    writer.writeheader()
                yield files, writer.writerow
    except OSError as cause:
        raise OperatorError(f"{cause.filename or output} cannot be written: {cause.strerror}.") from cause


def read_table(path: Path) -> tuple[str, set[str]]:
    """Return the finished lines of a table, and the files in them. Raises OperatorError if it holds something else."""
    try:
        text = path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""
        # An interrupted run may have left the last row unfinished, and the name of its file may contain line breaks.
        lines = text[: text.rfind("\n") + 1]
        while path.suffix == ".csv" and lines.count('"') % 2:
            lines = lines[: lines.rfind("\n", 0, -1) + 1]
        if path.suffix == ".jsonl":
            return lines, {json.loads(line)["file"] for line in lines.split("\n")[:-1]}
        rows = csv.DictReader(io.StringIO(lines, newline=""))
        if lines and tuple(rows.fieldnames or ()) != COLUMNS:
            raise ValueError("It has other columns.")
        return lines, {row["file"] for row in rows}
    except (KeyError, TypeError, ValueError, csv.Error) as cause:
        raise OperatorError(f"{path} holds something else: name another output.") from cause
