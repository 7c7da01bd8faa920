"""Both nets as graphs of OpenVINO, which runs them on CPUs: the layers of DigitNet and InkNet with their weights."""

import numpy as np
import openvino
from numpy.typing import ArrayLike, NDArray
from openvino import Node
from openvino import opset13 as ops

from model.geometry import PIXEL_MEAN, PIXEL_STD, SIDE_PX
from model.ink_input import VIEW_PX
from model.weights import Weights


def make_digit_graph(weights: Weights) -> openvino.Model:
    """Return DigitNet with softmax: (B, 1, 28, 28) uint8 pixels in, (B, 10) probabilities out.

    The 3,211,264 weights of its first linear layer are rounded to 8 bits, which moves a probability by 0.004 at most:
    a lone picture waits for them to come from memory, and so they come in a quarter of the time.
    """
    net = Layers(weights)
    pixels = ops.parameter([-1, 1, SIDE_PX, SIDE_PX], np.uint8)
    maps = (ops.convert(pixels, "f32") - number(PIXEL_MEAN)) * number(1 / PIXEL_STD)
    for layer in ("conv1", "conv2"):
        pooled = ops.max_pool(net.conv(layer, maps, pad=2), [2, 2], [1, 1], [0, 0], [0, 0], [2, 2])
        maps = ops.relu(pooled.output(0))
    features = ops.reshape(maps, number([-1, weights["fc1.weight"].shape[1]], np.int64), special_zero=False)
    features = ops.matmul(features, round_to_8_bits(weights["fc1.weight"]), False, True)
    features = ops.relu(features + number(weights["fc1.bias"]))
    logits = ops.matmul(features, number(weights["fc2.weight"]), False, True) + number(weights["fc2.bias"])
    return openvino.Model([ops.softmax(logits, 1)], [pixels])


def make_ink_graph(weights: Weights) -> openvino.Model:
    """Return InkNet with the logistic function: (B, 2, 160, 160) planes in, (B, 1, 80, 80) shares of ink out."""
    net = Layers(weights)
    planes = ops.parameter([-1, 2, VIEW_PX, VIEW_PX], np.float32)
    maps: Node = planes
    skipped = []
    for level in "123":
        maps = net.add(f"same{level}", ops.relu(net.conv(f"down{level}", maps, stride=2)))
        skipped.append(maps)
    maps = ops.relu(net.conv("down4", maps, stride=2))
    maps = net.add("deep2", net.add("deep1", maps), dilation=2)
    maps = maps + ops.relu(net.conv("whole", ops.reduce_mean(maps, number([2, 3], np.int64), True), pad=0))
    maps = net.add("deep3", maps)
    for level in "321":
        larger = ops.depth_to_space(net.conv(f"up{level}", maps, pad=0), "depth_first", 2)
        maps = net.add(f"join{level}", ops.relu(larger + skipped.pop()))
    return openvino.Model([ops.sigmoid(net.conv("last", maps))], [planes])


class Layers:
    """Makes the layers of a net from its weights."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights

    def conv(self, layer: str, maps: Node, stride: int = 1, pad: int = 1, dilation: int = 1) -> Node:
        """Return a convolution of (B, C, H, W) maps."""
        kernels = number(self.weights[f"{layer}.weight"])
        convolved = ops.convolution(maps, kernels, [stride] * 2, [pad] * 2, [pad] * 2, [dilation] * 2)
        return convolved + number(self.weights[f"{layer}.bias"][:, None, None])

    def add(self, layer: str, maps: Node, dilation: int = 1) -> Node:
        """Return maps with what a convolution adds to them."""
        return maps + ops.relu(self.conv(layer, maps, pad=dilation, dilation=dilation))


def number(value: ArrayLike, dtype: type[np.generic] = np.float32) -> Node:
    """Return numbers that do not change."""
    return ops.constant(np.asarray(value, dtype))


def round_to_8_bits(matrix: NDArray[np.float32]) -> Node:
    """Return a matrix (n, m) as whole numbers 0..255 that are scaled and shifted alike in each of its rows."""
    low, high = matrix.min(1, keepdims=True).clip(max=0), matrix.max(1, keepdims=True).clip(min=0)
    # A row of zeros has steps too.
    step = (high - low).clip(min=1e-9) / 255
    zero = np.rint(-low / step).clip(0, 255)
    rounded = np.rint(matrix / step + zero).clip(0, 255)
    shifted = ops.convert(number(rounded, np.uint8), "f32") - ops.convert(number(zero, np.uint8), "f32")
    return shifted * number(step)
