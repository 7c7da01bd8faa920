"""What numpy does to ink and planes is what OpenCV does."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.geometry import centre_of_mass, extent, thin, widen
from model.ink_input import FAR_PX, NEAR_PX, average
from model.thumbnail import threshold


def random_levels(seed: int, largest: int = 80) -> NDArray[np.uint8]:
    """Return smooth random grey levels of a random size."""
    chance = np.random.default_rng(seed)
    height, width = chance.integers(2, largest + 1, 2)
    levels = chance.random((largest, largest)).astype(np.float32)
    smooth = cv2.GaussianBlur(levels, (0, 0), float(chance.uniform(0.1, 4)))
    stretched = np.interp(smooth, (smooth.min(), smooth.max()), (0, 255))
    return np.ascontiguousarray(stretched[:height, :width].astype(np.uint8))


@pytest.mark.parametrize("size", range(1, 9))
def test_pens_widen_and_thin_ink_as_opencv_does(size: int) -> None:
    levels = random_levels(size)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    assert np.array_equal(widen(levels, size), cv2.dilate(levels, np.ones((size, size), np.uint8), borderValue=0))
    assert np.array_equal(thin(levels, size), cv2.erode(levels, disc, borderValue=255))


@pytest.mark.parametrize("seed", range(30))
def test_thresholds_centres_and_extents_are_those_of_opencv(seed: int) -> None:
    levels = random_levels(seed, largest=40)
    exact, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    assert threshold(levels) == exact
    moments = cv2.moments(levels)
    assert centre_of_mass(levels) == pytest.approx(
        (moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]), abs=1e-6
    )
    ink = np.where(levels > np.quantile(levels, 0.9), levels, 0)
    rows, columns = extent(ink)
    x, y, width, height = cv2.boundingRect(ink)
    assert (columns.start, rows.start, columns.stop, rows.stop) == (x, y, x + width, y + height)


def test_nothing_has_an_empty_extent() -> None:
    assert extent(np.zeros((5, 6), np.uint8)) == (slice(0, 0), slice(0, 0))


@pytest.mark.parametrize("shape", [(160, 120), (2, 160), (160, 3), (30, 12)])
@pytest.mark.parametrize("side", [NEAR_PX, FAR_PX])
def test_averages_are_those_of_opencv(shape: tuple[int, int], side: int) -> None:
    levels = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    assert np.allclose(average(levels, side), cv2.blur(levels, (side, side)), atol=1e-3)
