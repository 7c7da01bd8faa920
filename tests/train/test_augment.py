"""Training pictures vary one by one, and the same seed varies them the same way."""

import torch

from train.augment import augment
from train.mnist import read_training


def vary(seed: int) -> torch.Tensor:
    """Return 64 copies of one training picture, each varied."""
    pixels, digits = read_training()
    return augment(pixels[:1].expand(64, -1, -1, -1), digits[:1].expand(64), torch.Generator().manual_seed(seed))


def test_varied_pictures_stay_pixels() -> None:
    varied = vary(0)
    assert (varied.shape, varied.dtype) == ((64, 1, 28, 28), torch.float32)
    assert varied.min() >= 0
    assert varied.amax((1, 2, 3)).min() > 40
    assert varied.max() <= 255


def test_each_picture_of_a_batch_varies_on_its_own() -> None:
    varied = vary(0)
    assert len({tuple(picture.flatten().tolist()) for picture in varied}) == 64


def test_the_same_seed_gives_the_same_pictures() -> None:
    assert torch.equal(vary(1), vary(1))
    assert not torch.equal(vary(1), vary(2))
