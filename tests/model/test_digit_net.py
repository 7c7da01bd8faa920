"""The net has the layers it should have, and the shipped weights are as accurate as their record says."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from model.digit_net import DigitNet
from model.geometry import PIXEL_MEAN, PIXEL_STD
from operate.config import ROOT
from train.mnist import read_mnist, split
from train.train import accuracy


def test_pixels_are_standardised_by_the_training_pictures() -> None:
    counts, levels = np.bincount(read_mnist(train=True)[0].numpy().ravel()), np.arange(256)
    mean = np.average(levels, weights=counts)
    assert mean == pytest.approx(PIXEL_MEAN, abs=1e-3)
    assert np.average((levels - mean) ** 2, weights=counts) ** 0.5 == pytest.approx(PIXEL_STD, abs=1e-3)


def test_uint8_and_float_pixels_give_the_same_logits(shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor]) -> None:
    pixels = mnist_test[0][:8]
    with torch.inference_mode():
        assert torch.equal(shipped_net(pixels), shipped_net(pixels.float()))


def test_validation_pictures_are_held_out_of_the_training_pictures() -> None:
    learned_from, held_out = split()
    assert (len(learned_from), len(held_out)) == (55_000, 5_000)
    assert sorted([*learned_from.tolist(), *held_out.tolist()]) == list(range(60_000))


@pytest.mark.slow
def test_the_shipped_weights_are_as_accurate_as_their_record_says(
    shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor]
) -> None:
    record = json.loads((ROOT / "model" / "digit_net.json").read_text())
    measured = accuracy(shipped_net, *mnist_test)
    assert measured >= 0.994
    assert measured == pytest.approx(record["test_accuracy"], abs=1e-4)
