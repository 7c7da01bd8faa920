"""The derivative of the net, written down in numpy, is that of torch."""

import numpy as np
import torch
from torch import Tensor

from model.attribution import STEPS, attribute
from model.digit_net import DigitNet
from model.weights import WEIGHTS, load_weights


def test_the_attribution_is_that_of_torch(shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor]) -> None:
    differences = []
    for pixels, digit in zip(mnist_test[0][:20], mnist_test[1][:20].tolist(), strict=True):
        shares = (torch.arange(STEPS) + 0.5) / STEPS
        path = (shares[:, None, None, None] * pixels.float()).requires_grad_()
        logits = shipped_net(path)
        (gradient,) = torch.autograd.grad((logits[:, digit] - logits.mean(1)).sum(), path)
        exact = (gradient.mean(0) * pixels)[0].numpy()
        found = attribute(load_weights(WEIGHTS), pixels.numpy(), digit)
        assert found.dtype == np.float32
        assert np.abs(exact).max() > 0.1
        # In one step of 32, the other of two nearly equal maxima may be taken, and a unit near 0 may count or not.
        assert np.abs(found - exact).max() < 0.01
        differences.append(np.median(np.abs(found - exact)[pixels[0] > 0]))
    assert max(differences) < 1e-3
    assert np.mean(np.array(differences) < 1e-6) > 0.8
