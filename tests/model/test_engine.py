"""The engine gives what the nets of torch give, for any number of pictures."""

import os
import platform
import subprocess
import sys

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from openvino import opset13 as ops
from torch import Tensor

from model.digit_net import DigitNet
from model.engine import SIZES, Engine
from model.graphs import make_digit_graph, make_ink_graph, round_to_8_bits
from model.ink_net import InkNet
from model.weights import Weights

# As the README promises.
TOLERANCE = 0.02


def read_exactly(net: DigitNet, pixels: Tensor) -> NDArray[np.float32]:
    """Return the (B, 10) probabilities of the net itself for (B, 1, 28, 28) pixels."""
    with torch.inference_mode():
        return torch.cat([torch.softmax(net(part), 1) for part in pixels.split(500)]).numpy()


def test_every_mnist_picture_is_read_as_by_the_net(
    shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor], engine: Engine
) -> None:
    exact = read_exactly(shipped_net, mnist_test[0])
    probabilities = engine.classify(mnist_test[0].numpy())
    assert probabilities.dtype == np.float32
    assert np.count_nonzero(probabilities.argmax(1) != exact.argmax(1)) <= 1
    assert np.abs(probabilities - exact).max() < TOLERANCE


@pytest.mark.parametrize("count", [1, 3, 9, SIZES[-1], SIZES[-1] + 1, 200])
def test_any_number_of_pictures_is_read(
    count: int, shipped_net: DigitNet, mnist_test: tuple[Tensor, Tensor], engine: Engine
) -> None:
    pixels = mnist_test[0][:count]
    probabilities = engine.classify(pixels.numpy())
    assert probabilities.shape == (count, 10)
    assert np.allclose(probabilities, read_exactly(shipped_net, pixels), atol=TOLERANCE)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 processor")
def test_a_processor_without_avx2_is_refused_in_a_sentence() -> None:
    command = [sys.executable, "-c", "from model.engine import build_engine; build_engine()"]
    limited = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX"}
    done = subprocess.run(command, env=limited, capture_output=True, text=True)
    assert done.stderr.endswith("use a processor with AVX2, and unset ONEDNN_MAX_CPU_ISA.\n")


def run(graph: openvino.Model, numbers: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return what a graph makes of numbers."""
    settings = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    return openvino.Core().compile_model(graph, "CPU", settings)([numbers])[0]


def random_weights(net: torch.nn.Module, seed: int) -> Weights:
    """Give a net random weights and return them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        for parameter in net.parameters():
            parameter.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
    return {name: tensor.numpy() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("seed", range(3))
def test_the_graphs_have_the_layers_of_the_nets(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    digit_net, ink_net = DigitNet().eval(), InkNet().eval()
    graphs = make_digit_graph(random_weights(digit_net, seed)), make_ink_graph(random_weights(ink_net, seed))
    pixels = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8, generator=generator)
    planes = torch.randn(2, 2, 160, 160, generator=generator)
    with torch.inference_mode():
        probabilities, shares = torch.softmax(digit_net(pixels), 1), torch.sigmoid(ink_net(planes))
    assert np.allclose(run(graphs[0], pixels.numpy()), probabilities, atol=0.01)
    assert np.allclose(run(graphs[1], planes.numpy()), shares, atol=1e-5)


def test_rounding_to_8_bits_is_off_by_half_a_step_at_most() -> None:
    matrix = np.random.default_rng(0).normal(0, 1, (7, 40)).astype(np.float32)
    matrix[1] = 0
    matrix[2] = 5
    matrix[3] = -np.abs(matrix[3])
    rows = ops.parameter([40, 40], np.float32)
    graph = openvino.Model([ops.matmul(rows, round_to_8_bits(matrix), False, True)], [rows])
    rounded = run(graph, np.eye(40, dtype=np.float32)).T
    span = matrix.max(1, keepdims=True).clip(min=0) - matrix.min(1, keepdims=True).clip(max=0)
    # Zero itself is rounded too.
    assert (np.abs(rounded - matrix) <= span / 255 + 1e-6).all()
