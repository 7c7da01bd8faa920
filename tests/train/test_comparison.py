"""New weights are accepted if they read the hand better and nothing worse."""

import re
from argparse import Namespace
from pathlib import Path

import pytest

from model.digit_net import DigitNet
from model.engine import Engine
from model.record import WEIGHTS
from tests.harness.service import EXAMPLES
from train.comparison import Counts, Row, count, find_faults, replace, tabulate
from train.export import load
from train.hand import Hand, Known, find
from train.mnist import read_mnist
from train.sheets.layout import NOT_ONE_DIGIT

HAND = (20, 5, 6, 4)
BETTER = Row("yours", Counts(*HAND), Counts(20, 15, 10, 2))
OTHERS = (10_000, 9_960, 9_800, 20)


@pytest.mark.parametrize(
    ("after", "is_better"),
    [
        ((20, 6, 6, 4), True),
        # As many right: more of these must be certain.
        ((20, 5, 7, 4), True),
        (HAND, False),
        ((20, 4, 10, 4), False),
        # More right, but more certain and wrong too.
        ((20, 15, 15, 5), False),
        # Fewer certain, but none of these was right.
        ((20, 5, 5, 3), False),
        ((20, 6, 2, 0), True),
    ],
)
def test_the_hand_must_be_read_better(after: tuple[int, int, int, int], is_better: bool) -> None:
    faults = find_faults([Row("yours", Counts(*HAND), Counts(*after))])
    assert faults == ([] if is_better else ["yours: not read better."])


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        (OTHERS, ""),
        ((10_000, 9_970, 9_700, 10), ""),
        # 0.05 points.
        ((10_000, 9_955, 9_800, 25), ""),
        ((10_000, 9_954, 9_800, 20), "others: 99.54 % right, not 99.60 %."),
        ((10_000, 9_970, 9_900, 26), "others: 0.26 % certain and wrong, not 0.20 %."),
    ],
)
def test_nothing_else_may_be_read_worse(after: tuple[int, int, int, int], fault: str) -> None:
    assert find_faults([BETTER, Row("others", Counts(*OTHERS), Counts(*after))]) == ([fault] if fault else [])


def test_each_fault_is_named() -> None:
    worse = Counts(1_000, 900, 900, 100)
    rows = [Row("yours", BETTER.after, BETTER.before), Row("others", Counts(1_000, 990, 900, 9), worse)]
    assert [fault.partition(":")[0] for fault in find_faults(rows)] == ["yours", "others", "others"]


def test_pictures_are_counted_as_the_service_answers(engine: Engine) -> None:
    known = [Known(find(path.read_bytes(), engine), digit) for digit, path in EXAMPLES.items()]
    assert count(known, engine, 0.5) == (10, 10, 10, 0)
    assert count(known, engine, 1.1) == (10, 10, 0, 0)
    wrong = [each._replace(label=(each.label + 1) % 10) for each in known]
    assert count(wrong, engine, 0.5) == (10, 0, 10, 10)
    others = [each._replace(label=NOT_ONE_DIGIT) for each in known]
    assert count(others, engine, 0.5) == (10, 0, 10, 10)
    assert count(others, engine, 1.1) == (10, 10, 0, 0)


@pytest.mark.slow
def test_weights_that_read_the_hand_no_better_are_put_beside_the_old_ones(
    engine: Engine, shipped_net: DigitNet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = [Known(find(path.read_bytes(), engine), digit) for digit, path in EXAMPLES.items()]
    weights = tmp_path / "net.onnx"
    options = Namespace(weights=weights, start=WEIGHTS, limit=256, force=False)
    inputs = read_mnist(train=True)[0][:40]
    assert replace(shipped_net, Hand([], held_out, ""), inputs, {}, options) == 1
    printed = capsys.readouterr()
    assert re.search(r"^your pictures, held out +10 +100\.00 > 100\.00 ", printed.out, re.MULTILINE)
    assert "your pictures, held out: not read better.\nThe old weights stay; " in printed.err
    assert not weights.exists()
    load(DigitNet(), weights.with_suffix(".worse.onnx"))


def test_the_table_has_both_shares_of_each_set() -> None:
    lines = tabulate([BETTER, Row("others", Counts(*OTHERS), Counts(*OTHERS))]).splitlines()
    assert lines[1].split() == ["yours", "20", "25.00", ">", "75.00", "30.00", ">", "50.00", "20.00", ">", "10.00"]
    assert lines[2].split()[:3] == ["others", "10,000", "99.60"]
    assert len({len(line) for line in lines}) == 1
