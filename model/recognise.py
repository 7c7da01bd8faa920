"""Recognises digits with both nets: InkNet finds the ink in each picture, DigitNet classifies it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.decode import Picture
from model.engine import Engine
from model.errors import BadImage, refusal
from model.geometry import Ink
from model.ink import find_ink

# As many decimals as answers show.
DECIMALS = 6


class Reading(NamedTuple):
    """The probability (10,) float64 of each digit in a picture, and the ink that shows it, its box in upload pixels."""

    probabilities: NDArray[np.float64]
    ink: Ink
    # Whether that is the picture as it is stored, not turned as its file says.
    is_as_stored: bool = False

    @property
    def digit(self) -> int:
        """The most probable digit."""
        return int(self.probabilities.argmax())

    @property
    def confidence(self) -> float:
        """The probability of the digit."""
        return float(self.probabilities.max())


def recognise(pictures: Sequence[Picture | Ink | BadImage], engine: Engine) -> list[Reading | BadImage]:
    """Return the reading of each of n pictures, or why it is refused: BadImage as given, or as it is blank."""
    inks = find_inks(pictures, engine)
    pixels = [ink.pixels for ink in inks if isinstance(ink, Ink)]
    probabilities = iter(engine.classify(np.stack(pixels)).astype(np.float64).round(DECIMALS) if pixels else ())
    return [Reading(spread(next(probabilities), ink.share), ink) if isinstance(ink, Ink) else ink for ink in inks]


def spread(probabilities: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return the (10,) probabilities, given the share of the ink they are of: the rest may be any digit."""
    return probabilities if share == 1 else (share * probabilities + (1 - share) / 10).round(DECIMALS)


def find_inks(pictures: Sequence[Picture | Ink | BadImage], engine: Engine) -> list[Ink | BadImage]:
    """Return the ink in each of n pictures, or why it is refused."""
    found = iter(find_ink([each.grey for each in pictures if isinstance(each, Picture)], engine.segment))
    return [scale(next(found), each.scale) if isinstance(each, Picture) else each for each in pictures]


def scale(ink: Ink | None, factor: float) -> Ink | BadImage:
    """Return ink with its box in pixels of the upload, of which the box of one grey level has this many."""
    if ink is None:
        return refusal("blank")
    left, top, right, bottom = ink.box
    return ink._replace(box=(left * factor, top * factor, right * factor, bottom * factor))
