"""Read the digit in each picture file, and in those of folders, with the running service."""

import argparse
import os
import re
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.formats import SUFFIXES, UNREAD_SUFFIXES
from operate.client import Client, ServiceError, retry_while_busy
from operate.command import run
from operate.config import OperatorError, read_config
from operate.tables import COLUMNS, Row, open_table
from operate.tables import SUFFIXES as TABLE_SUFFIXES

# Requests in flight, and the most that one holds. A larger file is sent alone.
REQUESTS = 6
FILES, FILE_BYTES = 64, 2_000_000
STDIN = Path("-")

# Which of how many shares of the pictures: (0, 1) is all of them.
Shard = tuple[int, int]


def main() -> int:
    """Return 0 if every picture was read, 1 if one was not. Raises OperatorError."""
    parser = argparse.ArgumentParser(prog="scripts/predict", description=__doc__)
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="picture, folder, or - for standard input")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the answers to this .csv or .jsonl; files that are already in it are skipped",
    )
    parser.add_argument(
        "--shard",
        type=parse_shard,
        default=(0, 1),
        metavar="I/N",
        help="read only the share I, from 0 to N-1, of N: on N machines, each with its own --output, "
        "every file is read once",
    )
    parser.add_argument("--url", help="address of the inference API (that of config.properties)")
    options = parser.parse_args()
    if options.output and options.output.suffix not in TABLE_SUFFIXES:
        parser.error(f"the name of the table must end in {' or '.join(TABLE_SUFFIXES)}, not {options.output.name!r}")
    client = Client(read_config(), options.url)
    files = find_pictures(options.paths, options.shard)
    failures = write_table(options.output, files, client) if options.output else print_rows(files, client)
    return 1 if failures else 0


def parse_shard(text: str) -> Shard:
    """Return the numbers of I/N. Raises argparse.ArgumentTypeError."""
    numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not numbers or int(numbers[1]) >= int(numbers[2]):
        raise argparse.ArgumentTypeError(f"{text!r} must be I/N with I from 0 to N-1: 0/8 is the first of 8 shares.")
    return int(numbers[1]), int(numbers[2])


def find_pictures(paths: Iterable[Path], shard: Shard) -> list[Path]:
    """Return a share of the files, and of the pictures in the folders, sorted; report how many other files it skips.

    Raises OperatorError for a folder without a picture.
    """
    pictures: list[Path] = []
    skipped = 0
    for path in paths:
        if path == STDIN or not path.is_dir():
            if is_in_shard(Path(path.name), shard):
                pictures.append(path)
            continue
        files = [each for each in path.rglob("*") if each.is_file()]
        inside = [each for each in files if each.suffix.lower() in SUFFIXES + UNREAD_SUFFIXES]
        if not inside:
            raise OperatorError(f"{path} contains no pictures: name another folder, or the files themselves.")
        pictures += sorted(each for each in inside if is_in_shard(each.relative_to(path), shard))
        skipped += len(files) - len(inside)
    if skipped:
        print(f"Skipped files that are not pictures: {skipped}.", file=sys.stderr)
    return pictures


def is_in_shard(relative: Path, shard: Shard) -> bool:
    """Return whether a share has the file with this path in the named folder: neither its place nor others matter."""
    index, count = shard
    return zlib.crc32(bytes(relative)) % count == index


def print_rows(files: list[Path], client: Client) -> int:
    """Print a line for each file, errors on standard error; return how many were not read. Raises ServiceError."""
    failures = 0
    for row in read_files(files, client):
        if row["error"]:
            failures += 1
            print(f"{row['file']}: {row['error']}", file=sys.stderr, flush=True)
        else:
            doubt = "" if row["certain"] else ", not certain"
            print(f"{row['file']}: {row['digit']} ({row['confidence']:.1%}{doubt})", flush=True)
    return failures


def write_table(output: Path, files: list[Path], client: Client) -> int:
    """Append the answers that a table lacks; return how many files were not read. Raises OperatorError."""
    failures = 0
    with open_table(output) as (known, append):
        missing = [path for path in files if path == STDIN or name_file(path) not in known]
        with tqdm(total=len(files), initial=len(files) - len(missing), unit="file") as bar:
            for row in read_files(missing, client):
                append(row)
                failures += bool(row["error"])
                bar.update()
                bar.set_postfix(errors=failures, refresh=False)
    print(f"{output}: {len(missing)} new of {len(files)} files, {failures} not read.", file=sys.stderr)
    return failures


def read_files(files: Iterable[Path], client: Client) -> Iterator[Row]:
    """Yield the row of each file in order, REQUESTS requests at a time. Raises ServiceError."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        in_flight: deque[Future[list[Row]]] = deque()
        try:
            for group in group_files(files):
                in_flight.append(pool.submit(read_group, group, client))
                if len(in_flight) >= 2 * REQUESTS:
                    yield from in_flight.popleft().result()
            while in_flight:
                yield from in_flight.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def group_files(files: Iterable[Path]) -> Iterator[list[Path]]:
    """Yield the files in groups, each for one request."""
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


def read_group(group: list[Path], client: Client) -> list[Row]:
    """Return the rows of some files, read in one request. Raises ServiceError if the service does not answer."""
    rows: dict[Path, Row] = {}
    uploads = {}
    for path in dict.fromkeys(group):
        try:
            uploads[path] = read_file(path)
        except OSError as error:
            rows[path] = make_row(path, {"error": f"{error.strerror}."})
    if len(uploads) > 1:
        answers = retry_while_busy(partial(client.predict_many, uploads.values()))
        rows |= {path: make_row(path, answer) for path, answer in zip(uploads, answers, strict=True)}
    for path, upload in uploads.items():
        # The pictures of a request share its limits; sent alone, each is read or gets its own error.
        if path not in rows or rows[path]["error"]:
            try:
                rows[path] = make_row(path, retry_while_busy(partial(client.predict, upload)))
            except ServiceError as error:
                if not error.is_client_error:
                    raise
                rows[path] = make_row(path, {"error": str(error)})
    return [rows[path] for path in group]


def read_file(path: Path) -> bytes:
    """Return what is in a file or arrives on standard input. Raises OSError."""
    if path != STDIN:
        return path.read_bytes()
    with open(0, "rb", closefd=False) as stream:
        return stream.read()


def make_row(path: Path, answer: dict[str, Any]) -> Row:
    """Return the row of a file from the service's answer, or from an error."""
    return {"file": name_file(path)} | {name: answer.get(name) for name in COLUMNS[1:]}


def name_file(path: Path) -> str:
    """Return the path as tables have it, the same in every locale: bytes that are not UTF-8 are lone surrogates."""
    return os.fsencode(path).decode(errors="surrogateescape")


if __name__ == "__main__":
    run(main)
