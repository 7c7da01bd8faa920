"""The attribution of a digit falls on its ink: strokes that make the digit count for it."""

import numpy as np
import pytest
from torch import Tensor

from model.attribution import attribute
from model.engine import Engine


def test_ink_that_makes_the_digit_counts_for_it(mnist_test: tuple[Tensor, Tensor], engine: Engine) -> None:
    for pixels, digit in zip(mnist_test[0][:20].numpy(), mnist_test[1][:20].tolist(), strict=True):
        attribution = attribute(engine.classify, pixels, digit)
        assert attribution.shape == (28, 28)
        assert attribution.dtype == np.float32
        assert not attribution[pixels[0] == 0].any()
        assert attribution.max() > 0.5
        assert attribution.sum() > 0


def test_the_bar_that_makes_a_one_a_seven_counts_for_the_seven(engine: Engine) -> None:
    pixels = np.zeros((1, 28, 28), np.uint8)
    pixels[0, 4:7, 8:20] = pixels[0, 4:24, 17:20] = 255
    assert engine.classify(pixels[None]).argmax() == 7
    attribution = attribute(engine.classify, pixels, 7)
    assert attribution[4:7, 8:14].mean() > 2 * attribution[12:24].mean()


@pytest.mark.parametrize("level", [0, 255])
def test_pictures_without_ink_and_all_of_ink_have_one(level: int, engine: Engine) -> None:
    attribution = attribute(engine.classify, np.full((1, 28, 28), level, np.uint8), 3)
    assert np.isfinite(attribution).all()
    assert attribution.any() == (level > 0)
