"""Recognises digits: InkNet finds the ink in each picture, DigitNet classifies it; NumberNet finds whole numbers."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from model.decode import Picture, decode_finer, turn_back
from model.engine import Engine
from model.errors import BadImage, refusal
from model.geometry import Box, Ink
from model.ink import find_ink
from model.numbers import Number, find_numbers

# As many decimals as answers show.
DECIMALS = 6


class Reading(NamedTuple):
    """The digit in a picture, and the ink that shows it, its box in pixels of the upload."""

    # The most probable one, and its probability.
    digit: int
    confidence: float
    # Of each digit 0..9.
    probabilities: list[float]
    ink: Ink
    # Whether that is the picture as it is stored, not turned as its file says.
    is_as_stored: bool = False
    # What else was looked for: None if it was not.
    numbers: list[Number] | None = None


def recognise(pictures: Sequence[Picture | Ink | BadImage], engine: Engine) -> list[Reading | BadImage]:
    """Return the reading of each of n pictures, or why it is refused: BadImage as given, or as it is blank."""
    inks = find_inks(pictures, engine)
    found = [ink for ink in inks if isinstance(ink, Ink)]
    if not found:
        return [ink for ink in inks if isinstance(ink, BadImage)]
    probabilities = engine.classify(np.concatenate([ink.pixels for ink in found])[:, None])
    # They are of a share of all ink: by the rest it may be any digit.
    shares = np.array([[ink.share] for ink in found])
    spread = (shares * probabilities + (1 - shares) / 10).round(DECIMALS)
    readings = map(Reading, spread.argmax(1).tolist(), spread.max(1).tolist(), spread.tolist(), found)
    return [next(readings) if isinstance(ink, Ink) else ink for ink in inks]


def find_inks(pictures: Sequence[Picture | Ink | BadImage], engine: Engine) -> list[Ink | BadImage]:
    """Return the ink in each of n pictures, or why it is refused."""
    found = iter(find_ink([each.grey for each in pictures if isinstance(each, Picture)], engine.segment))
    return [scale(next(found), each.scale) if isinstance(each, Picture) else each for each in pictures]


def add_numbers(
    picture: Picture, reading: Reading | BadImage, engine: Engine, in_cells: bool = False
) -> Reading | BadImage:
    """Return the reading of a picture with its numbers, or why it is refused when it is decoded again.

    A picture that is refused as it seems blank may still have numbers, of which the first digit is then read.
    """
    try:
        if isinstance(reading, BadImage):
            numbers = recognise_numbers(picture, engine, in_cells)
            return read_first(numbers) if numbers else reading
        shown = turn_back(picture) if reading.is_as_stored else picture
        return reading._replace(numbers=recognise_numbers(shown, engine, in_cells))
    except BadImage as error:
        return error.without_traceback()


def recognise_numbers(picture: Picture, engine: Engine, in_cells: bool = False) -> list[Number]:
    """Return the numbers in a picture, in reading order, their boxes in pixels of the upload. Raises BadImage."""
    finer = partial(decode_finer, picture)
    numbers = find_numbers(picture.grey, engine.detect, engine.classify, engine.certainty, finer, in_cells)

    def enlarge(box: Box) -> Box:
        left, top, right, bottom = (side * picture.scale for side in box)
        return left, top, right, bottom

    return [
        number._replace(
            box=enlarge(number.box), digits=[each._replace(box=enlarge(each.box)) for each in number.digits]
        )
        for number in numbers
    ]


def read_first(numbers: list[Number]) -> Reading:
    """Return the first digit of some numbers as the reading of their picture, with half the confidence or less."""
    digits = [digit for number in numbers for digit in number.digits]
    share = 1 / max(2, len(digits))
    spread = (share * np.array(digits[0].probabilities) + (1 - share) / 10).round(DECIMALS)
    return Reading(int(spread.argmax()), float(spread.max()), spread.tolist(), digits[0].ink, numbers=numbers)


def scale(ink: Ink | None, factor: float) -> Ink | BadImage:
    """Return ink with its box in pixels of the upload, of which the box of one grey level has this many."""
    if ink is None:
        return refusal("blank")
    left, top, right, bottom = ink.box
    return ink._replace(box=(left * factor, top * factor, right * factor, bottom * factor))
