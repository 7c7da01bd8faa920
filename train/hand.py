"""A hand: somebody's labelled pictures as the nets see them, some to learn from, the others held out."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from model.decode import decode
from model.engine import Engine, build_engine
from model.errors import BadImage
from model.geometry import Ink
from model.recognise import recognise
from operate.labels import CHOICES, FolderError, Labelled, list_pictures
from train.sheets.layout import NOT_ONE_DIGIT

MEANINGS = dict(zip(CHOICES, (*range(10), NOT_ONE_DIGIT), strict=True))
# A third of all SHA-256 are below.
HELD_OUT_BELOW = "5" * 64
# Fewer pictures to learn from, or held out, tell nothing.
LEAST = 10


class Known(NamedTuple):
    """The ink in a picture, and what it shows: a digit 0..9 or NOT_ONE_DIGIT."""

    ink: Ink
    label: int


class Hand(NamedTuple):
    """Pictures to learn from, and pictures held out; the digest is another one if anything about them is."""

    learned: list[Known]
    held_out: list[Known]
    digest: str


def read_hand(folder: Path) -> Hand:
    """Return the pictures of a folder; print how many there are, and which are left out because they cannot be read.

    A third is held out, by writer if two or more are named, else by file. Raises FolderError if a label is unknown, or
    if there are too few pictures.
    """
    labelled = list_pictures(folder)
    for each in labelled:
        if each.label not in MEANINGS:
            raise FolderError(
                f"{each.file} has the label {each.label}: "
                "it must be a digit from 0 to 9, or none for a picture that does not show one digit."
            )
    by_writer = len({each.writer for each in labelled} - {""}) > 1
    engine = build_engine()
    found: list[tuple[str, str, Known]] = []
    for each in tqdm(labelled, "pictures", unit="picture", leave=False, disable=None):
        try:
            upload = each.file.read_bytes()
            ink = find(upload, engine)
        except (BadImage, OSError) as problem:
            reason = f"{problem.strerror}." if isinstance(problem, OSError) else problem
            print(f"Left out {each.file}: {reason}", file=sys.stderr)
        else:
            content = hashlib.sha256(upload).hexdigest()
            key = hashlib.sha256(each.writer.encode()).hexdigest() if by_writer and each.writer else content
            found.append((key, content, Known(ink, MEANINGS[each.label])))
    held_out = hold_out(key for key, _, _ in found)
    parts: tuple[list[Known], list[Known]] = [], []
    for key, _, known in found:
        parts[key in held_out].append(known)
    check(folder, parts, by_writer, labelled)
    described = sorted(f"{content} {known.label} {key in held_out}" for key, content, known in found)
    return Hand(*parts, hashlib.sha256("\n".join(described).encode()).hexdigest())


def find(upload: bytes, engine: Engine) -> Ink:
    """Return the ink that the service finds in a picture file. Raises BadImage."""
    (reading,) = recognise([decode(upload)], engine)
    if isinstance(reading, BadImage):
        raise reading
    return reading.ink


def hold_out(keys: Iterable[str]) -> set[str]:
    """Return the keys, SHA-256 in hexadecimal digits, that are held out: at least one, and not the last of several.

    A key stays on its side when others join.
    """
    ordered = sorted(set(keys))
    return {key for key in ordered[:-1] if key < HELD_OUT_BELOW} or set(ordered[:1])


def check(folder: Path, parts: tuple[list[Known], list[Known]], by_writer: bool, labelled: list[Labelled]) -> None:
    """Print how many pictures there are in both parts. Raises FolderError if there are too few."""
    learned, held_out = map(len, parts)
    if min(learned, held_out) < LEAST:
        raise FolderError(
            f"{folder} has {learned} pictures to learn from and {held_out} to hold out: "
            f"at least {LEAST} of each are needed, and usually {5 * LEAST} pictures have them."
        )
    print(f"{learned} pictures to learn from, {held_out} held out by {'writer' if by_writer else 'file'}.")
    if len({each.label for each in labelled}) == 1:
        print(
            f"All pictures are labelled {labelled[0].label}: whether others by the same hand are then misread, "
            "nobody will see. Add some of the other digits.",
            file=sys.stderr,
        )
