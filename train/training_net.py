"""The nets as they are trained: with batch normalisation (Ioffe & Szegedy 2015), which is folded away afterwards."""

from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.geometry import PIXEL_MEAN, PIXEL_STD

DROPOUT = 0.4

Net = TypeVar("Net", bound=nn.Module)


class NormalisedNet(nn.Module):
    """DigitNet with batch normalisation before each ReLU and dropout before the last layer.

    The convolutions are normalised after pooling, on a quarter of the values. That can be folded because their
    normalisation has no learned gain, which might be negative: maxima commute with positive factors only.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(1, 32, 5, padding=2, bias=False), nn.BatchNorm2d(32))
        self.conv2 = nn.Sequential(nn.Conv2d(32, 64, 5, padding=2, bias=False), nn.BatchNorm2d(64))
        self.fc1 = nn.Sequential(nn.Conv1d(64 * 7 * 7, 1024, 1, bias=False), nn.BatchNorm1d(1024))
        self.fc2 = nn.Conv1d(1024, 10, 1)
        for _, norm in (self.conv1, self.conv2):
            norm.weight.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 1, 28, 28) float pixels 0..255 to (B, 10) logits."""
        maps = (pixels - PIXEL_MEAN) / PIXEL_STD
        for conv, norm in (self.conv1, self.conv2):
            maps = functional.relu(norm(functional.max_pool2d(conv(maps), 2)))
        features = functional.relu(self.fc1(maps.flatten(1).T[None]))
        if self.training:
            # functional.dropout does the same, but on CPUs its random numbers cost more than the layers around it.
            features = features * ((torch.rand_like(features) >= DROPOUT) / (1 - DROPOUT)).to(features.dtype)
        return self.fc2(features)[0].T


def normalise(net: Net) -> Net:
    """Return a net with batch normalisation after each of its convolutions but the last ones."""
    for name, layer in list(net.named_children()):
        if not name.startswith("last"):
            conv = cast("nn.Conv2d", layer)
            setattr(net, name, nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))
    return net


def fold(trained: nn.Module, plain: Net) -> Net:
    """Return a plain net with the weights with which it computes the same as a trained one in evaluation mode."""
    trained.eval()
    for name, layer in trained.named_children():
        if isinstance(layer, nn.Sequential):
            layer = fuse_conv_bn_eval(*cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(layer)))
        getattr(plain, name).load_state_dict(layer.state_dict())
    return plain.eval()
