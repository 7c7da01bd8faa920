"""The attribution of an answer: how much each pixel of ink contributed to the digit."""

import torch
from torch import Tensor

from digit_net import DigitNet

STEPS = 32


def attribute(net: DigitNet, pixels: Tensor, digit: int) -> Tensor:
    """Return how much each of (1, 28, 28) uint8 pixels contributed to a digit 0..9: (28, 28) float32, in logits.

    Integrated gradients (Sundararajan et al. 2017), from a black picture, of the digit's logit minus the mean of all
    ten. Pixels without ink get 0; the sum is what all the ink adds to that difference.
    """
    ink = pixels.to(net.fc1.weight)
    shares = (torch.arange(STEPS, device=ink.device) + 0.5) / STEPS
    with torch.inference_mode(mode=False), torch.enable_grad():
        path = (shares[:, None, None, None] * ink).requires_grad_()
        logits = net(path)
        (gradient,) = torch.autograd.grad((logits[:, digit] - logits.mean(1)).sum(), path)
    return (gradient.mean(0) * ink)[0].float()
