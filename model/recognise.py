"""Reading pictures with both nets: InkNet finds the digit's ink, DigitNet tells which digit it is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.decode import Picture
from model.engine import Engine
from model.errors import BadImage, blank
from model.geometry import Ink
from model.ink import find_ink


class Reading(NamedTuple):
    """The probability (10,) float32 of each digit in a picture, and the ink that it was read from."""

    probabilities: NDArray[np.float32]
    ink: Ink
    # Whether that is the picture as it is stored, not turned as its file says.
    is_as_stored: bool = False


def read(pictures: Sequence[Picture | BadImage], engine: Engine) -> list[Reading | BadImage]:
    """Return the reading of each of n pictures, or why it is refused: BadImage as given, or as it is blank."""
    inks = find(pictures, engine)
    good = [ink.pixels for ink in inks if isinstance(ink, Ink)]
    probabilities = iter(engine.read(np.stack(good)) if good else ())
    return [Reading(next(probabilities), ink) if isinstance(ink, Ink) else ink for ink in inks]


def find(pictures: Sequence[Picture | BadImage], engine: Engine) -> list[Ink | BadImage]:
    """Return the ink in each of n pictures, or why it is refused."""
    greys = [each.grey for each in pictures if isinstance(each, Picture) and each.grey is not None]
    found = iter(find_ink(greys, engine.see_ink))
    return [each if isinstance(each, BadImage) else each.ink or next(found) or blank() for each in pictures]
