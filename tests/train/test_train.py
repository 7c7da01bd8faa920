"""Training learns, calibrates, and writes weights with a record."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from model.digit_net import DigitNet
from model.record import WEIGHTS
from operate.config import ROOT
from train.augment import MILD_SHARE, augment
from train.export import load
from train.mnist import read_mnist, split
from train.sheets.layout import NOT_ONE_DIGIT
from train.train import BATCH, INGREDIENTS, OUTLIER_SHARE, calibrate, gather, make_batch, make_batches


@pytest.mark.slow
def test_training_learns_and_writes_weights_with_a_record(tmp_path: Path) -> None:
    weights = tmp_path / "net.onnx"
    command: list[str | Path] = [ROOT / "scripts" / "train", "--epochs", "3", "--limit", "512", "--weights", weights]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "epoch 3/3: loss" in run.stdout
    load(DigitNet(), weights)
    record = json.loads(weights.with_suffix(".json").read_text())
    assert {"seed": 0, "epochs": 3, "limit": 512, "without": []}.items() <= record.items()
    assert {"torch", "python", "device", "duration_s"} <= set(record)
    # Chance is 0.1.
    assert record["validation_accuracy"] > 0.5
    assert record["test_accuracy"] > 0.5


def batch(without: frozenset[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the pixels and digits of a batch, and its inputs and targets."""
    pixels, digits = (part[:BATCH] for part in read_mnist(train=True))
    return pixels, digits, *make_batch(pixels, digits, torch.Generator().manual_seed(0), without, MILD_SHARE)


def test_outliers_have_every_digit_alike_as_target() -> None:
    pixels, digits, ink, targets = batch(frozenset(INGREDIENTS) - {"outliers"})
    changed = ((ink - pixels).abs() > 1).flatten(1).any(1)
    outliers = int(OUTLIER_SHARE * BATCH)
    assert changed.tolist() == [True] * outliers + [False] * (BATCH - outliers)
    assert (targets[:outliers] == 0.1).all()
    assert torch.equal(targets[outliers:], one_hot(digits[outliers:], 10).float())


def test_batches_made_at_once_are_alike() -> None:
    pixels, digits = (part[: 4 * BATCH] for part in read_mnist(train=True))
    made = make_batches(pixels, digits, torch.Generator().manual_seed(0), frozenset({"styles"}), 0.5)
    assert [len(ink) for ink, _ in made] == [BATCH] * 4
    outliers = [int((targets == 0.1).all(1).sum()) for _, targets in made]
    assert outliers == pytest.approx([OUTLIER_SHARE * BATCH] * 4, abs=1)
    assert torch.equal(torch.cat([targets for _, targets in made]).argmax(1)[BATCH - 1 :: BATCH], digits[-4:])


def test_sheets_without_one_digit_have_every_digit_alike_as_target() -> None:
    pixels, digits = (part[:BATCH] for part in read_mnist(train=True))
    labels = torch.where(torch.arange(BATCH) % 2 == 0, NOT_ONE_DIGIT, digits)
    _, targets = make_batch(pixels, labels, torch.Generator().manual_seed(0), frozenset(INGREDIENTS), MILD_SHARE)
    assert (targets[::2] == 0.1).all()
    assert torch.equal(targets[1::2], one_hot(digits[1::2], 10).float())


@pytest.mark.slow
@pytest.mark.parametrize("without", [("pens",), ("pages",), ("pages", "thumbnails")], ids="+".join)
def test_pages_and_thumbnails_join_mnist(without: tuple[str, ...]) -> None:
    pixels, digits = read_mnist(train=True)
    all_pixels, all_digits = gather(pixels, digits, frozenset(without), 256, seed=0)
    assert all_pixels.dtype == torch.uint8
    assert all_pixels.shape == (len(all_digits), 1, 28, 28)
    assert torch.equal(all_pixels[:256], pixels[split()[0][:256]])
    assert (len(all_digits) > 256) == ("thumbnails" not in without)
    assert (NOT_ONE_DIGIT in all_digits) == ("pages" not in without)


def test_without_outliers_the_target_of_each_picture_is_its_digit() -> None:
    pixels, digits, ink, targets = batch(frozenset(INGREDIENTS))
    assert torch.allclose(ink, pixels.float(), atol=0.01)
    assert torch.equal(targets, one_hot(digits, 10).float())


def test_calibration_undoes_too_much_and_too_little_confidence() -> None:
    everything, labels = read_mnist(train=True)
    held_out = split()[1][:500]
    digits = labels[held_out]
    pixels = augment(everything[held_out], digits, torch.Generator().manual_seed(0), mild_share=1.0)
    weights, losses = [], []
    for factor in (1.0, 0.7, 1.4):
        net = load(DigitNet(), WEIGHTS)
        for parameter in net.fc2.parameters():
            parameter.detach().mul_(factor)
        with torch.inference_mode():
            before = net(pixels)
            calibrate(net, pixels, digits)
            after = net(pixels)
        assert torch.equal(before.argmax(1), after.argmax(1))
        weights.append(net.fc2.weight)
        losses.append(cross_entropy(after, digits).item())
    assert losses == pytest.approx([losses[0]] * 3, rel=0.01)
    for weight in weights[1:]:
        assert torch.allclose(weight, weights[0], rtol=0.02)
