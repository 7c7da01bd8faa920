"""Read the digit or the numbers in each picture file, and in those of folders, with the running service."""

import argparse
import os
import re
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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

# Requests in flight, and the most that one holds. A larger file is sent alone. If one worker gets all of them, and each
# picture has 150 digits, which take it 0.3 s, it answers within the client's 30 s.
REQUESTS = 6
FILES, FILE_BYTES = 16, 2_000_000
STDIN = Path("-")

# Which of how many shares of the pictures: (0, 1) is all of them.
Shard = tuple[int, int]
# The service's answer, or {"error"}.
Answer = dict[str, Any]


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
    parser.add_argument(
        "--read",
        choices=("auto", "digit", "numbers", "cells"),
        default="auto",
        help="where to look for numbers: in pictures that are not certain to show one digit (auto, the default), "
        "in none, in all, or in all with _ for each empty cell of a form",
    )
    parser.add_argument("--url", help="address of the inference API (that of config.properties)")
    options = parser.parse_args()
    if options.output and options.output.suffix not in TABLE_SUFFIXES:
        parser.error(f"the name of the table must end in {' or '.join(TABLE_SUFFIXES)}, not {options.output.name!r}")
    client = Client(read_config(), options.url)
    files = find_pictures(options.paths, options.shard)
    read = partial(read_files, client=client, read=options.read)
    failures = write_table(options.output, files, read) if options.output else print_answers(read(files))
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


def print_answers(answers: Iterable[tuple[Path, Answer]]) -> int:
    """Print a line for each file, errors on standard error; return how many were not read. Raises ServiceError."""
    failures = 0
    for path, answer in answers:
        if "error" in answer:
            failures += 1
            print(f"{name_file(path)}: {answer['error']}", file=sys.stderr, flush=True)
        else:
            print(f"{name_file(path)}: {describe(answer)}", flush=True)
    return failures


def describe(answer: Answer) -> str:
    """Return the numbers of an answer, or else its digit, each with its confidence."""
    read = [(each["text"], each) for each in answer.get("numbers", [])] or [(answer["digit"], answer)]
    return ", ".join(
        f"{text} ({each['confidence']:.1%}{'' if each['certain'] else ', not certain'})" for text, each in read
    )


def write_table(output: Path, files: list[Path], read: Callable[[list[Path]], Iterable[tuple[Path, Answer]]]) -> int:
    """Append the answers that a table lacks; return how many files were not read. Raises OperatorError."""
    failures = 0
    with open_table(output) as (known, append):
        missing = [path for path in files if path == STDIN or name_file(path) not in known]
        with tqdm(total=len(files), initial=len(files) - len(missing), unit="file") as bar:
            for path, answer in read(missing):
                append(make_row(path, answer))
                failures += "error" in answer
                bar.update()
                bar.set_postfix(errors=failures, refresh=False)
    print(f"{output}: {len(missing)} new of {len(files)} files, {failures} not read.", file=sys.stderr)
    return failures


def read_files(files: Iterable[Path], client: Client, read: str) -> Iterator[tuple[Path, Answer]]:
    """Yield each file with its answer, in order, REQUESTS requests at a time. Raises ServiceError."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        in_flight: deque[Future[list[tuple[Path, Answer]]]] = deque()
        try:
            for group in group_files(files):
                in_flight.append(pool.submit(read_group, group, client, read))
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


def read_group(group: list[Path], client: Client, read: str) -> list[tuple[Path, Answer]]:
    """Return some files and their answers, read in one request. Raises ServiceError if the service does not answer."""
    answers: dict[Path, Answer] = {}
    uploads = {}
    for path in dict.fromkeys(group):
        try:
            uploads[path] = read_file(path)
        except OSError as error:
            answers[path] = {"error": f"{error.strerror}."}
    if len(uploads) > 1:
        together = retry_while_busy(partial(client.predict_many, uploads.values(), read))
        answers |= zip(uploads, together, strict=True)
    for path, upload in uploads.items():
        # The pictures of a request share its limits; sent alone, each is read or gets its own error.
        if "error" in answers.get(path, {"error": ""}):
            try:
                answers[path] = retry_while_busy(partial(client.predict, upload, read=read))
            except ServiceError as error:
                if not error.is_client_error:
                    raise
                answers[path] = {"error": str(error)}
    return [(path, answers[path]) for path in group]


def read_file(path: Path) -> bytes:
    """Return what is in a file or arrives on standard input. Raises OSError."""
    if path != STDIN:
        return path.read_bytes()
    with open(0, "rb", closefd=False) as stream:
        return stream.read()


def make_row(path: Path, answer: Answer) -> Row:
    """Return the row of a file: of its numbers the texts, and whether all of them are certain."""
    numbers = answer.get("numbers", [])
    described = {
        "file": name_file(path),
        "numbers": " ".join(each["text"] for each in numbers),
        "numbers_certain": all(each["certain"] for each in numbers) if numbers else None,
    }
    return {name: answer.get(name) for name in COLUMNS} | described


def name_file(path: Path) -> str:
    """Return the path as tables have it, the same in every locale: bytes that are not UTF-8 are lone surrogates."""
    return os.fsencode(path).decode(errors="surrogateescape")


if __name__ == "__main__":
    run(main)
