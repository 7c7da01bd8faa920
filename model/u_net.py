"""The body of InkNet and of NumberNet."""

from torch import Tensor, nn
from torch.nn import functional


class UNet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) for two planes, whose height and width are multiples of 16.

    It has 8 channels at a half of their size, and the numbers given at a quarter, an eighth and a sixteenth.
    """

    def __init__(self, second: int, third: int, fourth: int) -> None:
        super().__init__()
        self.down1 = conv(2, 8, stride=2)
        self.same1 = conv(8, 8)
        self.down2 = conv(8, second, stride=2)
        self.same2 = conv(second, second)
        self.down3 = conv(second, third, stride=2)
        self.same3 = conv(third, third)
        self.down4 = conv(third, fourth, stride=2)
        self.deep1, self.deep2 = conv(fourth, fourth), conv(fourth, fourth, dilation=2)
        self.whole = nn.Conv2d(fourth, fourth, 1)
        self.deep3 = conv(fourth, fourth)
        self.up3, self.join3 = nn.Conv2d(fourth, 4 * third, 1), conv(third, third)
        self.up2, self.join2 = nn.Conv2d(third, 4 * second, 1), conv(second, second)
        self.up1, self.join1 = nn.Conv2d(second, 4 * 8, 1), conv(8, 8)

    def find_features(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, 2, H, W) float planes to maps (B, 8, H/2, W/2) and (B, second, H/4, W/4)."""
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
        return maps1, maps2


def conv(inward: int, outward: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps the size of the maps, or halves it."""
    return nn.Conv2d(inward, outward, 3, stride, padding=dilation, dilation=dilation)
