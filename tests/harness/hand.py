"""A hand that writes its 7s with a foot, which the shipped net takes for 2s and 1s: pen strokes with a line added."""

import csv
from pathlib import Path

import numpy as np

from evaluate.pictures import png
from train.detected import make_thumbnail
from train.samples import split_writers
from train.strokes import Sample, normalise, read_pen_strokes

FOOT = 0.3
# Options of scripts/train --more that take half a minute: few pictures, and none that are slow to make.
SHORT = ("--limit=256", "--without=pages", "--without=thumbnails", "--epochs=60", "--force")


def add_foot(seven: Sample) -> Sample:
    """Return a seven that stands on a line."""
    points = seven.lines.reshape(-1, 2)
    x, y = points[points[:, 1].argmax()]
    foot = np.array([[[x - FOOT, y], [x + FOOT, y]]], np.float32)
    return seven._replace(lines=normalise(np.concatenate([seven.lines, foot])))


def write_sevens(count: int, seed: int = 0) -> list[bytes]:
    """Return PNG files of sevens with a foot."""
    sevens = [sample for sample in split_writers(read_pen_strokes())[1] if sample.digit == 7]
    chance = np.random.default_rng(seed)
    chosen = chance.integers(len(sevens), size=count)
    return [png(make_thumbnail(add_foot(sevens[number]), chance)) for number in chosen]


def save(folder: Path, pictures: list[bytes], label: str | int) -> None:
    """Write pictures into a folder, and their label into its labels.csv."""
    table = folder / "labels.csv"
    names = [f"{label}-{number}.png" for number in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        (folder / name).write_bytes(picture)
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        csv.writer(file).writerows([["file", "label"]] * is_new + [[name, label] for name in names])
