"""Explanations of answers: the pixels, which of them counted, where the digit is, and its ink."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.attribution import Classify, attribute
from model.errors import BadImage
from model.geometry import SIDE_PX, Box, Ink, extent
from model.recognise import Reading

DECIMALS = 4
# What the explained digits of a request's numbers may take: TorchServe fails a request whose answer passes 6.5 MB, of
# which 64 pictures with 200 numbers of one digit each may take 4.7.
DIGITS_BYTES = 1_500_000
PIXELS_BYTES = 4 * SIDE_PX * SIDE_PX


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
        explanation["mask"] = write_mask(levels)
    return explanation


def explain_digits(
    readings: Sequence[Reading | BadImage], answers: Sequence[dict[str, Any] | BadImage], with_mask: bool
) -> None:
    """Add to the numbers of a request's answers the pixels and, if wanted, the mask of each digit.

    They are n readings and their answers. Digits for which DIGITS_BYTES do not suffice get none.
    """
    found = (
        pair
        for reading, answer in zip(readings, answers, strict=True)
        if isinstance(reading, Reading) and reading.numbers and not isinstance(answer, BadImage)
        for number, described in zip(reading.numbers, answer["numbers"], strict=True)
        for pair in zip(number.digits, described["digits"], strict=True)
    )
    left = DIGITS_BYTES
    for digit, described in found:
        mask = write_mask(digit.ink.levels) if with_mask else ""
        left -= PIXELS_BYTES + len(mask)
        if left < 0:
            return
        described["pixels"] = digit.ink.pixels[0].tolist()
        if with_mask:
            described["mask"] = mask


def write_mask(levels: NDArray[np.uint8]) -> str:
    """Return (h, w) uint8 levels of ink as a PNG in base64."""
    with io.BytesIO() as file:
        Image.fromarray(levels).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def crop(ink: Ink) -> tuple[NDArray[np.uint8], Box]:
    """Return the (h, w) uint8 levels of ink, and their box, without black rims, which pixels of MNIST's form have."""
    rows, columns = extent(ink.levels)
    left, top, right, bottom = ink.box
    x, y = (right - left) / ink.levels.shape[1], (bottom - top) / ink.levels.shape[0]
    box = (left + columns.start * x, top + rows.start * y, left + columns.stop * x, top + rows.stop * y)
    return ink.levels[rows, columns], box
