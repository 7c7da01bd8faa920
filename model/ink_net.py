"""InkNet, the convolutional net that tells a digit's ink from all else in a picture, as it is trained and exported."""

from torch import Tensor, nn
from torch.nn import functional


class InkNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015): (B, 2, 160, 160) planes in, (B, 1, 80, 80) logits of ink out."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = conv(2, 8, stride=2)
        self.same1 = conv(8, 8)
        self.down2 = conv(8, 16, stride=2)
        self.same2 = conv(16, 16)
        self.down3 = conv(16, 32, stride=2)
        self.same3 = conv(32, 32)
        self.down4 = conv(32, 64, stride=2)
        self.deep1, self.deep2 = conv(64, 64), conv(64, 64, dilation=2)
        self.whole = nn.Conv2d(64, 64, 1)
        self.deep3 = conv(64, 64)
        self.up3, self.join3 = nn.Conv2d(64, 4 * 32, 1), conv(32, 32)
        self.up2, self.join2 = nn.Conv2d(32, 4 * 16, 1), conv(16, 16)
        self.up1, self.join1 = nn.Conv2d(16, 4 * 8, 1), conv(8, 8)
        self.last = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, planes: Tensor) -> Tensor:
        """Map (B, 2, 160, 160) float planes to (B, 1, 80, 80) logits, positive where the digit's ink is."""
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
        return self.last(maps1)


def conv(inward: int, outward: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size of the maps, or halves it."""
    return nn.Conv2d(inward, outward, 3, stride, padding=dilation, dilation=dilation)
