"""The shipped net, and how many pictures a net reads right."""

from pathlib import Path

import torch
from digit_net import DigitNet
from torch import Tensor

WEIGHTS = Path(__file__).parent.parent / "model" / "digit_net.pt"
BATCH = 1_000


def load_net() -> DigitNet:
    """Return the net with the shipped weights."""
    net = DigitNet().eval()
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net


@torch.inference_mode()
def read_digits(net: DigitNet, pixels: Tensor) -> Tensor:
    """Return the most probable digit (N,) int64 for each of (N, 1, 28, 28) uint8 pixels, in full precision."""
    device = net.fc1.weight.device
    return torch.cat([net(batch.to(device)).argmax(1).cpu() for batch in pixels.split(BATCH)])


def accuracy(net: DigitNet, pixels: Tensor, digits: Tensor) -> float:
    """Return the share 0..1 of (N, 1, 28, 28) uint8 pixels whose digit (N,) the net reads right."""
    return (read_digits(net, pixels) == digits).double().mean().item()
