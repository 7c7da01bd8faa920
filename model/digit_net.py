"""DigitNet, the convolutional net that turns 28x28 pixels into ten logits, as it is trained and exported."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.geometry import PIXEL_MEAN, PIXEL_STD


class DigitNet(nn.Module):
    """Two convolutions and two linear layers: (B, 1, 28, 28) pixels in, (B, 10) logits out.

    Pixels are 0..255 with bright ink on a dark background, as uint8 or as floats of the same range.
    The net standardises them itself, so that callers need no constants of the training set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        # Linear layers, written as convolutions over the batch in a line: with AVX2 alone OpenVINO multiplies these in
        # half the time, because it packs the weights once and not on each call.
        self.fc1 = nn.Conv1d(64 * 7 * 7, 1024, 1)
        self.fc2 = nn.Conv1d(1024, 10, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 1, 28, 28) pixels 0..255 to (B, 10) float logits, one per digit 0..9."""
        standardised = (pixels.to(self.fc1.weight.dtype) - PIXEL_MEAN) / PIXEL_STD
        maps = functional.max_pool2d(functional.relu(self.conv1(standardised)), 2)
        maps = functional.max_pool2d(functional.relu(self.conv2(maps)), 2)
        features = functional.relu(self.fc1(torch.flatten(maps, 1).T[None]))
        return self.fc2(features)[0].T
