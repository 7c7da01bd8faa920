"""DigitNet, the convolutional net that turns 28x28 pixels into ten logits, with its shipped weights."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_name("digit_net.pt")

# Mean and standard deviation of the 60,000 MNIST training pictures, in pixel values 0..255.
PIXEL_MEAN = 33.3184
PIXEL_STD = 78.5675


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
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; in software it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
