"""scripts/train --more goes on from weights, is interrupted and resumed, and replaces them if it may."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.pictures import png
from model.digit_net import DigitNet
from model.geometry import make_ink
from model.record import WEIGHTS, compute_hash
from operate.config import ROOT
from tests.harness.hand import SHORT, save, write_sevens
from tests.harness.service import poll
from train import train
from train.hand import Known
from train.mnist import read_mnist
from train.more import OWN, interpolate, mix
from train.sheets.layout import NOT_ONE_DIGIT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """50 pictures: sevens with a foot, and some noise that is no digit."""
    folder = tmp_path / "hand"
    folder.mkdir()
    chance = np.random.default_rng(0)
    save(folder, write_sevens(45), 7)
    save(folder, [png(chance.integers(0, 256, (28, 28), np.uint8)) for _ in range(5)], "none")
    return folder


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_replaces_the_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "net.onnx"
    for suffix in (".onnx", ".json"):
        shutil.copy(WEIGHTS.with_suffix(suffix), weights.with_suffix(suffix))
    options = ["--more", str(folder), *SHORT, "--epochs=8", "--weights", str(weights), "--start", str(weights)]
    with subprocess.Popen([ROOT / "scripts" / "train", *options], stderr=subprocess.PIPE, text=True) as interrupted:
        poll(weights.with_suffix(".more.checkpoint").exists, 120)
        interrupted.send_signal(signal.SIGINT)
        assert interrupted.communicate()[1].endswith("Stopped. The same command goes on after the last epoch.\n")
    assert interrupted.returncode == 1
    before = compute_hash(weights)
    assert train.main(options) == 0
    printed = capsys.readouterr().out
    assert "Going on after batch " in printed
    assert "epoch 8/8: loss" in printed
    assert "your pictures, held out" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"hand", "net.onnx", "net.json"}
    record = json.loads(weights.with_suffix(".json").read_text())
    assert record["start"] == before != record["sha256"] == compute_hash(weights)
    assert record["more"]["times"] == 1
    assert record["more"]["learned_from"] + record["more"]["held_out"] == 50
    assert record["sets"]["MNIST test"]["before"]["pictures"] == 256


def test_a_folder_that_teaches_nothing_is_one_sentence(tmp_path: Path) -> None:
    command: list[str | Path] = [ROOT / "scripts" / "train", "--more", tmp_path]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{tmp_path} holds neither labels.csv")
    assert refused.stderr.count("\n") == 1


def test_all_but_the_hand_is_to_be_answered_as_before(shipped_net: DigitNet) -> None:
    pixels, digits = (part[:4] for part in read_mnist(train=True))
    learned = [Known(make_ink(pixels[0, 0].numpy()), 3), Known(make_ink(pixels[1, 0].numpy()), NOT_ONE_DIGIT)]
    replayed = [(pixels.float(), torch.zeros(4, 10))]
    ((ink, targets),) = mix(learned, replayed, shipped_net, torch.Generator().manual_seed(0))
    assert len(ink) == len(targets) == 4 + OWN
    assert torch.equal(ink[:4], pixels.float())
    assert targets[:4].argmax(1).tolist() == digits.tolist()
    # They are as unsure as the old net is.
    assert targets[:4].amax(1).tolist() == pytest.approx(shipped_net(pixels.float()).softmax(1).amax(1).tolist())
    own = {tuple(round(share, 4) for share in row) for row in targets[4:].tolist()}
    assert own == {(0.01,) * 3 + (0.91,) + (0.01,) * 6, (0.1,) * 10}


def test_nets_are_interpolated(shipped_net: DigitNet) -> None:
    blank = DigitNet()
    for parameter in blank.parameters():
        torch.nn.init.zeros_(parameter)
    pixels = read_mnist(train=True)[0][:2]
    with torch.inference_mode():
        assert torch.equal(interpolate(blank, shipped_net, 1.0)(pixels), shipped_net(pixels))
        assert not interpolate(blank, shipped_net, 0.0)(pixels).any()
    half = interpolate(blank, shipped_net, 0.5).fc2.weight
    assert torch.allclose(half, shipped_net.fc2.weight / 2)
