"""Which ink of a picture spoke for the digit that the net reads in it."""

import torch
from digit_net import DigitNet
from torch import Tensor

STEPS = 32


def saliency(net: DigitNet, pixels: Tensor, digit: int) -> Tensor:
    """Return how much each point of (1, 28, 28) uint8 pixels spoke for a digit: (28, 28) float32, in logits.

    Integrated gradients (Sundararajan et al. 2017) on the way from a black picture, of the digit's logit over
    the mean of all ten. Points without ink get 0; the sum is what the ink adds to the logit altogether.
    """
    ink = pixels.to(net.fc1.weight)
    shares = (torch.arange(STEPS, device=ink.device) + 0.5) / STEPS
    with torch.inference_mode(mode=False), torch.enable_grad():
        path = (shares[:, None, None, None] * ink).requires_grad_()
        logits = net(path)
        (gradient,) = torch.autograd.grad((logits[:, digit] - logits.mean(1)).sum(), path)
    return (gradient.mean(0) * ink)[0].float()
