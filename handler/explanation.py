"""Explanations of answers: the pixels, which of them counted, where the digit is, and its ink."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.attribution import Classify, attribute
from model.geometry import Box, Ink, extent
from model.recognise import Reading

DECIMALS = 4


def explain(reading: Reading, classify: Classify, with_mask: bool) -> dict[str, Any]:
    """Return pixels, saliency, box and, if wanted, mask of one picture, as the README describes them."""
    attribution = attribute(classify, reading.ink.pixels, reading.digit)
    levels, box = crop(reading.ink)
    explanation = {
        "pixels": reading.ink.pixels[0].tolist(),
        "saliency": np.round(attribution.astype(np.float64), DECIMALS).tolist(),
        "box": [round(side) for side in box],
    }
    if with_mask:
        file = io.BytesIO()
        Image.fromarray(levels).save(file, "PNG")
        explanation["mask"] = base64.b64encode(file.getvalue()).decode()
    return explanation


def crop(ink: Ink) -> tuple[NDArray[np.uint8], Box]:
    """Return the (h, w) uint8 levels of ink, and their box, without black rims, which pixels of MNIST's form have."""
    rows, columns = extent(ink.levels)
    left, top, right, bottom = ink.box
    x, y = (right - left) / ink.levels.shape[1], (bottom - top) / ink.levels.shape[0]
    box = (left + columns.start * x, top + rows.start * y, left + columns.stop * x, top + rows.stop * y)
    return ink.levels[rows, columns], box
