"""What the recogniser finds on pages and in thumbnails keeps its label."""

import numpy as np
import pytest
import torch

from model.digit_net import DigitNet
from train.accuracy import accuracy
from train.found import find_in_thumbnails, find_on_pages, make_thumbnail, overlap
from train.hands import Hand, read_held_out_hands
from train.pages import NOT_ONE_DIGIT


@pytest.fixture(scope="module")
def hands() -> list[Hand]:
    """Hands that training never saw."""
    return read_held_out_hands()


@pytest.mark.slow
def test_digits_found_on_pages_are_read_as_their_label(hands: list[Hand], shipped_net: DigitNet) -> None:
    pixels, digits = find_on_pages(hands, 300, seed=1, workers=1)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (len(digits), 1, 28, 28)
    assert 150 < len(digits) <= 300
    assert (digits == NOT_ONE_DIGIT).any()
    assert accuracy(shipped_net, pixels[digits >= 0], digits[digits >= 0]) > 0.9


def test_thumbnails_are_read_as_their_label(hands: list[Hand], shipped_net: DigitNet) -> None:
    pixels, digits = find_in_thumbnails(hands, 300, seed=1)
    assert pixels.shape == (len(digits), 1, 28, 28)
    assert accuracy(shipped_net, pixels, digits) > 0.9


def test_thumbnails_have_the_sizes_and_levels_of_other_institutes(hands: list[Hand]) -> None:
    made = [make_thumbnail(hands[number], np.random.default_rng(number)) for number in range(100)]
    assert {picture.shape[0] for picture in made} == {16, 20, 24, 28, 32}
    dark = np.array([picture.mean() < 128 for picture in made])
    assert 0.25 < dark.mean() < 0.75


@pytest.mark.parametrize(
    ("other", "share"), [((0, 0, 10, 10), 1.0), ((5, 0, 15, 10), 1 / 3), ((10, 0, 20, 10), 0.0), ((2, 2, 4, 4), 0.04)]
)
def test_boxes_overlap_by_the_share_of_their_union(other: tuple[int, int, int, int], share: float) -> None:
    assert overlap((0, 0, 10, 10), other) == pytest.approx(share)
    assert overlap(other, (0, 0, 10, 10)) == pytest.approx(share)
