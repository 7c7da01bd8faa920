"""Digits detected on sheets and in thumbnails keep their label."""

import numpy as np
import pytest
import torch

from model.digit_net import DigitNet
from train.detected import detect_in_thumbnails, detect_on_sheets, make_thumbnail, overlap
from train.sheets.layout import NOT_ONE_DIGIT
from train.strokes import Sample
from train.train import accuracy


@pytest.mark.slow
def test_digits_detected_on_sheets_are_classified_as_their_label(samples: list[Sample], shipped_net: DigitNet) -> None:
    pixels, digits = detect_on_sheets(samples, 300, seed=1, workers=1)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (len(digits), 1, 28, 28)
    assert 150 < len(digits) <= 300
    assert (digits == NOT_ONE_DIGIT).any()
    assert accuracy(shipped_net, pixels[digits >= 0], digits[digits >= 0]) > 0.9


def test_thumbnails_are_classified_as_their_label(samples: list[Sample], shipped_net: DigitNet) -> None:
    pixels, digits = detect_in_thumbnails(samples, 300, seed=1)
    assert pixels.shape == (len(digits), 1, 28, 28)
    assert accuracy(shipped_net, pixels, digits) > 0.9


def test_thumbnails_have_the_sizes_and_levels_of_other_institutes(samples: list[Sample]) -> None:
    made = [make_thumbnail(samples[number], np.random.default_rng(number)) for number in range(100)]
    assert {picture.shape[0] for picture in made} == {16, 20, 24, 28, 32}
    dark = np.array([picture.mean() < 128 for picture in made])
    assert 0.25 < dark.mean() < 0.75


@pytest.mark.parametrize(
    ("other", "share"), [((0, 0, 10, 10), 1.0), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0.0), ((2, 2, 4, 4), 0.04)]
)
def test_boxes_overlap_by_the_share_of_their_union(other: tuple[int, int, int, int], share: float) -> None:
    assert overlap((0, 0, 10, 10), other) == pytest.approx(share)
    assert overlap(other, (0, 0, 10, 10)) == pytest.approx(share)
