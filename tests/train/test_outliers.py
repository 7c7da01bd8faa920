"""Shapes that are no digit are pictures of ink, differ from the digits they come from, and repeat with the seed."""

import torch

from train.mnist import read_training
from train.outliers import MIRROR, TURN, strangers, turned


def make(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 256 digits as float ink, and one stranger made from each."""
    pixels, digits = read_training()
    ink = pixels[:256].float()
    return ink, strangers(ink, digits[:256], torch.Generator().manual_seed(seed))


def test_strangers_are_ink() -> None:
    ink, made = make(0)
    assert made.shape == ink.shape
    assert made.min() >= 0
    assert made.max() < 255.1
    assert (made.amax((1, 2, 3)) > 60).double().mean() > 0.97


def test_strangers_are_not_the_digits_they_come_from() -> None:
    ink, made = make(0)
    assert (made - ink).abs().mean((1, 2, 3)).min() > 1


def test_the_same_seed_makes_the_same_strangers() -> None:
    assert torch.equal(make(1)[1], make(1)[1])
    assert not torch.equal(make(1)[1], make(2)[1])


def test_a_digit_that_stays_one_is_not_only_turned() -> None:
    pixels, digits = read_training()
    kept = ~torch.isin(digits, torch.tensor((*MIRROR, *TURN)))
    ink, digits = pixels[kept][:64].float(), digits[kept][:64]
    made = turned(ink, digits, torch.Generator().manual_seed(0))
    for way in (ink, ink.flip(3), ink.flip(2, 3), ink.transpose(2, 3), ink.transpose(2, 3).flip(2)):
        assert ((made - way).abs().amax((1, 2, 3)) > 50).all()
