"""Held-out writers stay apart, and neither a writer nor a way to write a digit is learned too often."""

import pytest

from train.samples import balance, group, split_writers
from train.strokes import Sample, join, read_pen_strokes, read_semeion


def draw(digit: int, writer: str, top: int) -> Sample:
    """Return a stem with a bar at its top or lower."""
    return Sample(digit, join([[[0, 0], [0, 1000]], [[0, top], [500, top]]]), writer)


def test_held_out_writers_write_nothing_to_learn_from() -> None:
    learned_from, held_out = split_writers(read_pen_strokes())
    assert len(learned_from) + len(held_out) == 13_648
    assert 0.05 < len(held_out) / 13_648 < 0.2
    assert not {sample.writer for sample in learned_from} & {sample.writer for sample in held_out}


def test_semeions_last_writers_are_not_learned_from() -> None:
    learned_from, held_out = split_writers(read_semeion())
    assert len(learned_from) == 6_000
    assert {sample.writer for sample in held_out} == {"semeion/0"}


def test_a_writer_or_an_allograph_of_a_hundred_times_as_many_samples_counts_ten_times_as_much() -> None:
    writers = [draw(1, "rare", 0)] * 20 + [draw(1, "common", 0)] * 2_000
    forms = [draw(1, "", 0)] * 20 + [draw(1, "", 900)] * 2_000
    for samples, is_rare in ((writers, lambda s: s.writer == "rare"), (forms, lambda s: s.lines is forms[0].lines)):
        drawn = balance(samples)
        assert len(drawn) == len(samples)
        rare = sum(map(is_rare, drawn))
        assert rare / len(drawn) == pytest.approx(1 / 11, rel=0.3)


def test_like_digits_share_an_allograph() -> None:
    groups = group([draw(digit, "", top) for digit in (1, 4) for top in (0, 900) for _ in range(3)])
    assert [number // 10 for number in groups] == [1] * 6 + [4] * 6
    for first in range(0, 12, 3):
        assert len(set(groups[first : first + 3])) == 1
    assert groups[0] != groups[3]
