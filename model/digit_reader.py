"""Reading pictures with both nets: InkNet finds the digit's ink, DigitNet tells which digit it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from digit_engine import build_engine, build_ink_engine
from digit_image import BadImage, Picture, blank
from digit_ink import find_ink
from digit_ink_net import InkNet
from digit_net import DigitNet
from digit_pixels import Ink


class Reading(NamedTuple):
    """The probability (10,) float32 of each digit in a picture, and the ink that it was read from."""

    probabilities: NDArray[np.float32]
    ink: Ink


class Reader:
    """Both nets, compiled for the device that runs them."""

    def __init__(self, net: DigitNet, ink_net: InkNet, device: torch.device) -> None:
        self.device = device
        self.digit_engine = build_engine(net, device)
        self.ink_engine = build_ink_engine(ink_net, device)

    def read(self, pictures: Sequence[Picture | BadImage]) -> list[Reading | BadImage]:
        """Return the reading of each of n pictures, or why it is refused: BadImage as given, or as it is blank."""
        inks = self.find(pictures)
        good = [ink.pixels for ink in inks if isinstance(ink, Ink)]
        probabilities = iter(self.read_pixels(np.stack(good)) if good else ())
        return [Reading(next(probabilities), ink) if isinstance(ink, Ink) else ink for ink in inks]

    def find(self, pictures: Sequence[Picture | BadImage]) -> list[Ink | BadImage]:
        """Return the ink in each of n pictures, or why it is refused."""
        greys = [each.grey for each in pictures if isinstance(each, Picture) and each.grey is not None]
        found = iter(find_ink(greys, self.see_ink))
        return [each if isinstance(each, BadImage) else each.ink or next(found) or blank() for each in pictures]

    def read_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the probabilities (n, 10) float32 for (n, 1, 28, 28) uint8 pixels."""
        with torch.inference_mode():
            return self.digit_engine(torch.from_numpy(pixels).to(self.device)).cpu().numpy()

    def see_ink(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the ink (n, 80, 80) float32, 0 to 1, in (n, 2, 160, 160) float32 planes."""
        with torch.inference_mode():
            return self.ink_engine(torch.from_numpy(planes).to(self.device)).cpu().numpy()
