"""scripts/train writes weights with a record, and keeps better ones."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from digit_net import DigitNet
from operate.config import ROOT


def train(weights: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run one epoch of scripts/train."""
    command: list[str | Path] = [ROOT / "scripts" / "train", "--epochs", "1", "--weights", weights, *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_training_writes_weights_and_record_and_keeps_better_ones(tmp_path: Path) -> None:
    weights = tmp_path / "net.pt"
    first = train(weights)
    assert first.returncode == 0, first.stderr
    assert "epoch 1/1: loss" in first.stdout
    DigitNet().load_state_dict(torch.load(weights, weights_only=True))
    record = json.loads(weights.with_suffix(".json").read_text())
    assert record["validation_accuracy"] > 0.9
    assert {"seed", "epochs", "torch", "duration_s", "test_accuracy"} <= set(record)

    better = record | {"validation_accuracy": 0.9999}
    weights.with_suffix(".json").write_text(json.dumps(better))
    before = weights.read_bytes()
    second = train(weights, "--seed", "1")
    assert second.returncode == 1
    assert "is better than" in second.stderr
    assert weights.read_bytes() == before
    assert (tmp_path / "net.worse.pt").exists()


@pytest.mark.slow
def test_weights_without_a_record_are_not_overwritten(tmp_path: Path) -> None:
    weights = tmp_path / "net.pt"
    weights.write_bytes(b"precious")
    refused = train(weights)
    assert refused.returncode == 1
    assert "no record" in refused.stderr
    assert weights.read_bytes() == b"precious"


@pytest.mark.slow
@pytest.mark.parametrize("epochs", ["0", "-1", "many"])
def test_a_wrong_number_of_epochs_is_refused(epochs: str) -> None:
    refused = subprocess.run([ROOT / "scripts" / "train", f"--epochs={epochs}"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
