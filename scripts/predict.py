"""Read the digit in each picture file, and in those of whole folders, with the running service."""

import argparse
import base64
import csv
import io
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import requests
from digit_image import SUFFIXES
from service import CONFIG, ServiceError, ask, patiently, predict, read_config
from tqdm import tqdm

COLUMNS = ("file", "digit", "confidence", "certain", "error")
# Requests under way at once, and what one holds at most. A larger file goes alone.
REQUESTS = 6
FILES, FILE_BYTES = 64, 2_000_000

# What is known of a file: a value for each of COLUMNS.
Answer = dict[str, Any]


def main() -> int:
    """Return 0 if every picture was read, 1 if one was not or the service does not answer."""
    parser = argparse.ArgumentParser(prog="scripts/predict", description=__doc__)
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="picture, or folder of pictures")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the answers to this .csv, .jsonl or .parquet; what is in it already is not asked again",
    )
    parser.add_argument("--url", help="address of the inference API (that of config.properties)")
    options = parser.parse_args()
    if options.output and options.output.suffix not in (".csv", ".jsonl", ".parquet"):
        parser.error(f"{options.output} must end in .csv, .jsonl or .parquet")
    try:
        address = (options.url or read_config(CONFIG)["inference_address"]).rstrip("/")
        files = list(find(options.paths))
        if options.output:
            return write(options.output, files, address)
        failures = 0
        for answer in read(files, address):
            failures += bool(answer["error"])
            print_answer(answer)
    except ServiceError as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if failures else 0


def find(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files, and the pictures in the folders, sorted."""
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
        else:
            yield path


def print_answer(answer: Answer) -> None:
    """Print a line for a person; what is wrong goes to standard error."""
    if answer["error"]:
        print(f"{answer['file']}: {answer['error']}", file=sys.stderr, flush=True)
    else:
        doubt = "" if answer["certain"] else ", not certain"
        print(f"{answer['file']}: {answer['digit']} ({answer['confidence']:.1%}{doubt})", flush=True)


def read(files: Iterable[Path], address: str) -> Iterator[Answer]:
    """Yield the answer to each file in order; no more than REQUESTS are under way. Raises ServiceError."""
    with requests.Session() as session, ThreadPoolExecutor(REQUESTS) as pool:
        under_way: deque[Future[list[Answer]]] = deque()
        try:
            for group in in_groups(files):
                under_way.append(pool.submit(read_group, group, address, session))
                if len(under_way) >= 2 * REQUESTS:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def in_groups(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield the files in groups of which each makes one request."""
    group: list[Path] = []
    size = 0
    for path in files:
        length = path.stat().st_size if path.is_file() else 0
        if group and (len(group) == FILES or size + length > FILE_BYTES):
            yield group
            group, size = [], 0
        group.append(path)
        size += length
    if group:
        yield group


def read_group(group: list[Path], address: str, session: requests.Session) -> list[Answer]:
    """Return the answers to some files, asked for in one request. Raises ServiceError if the service gives none."""
    answers: dict[Path, Answer] = {}
    uploads = {}
    for path in group:
        try:
            uploads[path] = path.read_bytes()
        except OSError as error:
            answers[path] = answer_of(path, {"error": f"{error.strerror}."})
    if len(uploads) > 1:
        instances = [{"b64": base64.b64encode(upload).decode()} for upload in uploads.values()]
        body = json.dumps({"instances": instances}).encode()
        predictions = patiently(partial(ask, address, "/v1/models/mnist:predict", body, session))["predictions"]
        answers |= {path: answer_of(path, each) for path, each in zip(uploads, predictions, strict=True)}
    for path, upload in uploads.items():
        # A request has a limit that its pictures share: alone, one may be read, and else its error is its own.
        if path not in answers or answers[path]["error"]:
            try:
                answers[path] = answer_of(path, patiently(partial(predict, address, upload, session)))
            except ServiceError as error:
                if not error.of_request:
                    raise
                answers[path] = answer_of(path, {"error": str(error)})
    return [answers[path] for path in group]


def answer_of(path: Path, prediction: dict[str, Any]) -> Answer:
    """Return what is known of a file after the service's answer to it, or an error."""
    return {"file": str(path)} | {name: prediction.get(name) for name in COLUMNS[1:]}


def write(output: Path, files: list[Path], address: str) -> int:
    """Write the answers to the files that are not in the output yet; return 1 if a picture was not read."""
    # Parquet cannot grow: it is made of JSON Lines at the end.
    is_parquet = output.suffix == ".parquet"
    table = output.with_suffix(".parquet.part") if is_parquet else output
    try:
        if is_parquet:
            import_pyarrow()
        known = {answer["file"] for answer in rows_of(table if table.exists() else output)}
        left = [path for path in files if str(path) not in known]
        failures = 0
        with opened(table) as add, tqdm(total=len(files), initial=len(files) - len(left), unit="file") as bar:
            for answer in read(left, address):
                add(answer)
                failures += bool(answer["error"])
                bar.update()
                bar.set_postfix(errors=failures, refresh=False)
        if is_parquet:
            write_parquet(table, output)
    except OSError as cause:
        raise ServiceError(f"{cause.filename or output} cannot be written: {cause.strerror}.") from cause
    print(f"{output}: {len(left)} new of {len(files)} files, {failures} not read.", file=sys.stderr)
    return 1 if failures else 0


@contextmanager
def opened(path: Path) -> Iterator[Callable[[Answer], None]]:
    """Open a table at its end and yield what adds a row; a line that was left unfinished before is dropped."""
    if path.exists():
        os.truncate(path, len(finished(path).encode()))
    with path.open("a", newline="") as stream:
        if path.suffix == ".csv":
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            if stream.tell() == 0:
                writer.writeheader()
            yield writer.writerow
        else:
            yield partial(write_json, stream)


def write_json(stream: TextIO, answer: Answer) -> None:
    """Write a row of JSON Lines."""
    stream.write(json.dumps(answer) + "\n")


def finished(path: Path) -> str:
    """Return the lines of a table that an interrupted run did not leave unfinished."""
    text = path.read_bytes().decode() if path.exists() else ""
    return text[: text.rfind("\n") + 1]


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return the finished rows of a table, none if it does not exist. Raises ServiceError if it is another file."""
    try:
        if path.suffix == ".parquet":
            rows: list[dict[str, Any]] = import_pyarrow().parquet.read_table(path).to_pylist() if path.exists() else []
        elif path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(finished(path), newline="")))
        else:
            rows = [json.loads(line) for line in finished(path).split("\n")[:-1]]
        if any("file" not in row for row in rows):
            raise ValueError
    except (TypeError, ValueError) as cause:
        raise ServiceError(f"{path} holds something else: name another output.") from cause
    return rows


def write_parquet(table: Path, output: Path) -> None:
    """Turn JSON Lines into a Parquet file, together with what it had before."""
    pyarrow = import_pyarrow()
    kinds = (pyarrow.string(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_(), pyarrow.string())
    schema = pyarrow.schema(list(zip(COLUMNS, kinds, strict=True)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows_of(output) + rows_of(table), schema=schema), output)
    table.unlink()


def import_pyarrow() -> Any:  # noqa: ANN401
    """Return pyarrow. Raises ServiceError if it is not installed: nothing else needs it."""
    try:
        import pyarrow.parquet
    except ImportError as cause:
        raise ServiceError("Parquet needs pyarrow: run .venv/bin/pip install pyarrow first.") from cause
    return pyarrow


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
