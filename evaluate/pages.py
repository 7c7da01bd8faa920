"""Made-up pages of hands that training never saw, by the kind of paper, pen and light."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from evaluate.pictures import PictureSet, png
from evaluate.predictions import Predictions, Result
from train.hands import read_held_out_hands
from train.pages import LIGHTS, PAPERS, PENS, Page, RandomPages

SEED = 20_261_127


def make_pages(count: int) -> list[Page]:
    """Return random pages, each with one digit."""
    pages = RandomPages(read_held_out_hands(), 2 * count, SEED)
    written = (pages[number] for number in range(len(pages)))
    return list(islice((page for page in written if page.digit >= 0), count))


def to_pictures(pages: Sequence[Page]) -> PictureSet:
    """Return pages as somebody would upload them."""
    return PictureSet("made-up pages", [png(page.grey) for page in pages], np.array([page.digit for page in pages]))


def split_by_kind(pages: Sequence[Page], result: Result) -> dict[str, Result]:
    """Return the part of the result for each kind of paper, pen and light."""
    pictures, predictions = result
    parts = {}
    for title, kinds in (("paper", PAPERS), ("pen", PENS), ("light", LIGHTS)):
        for kind in kinds:
            chosen = np.array([getattr(page, title) == kind for page in pages])
            uploads = [upload for upload, is_one in zip(pictures.uploads, chosen, strict=True) if is_one]
            read = Predictions(predictions.digits[chosen], predictions.confidences[chosen], predictions.certain[chosen])
            parts[f"{title}: {kind}"] = (PictureSet(kind, uploads, pictures.digits[chosen]), read)
    return parts
