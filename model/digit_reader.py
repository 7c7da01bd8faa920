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
        self.engine = build_engine(net, device)
        # See digit_ink.InkEngine.
        self.see_ink = build_ink_engine(ink_net, device)

    def read(self, pictures: Sequence[Picture | BadImage]) -> list[Reading | BadImage]:
        """Return the reading of each of n pictures, or why it is refused: BadImage as given, or as it is blank."""
        inks = self.find(pictures)
        good = [ink.pixels for ink in inks if isinstance(ink, Ink)]
        if not good:
            return [ink for ink in inks if isinstance(ink, BadImage)]
        with torch.inference_mode():
            probabilities = iter(self.engine(torch.from_numpy(np.stack(good)).to(self.device)).cpu().numpy())
        return [Reading(next(probabilities), ink) if isinstance(ink, Ink) else ink for ink in inks]

    def find(self, pictures: Sequence[Picture | BadImage]) -> list[Ink | BadImage]:
        """Return the ink in each of n pictures, or why it is refused."""
        greys = [each.grey for each in pictures if isinstance(each, Picture) and each.grey is not None]
        found = iter(find_ink(greys, self.see_ink))
        return [each if isinstance(each, BadImage) else each.ink or next(found) or blank() for each in pictures]
