"""NumberNet, the convolutional net that finds every digit in a picture, as it is trained and exported."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.numbers import INK, MARK
from model.u_net import UNet, conv

# The maps: ink within each place, middles of digits and of marks, which digit, and how far a box reaches to its sides.
MAPS = (INK, 2, MARK, 4)


class NumberNet(UNet):
    """Finds the digits' ink, and with a second head their middles, classes and boxes."""

    def __init__(self) -> None:
        super().__init__(24, 48, 72)
        self.head = conv(24, 64)
        self.last_ink = nn.Conv2d(8, 1, 3, padding=1)
        self.last_maps = nn.Conv2d(64, sum(MAPS[1:]), 1)
        # Most places are no middle (Lin et al. 2017).
        self.last_maps.bias = nn.Parameter(torch.tensor([-4.0] * MAPS[1] + [0.0] * MAPS[2] + [1.0] * MAPS[3]))

    def forward(self, planes: Tensor) -> Tensor:
        """Map (B, 2, H, W) planes to (B, 20, H/4, W/4) maps.

        4 are logits of ink, pixels of a (H/2, W/2) mask; 2 of the middle of a digit and of a mark; 10 say which digit;
        4 how far its box reaches from there to the left, top, right and bottom, as logarithms of places.
        """
        maps1, maps2 = self.find_features(planes)
        ink = functional.pixel_unshuffle(self.last_ink(maps1), 2)
        return torch.cat([ink, self.last_maps(functional.relu(self.head(maps2)))], 1)


class Probabilities(nn.Module):
    """What follows NumberNet when it is served."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, 20, h, w) maps to (B, 19, h, w) probabilities and sides.

        4 are of ink, 11 of the middle of each digit and of a mark; 4 are the sides in places.
        """
        ink, middles, classes, sides = maps.split(MAPS, 1)
        digit, mark = torch.sigmoid(middles).split(1, 1)
        return torch.cat([torch.sigmoid(ink), digit * torch.softmax(classes, 1), mark, torch.exp(sides)], 1)
