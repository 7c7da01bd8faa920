"""The net as it is trained: DigitNet with batch normalisation, which is folded into DigitNet's weights afterwards."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.digit_net import DigitNet
from model.geometry import PIXEL_MEAN, PIXEL_STD

DROPOUT = 0.4


class NormalisedNet(nn.Module):
    """DigitNet with batch normalisation (Ioffe & Szegedy 2015) before each ReLU and dropout before the last layer.

    The convolutions are normalised after pooling, on a quarter of the values. That can be folded because their
    normalisation has no gain of its own, which might be negative: maxima commute with positive factors only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 5, padding=2, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2, bias=False)
        self.norm2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * 7 * 7, 1024, bias=False)
        self.norm3 = nn.BatchNorm1d(1024)
        self.fc2 = nn.Linear(1024, 10)
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 1, 28, 28) float pixels 0..255 to (B, 10) logits."""
        standardised = (pixels - PIXEL_MEAN) / PIXEL_STD
        maps = functional.relu(self.norm1(functional.max_pool2d(self.conv1(standardised), 2)))
        maps = functional.relu(self.norm2(functional.max_pool2d(self.conv2(maps), 2)))
        features = functional.relu(self.norm3(self.fc1(maps.flatten(1))))
        if self.training:
            # functional.dropout does the same, but on CPUs its random numbers cost more than the layers around it.
            features = features * ((torch.rand_like(features) >= DROPOUT) / (1 - DROPOUT)).to(features.dtype)
        return self.fc2(features)


def fold(trained: NormalisedNet) -> DigitNet:
    """Return the DigitNet that computes the same logits as the trained net in evaluation mode."""
    weights = dict(trained.state_dict())
    folded = {"fc2.weight": weights["fc2.weight"], "fc2.bias": weights["fc2.bias"]}
    for layer, norm in (("conv1", "norm1"), ("conv2", "norm2"), ("fc1", "norm3")):
        kernel = weights[f"{layer}.weight"]
        gain = weights[f"{norm}.weight"] / torch.sqrt(weights[f"{norm}.running_var"] + trained.norm1.eps)
        folded[f"{layer}.weight"] = kernel * gain.view(-1, *[1] * (kernel.dim() - 1))
        folded[f"{layer}.bias"] = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * gain
    net = DigitNet().to(kernel.device).eval()
    net.load_state_dict(folded)
    return net
