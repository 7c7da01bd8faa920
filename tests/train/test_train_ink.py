"""InkNet's training learns where ink is, and writes weights with a record."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from model.ink_input import MASK_PX, make_planes
from model.ink_net import InkNet
from operate.config import ROOT
from train.export import load
from train.sheets.sheet import RandomSheets
from train.strokes import Sample
from train.train_ink import BATCH, LEAST_BATCHES, MEASURE, ink_loss, make_target, measure

SHEETS = LEAST_BATCHES * BATCH


@pytest.mark.slow
def test_training_learns_and_writes_weights_with_a_record(samples: list[Sample], tmp_path: Path) -> None:
    weights = tmp_path / "ink.onnx"
    command: list[str | Path] = [ROOT / "scripts" / "train-ink", "--pictures", str(SHEETS), "--weights", weights]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    record = json.loads(weights.with_suffix(".json").read_text())
    assert {"seed": 0, "pictures": SHEETS}.items() <= record.items()
    untrained = measure(InkNet().eval(), samples, 128)
    assert record[MEASURE] > untrained + 0.1
    load(InkNet(), weights)


def test_the_target_lies_where_the_net_sees_the_sheet(samples: list[Sample]) -> None:
    sheet = next(sheet for sheet in map(RandomSheets(samples, 99, 0).__getitem__, range(99)) if sheet.ink.any())
    target, planes = make_target(sheet), make_planes(sheet.grey)[0]
    assert target.shape == (1, MASK_PX, MASK_PX)
    seen = np.abs(planes[1]).reshape(MASK_PX, 2, MASK_PX, 2).max((1, 3)) > 0
    assert not target[0][~seen].any()
    assert target.sum() / MASK_PX**2 == pytest.approx(sheet.ink.sum() / max(sheet.ink.shape) ** 2, rel=0.05)


def test_the_loss_is_small_for_the_right_mask_alone() -> None:
    target = torch.zeros(2, 1, 8, 8)
    target[:, :, 2:6, 2:6] = 1
    right, empty, full = (ink_loss(20 * (2 * mask - 1), target).item() for mask in (target, target * 0, target * 0 + 1))
    assert right < 0.01
    assert min(empty, full) > 1
