"""InkNet, the convolutional net that tells a digit's ink from all else in a picture, as it is trained and exported."""

from torch import Tensor, nn

from model.u_net import UNet


class InkNet(UNet):
    """Maps (B, 2, 160, 160) planes to (B, 1, 80, 80) logits of ink."""

    def __init__(self) -> None:
        super().__init__(16, 32, 64)
        self.last = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, planes: Tensor) -> Tensor:
        """Map (B, 2, 160, 160) float planes to (B, 1, 80, 80) logits, positive where the digit's ink is."""
        return self.last(self.find_features(planes)[0])
