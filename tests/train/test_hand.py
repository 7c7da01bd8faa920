"""Labelled folders are read as the service reads pictures, and a steady third of them is held out."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluate.pictures import png
from model.decode import decode
from model.engine import Engine
from model.recognise import Reading, recognise
from operate.labels import FolderError
from tests.harness.service import EXAMPLES
from train.hand import LEAST, Hand, hold_out, read_hand
from train.mnist import read_mnist
from train.sheets.layout import NOT_ONE_DIGIT


def draw(count: int) -> list[bytes]:
    """Return so many digits of MNIST as PNG files."""
    return [png(pixels[0].numpy()) for pixels in read_mnist(train=False)[0][:count]]


def write(folder: Path, rows: list[str], header: str = "file,label,writer") -> None:
    """Write a labels.csv, and the 60 pictures that its rows may name, 0.png to 59.png."""
    for number, picture in enumerate(draw(60)):
        (folder / f"{number}.png").write_bytes(picture)
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def describe(hand: Hand) -> list[set[bytes]]:
    """Return the pixels in both parts of a hand."""
    return [{known.ink.pixels.tobytes() for known in part} for part in (hand.learned, hand.held_out)]


def test_pictures_are_read_as_the_service_reads_them(tmp_path: Path, engine: Engine) -> None:
    write(tmp_path, [f"{number}.png,none" for number in range(58)])
    for digit, path in EXAMPLES.items():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        with (tmp_path / "labels.csv").open("a") as table:
            table.write(f"{path.name},{digit}\n")
    hand = read_hand(tmp_path)
    found = {known.label: known.ink.pixels for known in [*hand.learned, *hand.held_out]}
    assert sorted(found) == [NOT_ONE_DIGIT, *range(10)]
    for digit, path in EXAMPLES.items():
        (reading,) = recognise([decode(path.read_bytes())], engine)
        assert isinstance(reading, Reading)
        assert np.array_equal(found[digit], reading.ink.pixels)


def test_a_picture_stays_on_its_side_when_others_join(tmp_path: Path) -> None:
    rows = [f"{number}.png,{number % 10}" for number in range(60)]
    write(tmp_path, rows[:50])
    before = read_hand(tmp_path)
    write(tmp_path, rows)
    after = read_hand(tmp_path)
    assert [len(part) for part in describe(before)] == pytest.approx([33, 17], abs=6)
    assert all(one < other for one, other in zip(describe(before), describe(after), strict=True))
    assert before.digest != after.digest


@pytest.mark.parametrize(("writers", "held_out"), [(["ann"], 0), (["ann", "bob"], 30), (["ann", "bob", "eve"], 20)])
def test_two_or_more_writers_are_held_out_as_a_whole(writers: list[str], held_out: int, tmp_path: Path) -> None:
    write(tmp_path, [f"{number}.png,{number % 10},{writers[number % len(writers)]}" for number in range(60)])
    hand = read_hand(tmp_path)
    assert len(hand.held_out) == held_out or (not held_out and len(hand.held_out) not in (0, 60))


@pytest.mark.parametrize("count", range(1, 12))
def test_something_is_held_out_and_something_is_not(count: int) -> None:
    for first in range(0, 200, count):
        keys = {hashlib.sha256(str(number).encode()).hexdigest() for number in range(first, first + count)}
        assert 0 < len(hold_out(keys)) < max(2, count)


CLASSES: dict[str, Callable[[Path], object]] = {
    "holds neither labels.csv": lambda folder: (folder / "7").mkdir(),
    "lists no files": lambda folder: (folder / "labels.csv").touch(),
    "0.png has the label seven: it must be a digit from 0 to 9, or none": lambda folder: write(folder, ["0.png,seven"]),
    f"has 0 pictures to learn from and 1 to hold out: at least {LEAST} of each": lambda folder: write(
        folder, ["0.png,7"]
    ),
    "has 0 pictures to learn from and 0 to hold out": lambda folder: write(folder, ["nowhere.png,7"] * 50),
}


@pytest.mark.parametrize("reason", CLASSES)
def test_a_folder_that_teaches_nothing_is_refused(reason: str, tmp_path: Path) -> None:
    CLASSES[reason](tmp_path)
    with pytest.raises(FolderError, match=reason):
        read_hand(tmp_path)


def test_what_a_service_kept_is_not_learned_before_a_person_labels_it(tmp_path: Path) -> None:
    (tmp_path / "corrected").mkdir()
    (tmp_path / "corrected" / "0123456789abcdef.png").write_bytes(draw(1)[0])
    with pytest.raises(FolderError, match="has the label corrected: it must be a digit"):
        read_hand(tmp_path)


def test_unread_pictures_are_named_and_a_single_label_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, [f"{number}.png,7" for number in range(60)] + ["nowhere.png,7"])
    (tmp_path / "0.png").write_text("hello")
    (tmp_path / "1.png").write_bytes(png(np.zeros((50, 50), np.uint8)))
    hand = read_hand(tmp_path)
    assert len(hand.learned) + len(hand.held_out) == 58
    printed = capsys.readouterr()
    assert printed.out == f"{len(hand.learned)} pictures to learn from, {len(hand.held_out)} held out by file.\n"
    left_out, warning = printed.err.splitlines()[:3], printed.err.splitlines()[3:]
    for name, reason in (("0", "This is text, not"), ("1", "The picture is blank"), ("nowhere", "No such file")):
        assert any(line.startswith(f"Left out {tmp_path / name}.png: {reason}") for line in left_out)
    assert warning[0].startswith("All pictures are labelled 7")
