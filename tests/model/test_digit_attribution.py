"""The derivative of the net, written down in numpy, is that of torch."""

import numpy as np
import pytest
import torch
from torch import Tensor

from digit_attribution import STEPS, attribute
from digit_net import DigitNet
from digit_weights import WEIGHTS, read_weights


@pytest.mark.parametrize("number", range(20))
def test_the_attribution_is_that_of_torch(
    number: int, shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor]
) -> None:
    pixels, digit = mnist_test[0][number], int(mnist_test[1][number])
    shares = (torch.arange(STEPS) + 0.5) / STEPS
    path = (shares[:, None, None, None] * pixels.float()).requires_grad_()
    logits = shipped_net(path)
    (gradient,) = torch.autograd.grad((logits[:, digit] - logits.mean(1)).sum(), path)
    exact = (gradient.mean(0) * pixels)[0].numpy()
    found = attribute(read_weights(WEIGHTS), pixels.numpy(), digit)
    assert found.dtype == np.float32
    assert np.abs(exact).max() > 0.1
    # Of two nearly equal maxima, the other may be taken in one step of 32.
    assert np.abs(found - exact).max() < 0.005
    assert np.median(np.abs(found - exact)[pixels[0] > 0]) < 1e-6
