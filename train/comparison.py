"""Compares new weights with those that they go on from, as both are served: what is read better, what worse."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from model.digit_net import DigitNet
from model.engine import Engine, build_engine
from model.geometry import make_ink
from model.recognise import Reading, recognise
from model.record import read_record
from operate.config import read_model_config
from train.detected import detect_in_thumbnails, detect_on_sheets
from train.export import export
from train.hand import Hand, Known
from train.mnist import read_mnist
from train.more import CHECKPOINT
from train.outliers import make_outliers
from train.record import describe_machine, put_in_place, write_record
from train.samples import read_held_out_samples
from train.sheets.layout import NOT_ONE_DIGIT

# Pictures in each set besides MNIST's 10,000, and the seed that makes them.
PICTURES, SEED = 4_000, 20_261_130
# The share of a set that may be read worse.
TOLERATED = 0.0005


class Counts(NamedTuple):
    """How many pictures of a set are right, that is read correctly or, if they do not show one digit, doubted."""

    pictures: int
    right: int
    certain: int
    certain_and_wrong: int


class Row(NamedTuple):
    """What becomes of a set of pictures."""

    name: str
    before: Counts
    after: Counts


def replace(net: DigitNet, hand: Hand, inputs: Tensor, record: dict[str, Any], options: argparse.Namespace) -> int:
    """Export a net, quantised with inputs, and print how it compares with options.start; return 1 if it is refused.

    It replaces options.weights if it reads the hand better and nothing worse; else it is kept beside them.
    """
    candidate = options.weights.with_suffix(".worse.onnx")
    export(net, nn.Softmax(1), inputs, candidate)
    write_record(candidate, record)
    engines = build_engine(weights=options.start), build_engine(weights=candidate)
    certain_from = float(read_model_config()["handler"]["certain_from"])
    table = [
        Row(name, *(count(pictures, engine, certain_from) for engine in engines))
        for name, pictures in (("your pictures, held out", hand.held_out), *make_sets(options.limit))
    ]
    record |= describe_machine()
    record["sets"] = {row.name: {"before": row.before._asdict(), "after": row.after._asdict()} for row in table}
    # Archives are numbered by it.
    record["more"] = {
        "times": read_record(options.start).get("more", {}).get("times", 0) + 1,
        "learned_from": len(hand.learned),
        "held_out": len(hand.held_out),
    }
    write_record(candidate, record)
    options.weights.with_suffix(CHECKPOINT).unlink(missing_ok=True)
    print(tabulate(table))
    faults = find_faults(table)
    if faults and not options.force:
        print(*faults, sep="\n", file=sys.stderr)
        sentence = (
            f"The old weights stay; the new ones are in {candidate}. Add pictures, or learn all at any cost: --force."
        )
        print(sentence, file=sys.stderr)
        return 1
    put_in_place(candidate, options.weights)
    print(f"Wrote {options.weights}.")
    return 0


def make_sets(limit: int | None) -> Iterator[tuple[str, list[Known]]]:
    """Yield the sets that must not be read worse. None of their pictures is learned from."""
    number = min(PICTURES, limit or PICTURES)
    pixels, digits = (part[:limit] for part in read_mnist(train=False))
    yield "MNIST test", join(pixels, digits)
    samples = read_held_out_samples()
    parts = detect_in_thumbnails(samples, number, SEED), detect_on_sheets(samples, number, SEED, workers=1)
    found, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    yield "held-out writers", join(found[labels >= 0], labels[labels >= 0])
    outliers = make_outliers(pixels[:number].float(), digits[:number], torch.Generator().manual_seed(SEED))
    yield "not one digit", join(outliers.byte(), torch.full((len(outliers),), NOT_ONE_DIGIT))


def join(pixels: Tensor, labels: Tensor) -> list[Known]:
    """Return (n, 1, 28, 28) uint8 pixels with what they show, (n,)."""
    return [Known(make_ink(own[0]), label) for own, label in zip(pixels.numpy(), labels.tolist(), strict=True)]


def count(pictures: list[Known], engine: Engine, certain_from: float) -> Counts:
    """Return how a set is read."""
    right = certain = certain_and_wrong = 0
    readings = recognise([known.ink for known in pictures], engine)
    for known, reading in zip(pictures, readings, strict=True):
        is_certain = isinstance(reading, Reading) and reading.confidence >= certain_from
        is_right = (
            not is_certain
            if known.label == NOT_ONE_DIGIT
            else isinstance(reading, Reading) and reading.digit == known.label
        )
        right += is_right
        certain += is_certain
        certain_and_wrong += is_certain and not is_right
    return Counts(len(pictures), right, certain, certain_and_wrong)


def find_faults(table: list[Row]) -> list[str]:
    """Return a sentence for each reason to refuse the new weights; the first row is what they were to learn."""
    own, *others = table
    faults = [] if is_better(own) else [f"{own.name}: not read better."]
    for name, before, after in others:
        tolerated = TOLERATED * before.pictures
        if before.right - after.right > tolerated:
            faults.append(f"{name}: {percent(after.right, after)} % right, not {percent(before.right, before)} %.")
        if after.certain_and_wrong - before.certain_and_wrong > tolerated:
            shares = (percent(each.certain_and_wrong, each) for each in (after, before))
            faults.append("{}: {} % certain and wrong, not {} %.".format(name, *shares))
    return faults


def is_better(row: Row) -> bool:
    """Return whether more pictures are right, or as many and more of these certain, and no more certain but wrong."""
    before, after = ((counts.right, counts.certain - counts.certain_and_wrong) for counts in (row.before, row.after))
    return after > before and row.after.certain_and_wrong <= row.before.certain_and_wrong


def percent(number: int, counts: Counts) -> str:
    """Return a number of pictures as a share of all."""
    return f"{100 * number / counts.pictures:.2f}"


def tabulate(table: list[Row]) -> str:
    """Return a table of percentages, before and after."""
    lines = [f"{'':30}{'n':>7}{'right':>17}{'certain':>17}{'certain and wrong':>19}"]
    for name, before, after in table:
        pairs = zip(before[1:], after[1:], strict=True)
        right, certain, wrong = (f"{percent(old, before)} > {percent(new, after)}" for old, new in pairs)
        lines.append(f"{name:30}{before.pictures:7,}{right:>17}{certain:>17}{wrong:>19}")
    return "\n".join(lines)
