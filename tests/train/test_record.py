"""Weights come with a record, and better ones are kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from train import train, train_ink, train_numbers
from train.export import load
from train.record import may_write, write


def write_with(weights: Path, share: float, force: bool = False) -> int:
    """Write a net, its layers full of the same numbers, that was measured at a share."""
    net = nn.Sequential(nn.Conv1d(2, 1, 1), nn.Conv1d(1, 1, 1))
    for number, parameter in enumerate(net.parameters()):
        nn.init.constant_(parameter, number)
    inputs = torch.zeros(3, 2, 4)
    return write(net, nn.Sigmoid(), inputs, weights, {"seed": 3}, lambda _: {"share_read": share}, force)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of a net that was measured at 0.8, their record beside them."""
    weights = tmp_path / "net.onnx"
    assert write_with(weights, 0.8) == 0
    return weights


def test_weights_are_written_with_a_record(weights: Path) -> None:
    net = load(nn.Sequential(nn.Conv1d(2, 1, 1), nn.Conv1d(1, 1, 1)), weights)
    assert [parameter.flatten().tolist() for parameter in net.parameters()] == [[0, 0], [1], [2], [3]]
    record = json.loads(weights.with_suffix(".json").read_text())
    assert {"seed": 3, "share_read": 0.8, "torch": torch.__version__}.items() <= record.items()
    assert {"python", "device"} <= record.keys()


@pytest.mark.parametrize(
    ("share", "force", "status", "kept"),
    [(0.9, False, 0, 0.9), (0.8, False, 0, 0.8), (0.7, False, 1, 0.8), (0.7, True, 0, 0.7)],
    ids=["better", "as good", "worse", "worse but forced"],
)
def test_only_worse_weights_do_not_replace_others(
    share: float, force: bool, status: int, kept: float, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights.stat().st_mtime_ns
    assert write_with(weights, share, force) == status
    assert json.loads(weights.with_suffix(".json").read_text())["share_read"] == kept
    worse = weights.with_suffix(".worse.onnx")
    assert worse.exists() == (status == 1)
    assert (weights.stat().st_mtime_ns == before) == (status == 1)
    if status:
        assert json.loads(worse.with_suffix(".json").read_text())["share_read"] == share
        assert f"its share read 80.00% is better than {share:.2%}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("record", "force", "may"),
    [
        (None, False, False),
        (None, True, True),
        ({"share_read": 0.5}, False, True),
        ({"another_measure": 0.5}, False, False),
        ({"another_measure": 0.5}, True, True),
    ],
)
def test_weights_without_a_record_of_the_measure_are_replaced_by_force_alone(
    record: dict[str, float] | None, force: bool, may: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").touch()
    if record:
        (tmp_path / "net.json").write_text(json.dumps(record))
    assert may_write(tmp_path / "net.onnx", "share_read", force) == may
    assert ("no record" in capsys.readouterr().err) != may


def test_a_record_alone_is_no_obstacle(weights: Path) -> None:
    weights.unlink()
    assert may_write(weights, "share_read", force=False)
    assert write_with(weights, 0.1) == 0
    assert weights.exists()


@pytest.mark.parametrize("main", [train.main, train_ink.main, train_numbers.main])
def test_a_missing_folder_is_noticed_before_training(
    main: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--weights", str(tmp_path / "missing" / "net.onnx")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'missing'} is no folder.\n"
