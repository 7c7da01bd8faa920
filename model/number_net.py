"""NumberNet, the convolutional net that finds every digit in a picture, as it is trained and exported."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.ink_net import conv
from model.numbers import INK, MARK

# The maps: ink within each place, middles of digits and of marks, which digit, and how far a box reaches to its sides.
MAPS = (INK, 2, MARK, 4)


class NumberNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) with two heads: the digits' ink, and their middles, classes and boxes.

    Height and width of the planes are multiples of 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down1 = conv(2, 8, stride=2)
        self.same1 = conv(8, 8)
        self.down2 = conv(8, 24, stride=2)
        self.same2 = conv(24, 24)
        self.down3 = conv(24, 48, stride=2)
        self.same3 = conv(48, 48)
        self.down4 = conv(48, 72, stride=2)
        self.deep1, self.deep2 = conv(72, 72), conv(72, 72, dilation=2)
        self.whole = nn.Conv2d(72, 72, 1)
        self.deep3 = conv(72, 72)
        self.up3, self.join3 = nn.Conv2d(72, 4 * 48, 1), conv(48, 48)
        self.up2, self.join2 = nn.Conv2d(48, 4 * 24, 1), conv(24, 24)
        self.up1, self.join1 = nn.Conv2d(24, 4 * 8, 1), conv(8, 8)
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
        relu = functional.relu
        maps1 = relu(self.down1(planes))
        maps1 = maps1 + relu(self.same1(maps1))
        maps2 = relu(self.down2(maps1))
        maps2 = maps2 + relu(self.same2(maps2))
        maps3 = relu(self.down3(maps2))
        maps3 = maps3 + relu(self.same3(maps3))
        deep = relu(self.down4(maps3))
        deep = deep + relu(self.deep1(deep))
        deep = deep + relu(self.deep2(deep))
        deep = deep + relu(self.whole(deep.mean((2, 3), keepdim=True)))
        deep = deep + relu(self.deep3(deep))
        shuffle = functional.pixel_shuffle
        maps3 = relu(shuffle(self.up3(deep), 2) + maps3)
        maps3 = maps3 + relu(self.join3(maps3))
        maps2 = relu(shuffle(self.up2(maps3), 2) + maps2)
        maps2 = maps2 + relu(self.join2(maps2))
        maps1 = relu(shuffle(self.up1(maps2), 2) + maps1)
        maps1 = maps1 + relu(self.join1(maps1))
        ink = functional.pixel_unshuffle(self.last_ink(maps1), 2)
        return torch.cat([ink, self.last_maps(relu(self.head(maps2)))], 1)


class Probabilities(nn.Module):
    """What follows NumberNet when it is served."""

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, 20, h, w) maps to (B, 19, h, w) probabilities and sides.

        4 are of ink, 11 of the middle of each digit and of a mark; 4 are the sides in places.
        """
        ink, middles, classes, sides = maps.split(MAPS, 1)
        digit, mark = torch.sigmoid(middles).split(1, 1)
        return torch.cat([torch.sigmoid(ink), digit * torch.softmax(classes, 1), mark, torch.exp(sides)], 1)
