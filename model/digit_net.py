"""DigitNet, the convolutional net that turns 28x28 pixels into ten logits, with its shipped weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.geometry import PIXEL_MEAN, PIXEL_STD
from model.record import check_record
from model.weights import WEIGHTS


class DigitNet(nn.Module):
    """Two convolutions and two linear layers: (B, 1, 28, 28) pixels in, (B, 10) logits out.

    Pixels are 0..255 with bright ink on a dark background, as uint8 or as floats of the same range.
    The net standardises them itself, so that callers need no constants of the training set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * 7 * 7, 1024)
        self.fc2 = nn.Linear(1024, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 1, 28, 28) pixels 0..255 to (B, 10) float logits, one per digit 0..9."""
        standardised = (pixels.to(self.fc1.weight.dtype) - PIXEL_MEAN) / PIXEL_STD
        # Pooling first leaves ReLU a quarter of the work and gives the same result.
        maps = functional.relu(functional.max_pool2d(self.conv1(standardised), 2))
        maps = functional.relu(functional.max_pool2d(self.conv2(maps), 2))
        features = functional.relu(self.fc1(torch.flatten(maps, 1)))
        return self.fc2(features)


def load_net() -> DigitNet:
    """Return the net with the shipped weights, in evaluation mode."""
    net = DigitNet().eval()
    check_record(WEIGHTS)
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net
