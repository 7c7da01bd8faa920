"""The engine gives what the nets of torch give, for any number of pictures."""

import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.digit_net import DigitNet
from model.engine import SIZES, Engine
from operate.config import ROOT

# Of what the class gives with the same weights, whose features are not in 8 bits.
TOLERANCE = 0.03


def read_exactly(net: DigitNet, pixels: Tensor) -> NDArray[np.float32]:
    """Return the (B, 10) probabilities of the net itself for (B, 1, 28, 28) pixels."""
    with torch.inference_mode():
        return torch.cat([torch.softmax(net(part), 1) for part in pixels.split(500)]).numpy()


@pytest.mark.parametrize("count", [1, 3, 9, SIZES[0], SIZES[0] + 1, 200])
def test_any_number_of_pictures_is_read(
    count: int, shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor], engine: Engine
) -> None:
    pixels = mnist_test[0][:count]
    probabilities = engine.classify(pixels.numpy())
    assert probabilities.shape == (count, 10)
    assert np.allclose(probabilities, read_exactly(shipped_net, pixels), atol=TOLERANCE)


def test_a_signal_is_survived_after_nets_are_freed() -> None:
    code = """
import signal
from model.engine import build_classifier, build_segmenter
classify, segment = build_classifier(), build_segmenter()
del classify, segment
signal.signal(signal.SIGUSR1, print)
signal.raise_signal(signal.SIGUSR1)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(str(signal.SIGUSR1.value))
