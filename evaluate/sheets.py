"""Synthetic sheets by writers that training never saw, by the kind of paper, pen and light."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from evaluate.pictures import PictureSet, png
from evaluate.predictions import Predictions, Result
from train.sheets.layout import LIGHTS, PAPERS, PENS
from train.sheets.sheet import RandomSheets, Sheet
from train.strokes import Sample

NAME = "synthetic sheets"
SEED = 20_261_127


def make_sheets(samples: list[Sample], count: int) -> list[Sheet]:
    """Return random sheets, each with one digit of a sample."""
    sheets = RandomSheets(samples, 2 * count, SEED)
    written = (sheets[number] for number in range(len(sheets)))
    return list(islice((sheet for sheet in written if sheet.digit >= 0), count))


def to_pictures(sheets: Sequence[Sheet]) -> PictureSet:
    """Return sheets as somebody would upload them."""
    uploads = [png(sheet.grey) for sheet in sheets]
    return PictureSet(NAME, uploads, np.array([sheet.digit for sheet in sheets]))


def split_by_kind(sheets: Sequence[Sheet], results: Sequence[Result]) -> dict[str, Result]:
    """Return the part of the sheets' result for each kind of paper, pen and light."""
    pictures, predictions = next(result for result in results if result[0].name == NAME)
    parts = {}
    for title, kinds in (("paper", PAPERS), ("pen", PENS), ("light", LIGHTS)):
        for kind in kinds:
            chosen = np.array([number for number, sheet in enumerate(sheets) if getattr(sheet, title) == kind], int)
            uploads = [pictures.uploads[number] for number in chosen]
            read = Predictions(predictions.digits[chosen], predictions.confidences[chosen], predictions.certain[chosen])
            parts[f"{title}: {kind}"] = (PictureSet(kind, uploads, pictures.digits[chosen]), read)
    return parts
