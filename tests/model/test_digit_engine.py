"""The engine gives the probabilities of the net, for any number of pictures."""

import pytest
import torch
from torch import Tensor

from digit_engine import SIZES, SURE, bfloat16_copy, build_engine
from digit_net import DigitNet

CPU = torch.device("cpu")
# As the README promises.
TOLERANCE = 0.02


def read_exactly(net: DigitNet, pixels: Tensor) -> Tensor:
    """Return the (B, 10) probabilities of the net itself for (B, 1, 28, 28) pixels."""
    with torch.inference_mode():
        return torch.cat([torch.softmax(net(part), 1) for part in pixels.split(500)])


def test_every_mnist_picture_is_read_as_by_the_net(shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor]) -> None:
    pixels, _ = mnist_test
    exact = read_exactly(shipped_net, pixels)
    with torch.inference_mode():
        probabilities = build_engine(shipped_net, CPU)(pixels)
    assert probabilities.dtype == torch.float32
    assert torch.equal(probabilities.argmax(1), exact.argmax(1))
    assert (probabilities - exact).abs().max() < TOLERANCE


def test_what_bfloat16_is_not_sure_of_is_exact(shipped_net: DigitNet) -> None:
    noise = torch.randint(0, 256, (100, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    exact = read_exactly(shipped_net, noise)
    with torch.inference_mode():
        probabilities = build_engine(shipped_net, CPU)(noise)
        quick = bfloat16_copy(shipped_net)(noise)
    unsure = quick.amax(1) < SURE
    assert unsure.any()
    assert torch.allclose(probabilities[unsure], exact[unsure], atol=1e-5)
    assert (quick - exact).abs().max() < SURE - 0.5, "bfloat16 is off by more than a second reading corrects"


@pytest.mark.parametrize("count", [1, 3, 9, SIZES[-1], SIZES[-1] + 1, 200])
def test_any_number_of_pictures_is_read(count: int, shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor]) -> None:
    pixels = mnist_test[0][:count]
    with torch.inference_mode():
        probabilities = build_engine(shipped_net, CPU)(pixels)
    assert probabilities.shape == (count, 10)
    assert torch.allclose(probabilities, read_exactly(shipped_net, pixels), atol=TOLERANCE)
