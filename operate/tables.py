"""Tables of answers as CSV, JSON Lines or Parquet, in which an interrupted run can resume."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from operate.config import OperatorError

SUFFIXES = (".csv", ".jsonl", ".parquet")
COLUMNS = ("file", "digit", "confidence", "certain", "error")

# A value for each of COLUMNS.
Row = dict[str, Any]


@contextmanager
def open_table(output: Path) -> Iterator[tuple[set[str], Callable[[Row], None]]]:
    """Yield the files that a table already has, and a function that appends a row. Raises OperatorError."""
    # Parquet cannot be appended to: it is written from JSON Lines at the end.
    is_parquet = output.suffix == ".parquet"
    table = output.with_suffix(".parquet.part") if is_parquet else output
    try:
        if is_parquet:
            import_pyarrow()
        known = {row["file"] for row in read_rows(table if table.exists() else output)}
        if table.exists():
            # The last line may be unfinished.
            os.truncate(table, len(read_finished_lines(table).encode()))
        with table.open("a", newline="") as stream:
            yield known, make_writer(stream, table.suffix)
        if is_parquet:
            write_parquet(table, output)
    except OSError as cause:
        raise OperatorError(f"{cause.filename or output} cannot be written: {cause.strerror}.") from cause


def make_writer(stream: TextIO, suffix: str) -> Callable[[Row], None]:
    """Return the function that appends a row to a table."""
    if suffix != ".csv":
        return partial(write_json, stream)
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    if stream.tell() == 0:
        writer.writeheader()
    return writer.writerow


def write_json(stream: TextIO, row: Row) -> None:
    """Write a row of JSON Lines."""
    stream.write(json.dumps(row) + "\n")


def read_finished_lines(path: Path) -> str:
    """Return the text of a table without a last line that an interrupted run left unfinished."""
    text = path.read_bytes().decode() if path.exists() else ""
    return text[: text.rfind("\n") + 1]


def read_rows(path: Path) -> list[Row]:
    """Return the finished rows of a table, none if it does not exist. Raises OperatorError if it is another file."""
    try:
        if path.suffix == ".parquet":
            rows: list[Row] = import_pyarrow().parquet.read_table(path).to_pylist() if path.exists() else []
        elif path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(read_finished_lines(path), newline="")))
        else:
            rows = [json.loads(line) for line in read_finished_lines(path).split("\n")[:-1]]
        if any("file" not in row for row in rows):
            raise ValueError
    except (TypeError, ValueError) as cause:
        raise OperatorError(f"{path} holds something else: name another output.") from cause
    return rows


def write_parquet(table: Path, output: Path) -> None:
    """Move rows of JSON Lines to the end of a Parquet file."""
    pyarrow = import_pyarrow()
    kinds = (pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_(), pyarrow.string())
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(read_rows(output) + read_rows(table), schema=schema), output)
    table.unlink()


def import_pyarrow() -> Any:  # noqa: ANN401
    """Return pyarrow. Raises OperatorError if it is not installed: nothing else needs it."""
    try:
        import pyarrow.parquet
    except ImportError as cause:
        raise OperatorError("Parquet needs pyarrow: run .venv/bin/pip install pyarrow first.") from cause
    return pyarrow
