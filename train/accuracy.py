"""The share of pictures that a net reads right."""

import torch
from torch import Tensor

from model.digit_net import DigitNet

BATCH = 1_000


@torch.inference_mode()
def read_digits(net: DigitNet, pixels: Tensor) -> Tensor:
    """Return the most probable digit (N,) int64 of each of (N, 1, 28, 28) uint8 pixels, computed in float32."""
    device = net.fc1.weight.device
    return torch.cat([net(batch.to(device)).argmax(1).cpu() for batch in pixels.split(BATCH)])


def accuracy(net: DigitNet, pixels: Tensor, digits: Tensor) -> float:
    """Return the share 0..1 of (N, 1, 28, 28) uint8 pixels in which the net reads their digit (N,)."""
    return (read_digits(net, pixels) == digits).double().mean().item()
