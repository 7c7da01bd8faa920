"""Outliers are ink but no longer the digits they are made of, each kind in its own way, and repeat with the seed."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.train.shapes import BLANK, ONE, ZERO, amount, copies, seeded
from train import outliers
from train.mnist import read_mnist

Kind = Callable[[Tensor, Tensor, torch.Generator], Tensor]


@pytest.fixture(scope="module")
def training() -> tuple[Tensor, Tensor]:
    """256 training pictures as ink (256, 1, 28, 28), and their digits (256,)."""
    pixels, digits = read_mnist(train=True)
    return pixels[:256].float(), digits[:256]


def count_parts(dark: Tensor) -> list[int]:
    """Return the number of connected parts of each of (B, 1, 28, 28) masks."""
    return [
        cv2.connectedComponents(np.pad(mask.numpy(), 1, mode="edge").astype(np.uint8))[0] - 1 for mask in dark[:, 0]
    ]


def test_outliers_are_ink_but_not_the_digits_they_are_made_of(training: tuple[Tensor, Tensor]) -> None:
    made = outliers.make_outliers(*training, seeded())
    assert made.shape == training[0].shape
    assert made.min() >= 0
    assert made.max() < 255.1
    assert (made.amax((1, 2, 3)) > 60).double().mean() > 0.95
    assert (made - training[0]).abs().mean((1, 2, 3)).min() > 1


def test_the_same_seed_makes_the_same_outliers(training: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(outliers.make_outliers(*training, seeded(1)), outliers.make_outliers(*training, seeded(1)))
    assert not torch.equal(outliers.make_outliers(*training, seeded(1)), outliers.make_outliers(*training, seeded(2)))


def test_pairs_are_two_digits_side_by_side() -> None:
    made = outliers.pairs(copies(ONE), torch.ones(len(copies(ONE))), seeded())
    assert np.mean([count == 2 for count in count_parts(made > 60)]) > 0.9
    assert (amount(made[:, :, :, :14]) > 2_000).all()
    assert (amount(made[:, :, :, 14:]) > 2_000).all()


def test_halves_keep_half_of_the_digit_and_replace_the_other(training: tuple[Tensor, Tensor]) -> None:
    ink, digits = training
    made = outliers.halves(ink, digits, seeded())
    kinds = [
        ((way[:, :, :14] == ink[:, :, :14]).all((1, 2, 3)), (way[:, :, 14:] - ink[:, :, 14:]).abs().mean((1, 2, 3)) > 1)
        for way in (made, made.transpose(2, 3))
    ]
    assert (kinds[0][0] | kinds[1][0]).all()
    assert min((kept & replaced).double().mean() for kept, replaced in kinds) > 0.3


@pytest.mark.parametrize(
    ("digits", "share", "ways"),
    [
        (outliers.MIRROR, 0.3, [lambda ink: ink.flip(3)]),
        (outliers.TURN, 0.2, [lambda ink: ink.flip(2, 3)]),
        (outliers.QUARTER_TURN, 0.2, [lambda ink: ink.transpose(2, 3), lambda ink: ink.transpose(2, 3).flip(2)]),
    ],
    ids=["mirror", "turn", "quarter turn"],
)
def test_some_digits_are_mirrored_or_turned(
    digits: tuple[int, ...], share: float, ways: list[Callable[[Tensor], Tensor]], training: tuple[Tensor, Tensor]
) -> None:
    chosen = torch.isin(training[1], torch.tensor(digits))
    ink = training[0][chosen]
    made = outliers.turned(ink, training[1][chosen], seeded())
    same = torch.stack([(made == way(ink)).all(3).all(2)[:, 0] for way in ways])
    assert same.any(0).double().mean() > share
    assert same.any(1).all()
    assert not (made == ink).all(3).all(2).any()


def test_a_digit_that_stays_one_is_not_only_turned(training: tuple[Tensor, Tensor]) -> None:
    kept = ~torch.isin(training[1], torch.tensor((*outliers.MIRROR, *outliers.TURN)))
    ink, digits = training[0][kept], training[1][kept]
    made = outliers.turned(ink, digits, seeded())
    for way in (ink, ink.flip(3), ink.flip(2, 3), ink.transpose(2, 3), ink.transpose(2, 3).flip(2)):
        assert ((made - way).abs().amax((1, 2, 3)) > 50).all()


@pytest.mark.parametrize(("kind", "least", "most"), [(outliers.scribbles, 0.03, 0.6), (outliers.blobs, 0.0, 0.7)])
def test_scribbles_and_blobs_have_nothing_of_a_digit(kind: Kind, least: float, most: float) -> None:
    digits = torch.zeros(len(copies(ZERO)))
    made = kind(copies(ZERO), digits, seeded())
    assert torch.equal(made, kind(copies(BLANK), digits, seeded()))
    inked = (made > 60).double().mean((1, 2, 3))
    assert least <= inked.min()
    assert 0.1 < inked.mean() < 0.3
    assert inked.max() < most


def test_blobs_are_grainy_or_wide_and_scribbles_are_strokes() -> None:
    digits = torch.zeros(len(copies(BLANK)))
    parts = [count_parts(kind(copies(BLANK), digits, seeded()) > 60) for kind in (outliers.scribbles, outliers.blobs)]
    assert np.mean([count <= 2 for count in parts[0]]) > 0.9
    assert np.mean([count >= 3 for count in parts[1]]) > 0.3


def test_solids_are_blocks_without_a_digit_and_some_are_negatives() -> None:
    digits = torch.zeros(len(copies(ZERO)))
    made = outliers.solids(copies(ZERO), digits, seeded())
    assert torch.equal(made, outliers.solids(copies(BLANK), digits, seeded()))
    border = torch.cat([made[:, 0, 0], made[:, 0, -1]], 1).median(1).values
    negative = border > 200
    assert 0.2 < negative.double().mean() < 0.4
    inked = torch.where(negative[:, None, None, None], 255 - made, made) > 20
    assert inked.double().mean((1, 2, 3)).min() > 0.03
    # A block is at least 7 pixels wide where it is widest, more than a pen.
    assert inked.sum(3).amax((1, 2)).min() > 6


def test_filling_closes_a_zero_and_makes_a_blob_of_a_one() -> None:
    digits = torch.zeros(len(copies(ZERO)))
    made = outliers.fill(copies(ZERO), digits, seeded())
    assert (amount(made) > 1.2 * amount(copies(ZERO))).all()
    assert (made[:, :, 12:16, 12:16].amin((1, 2, 3)) > 20).double().mean() > 0.5
    assert torch.equal(
        outliers.fill(copies(ONE), digits + 1, seeded()), outliers.fill(copies(BLANK), digits + 1, seeded())
    )
