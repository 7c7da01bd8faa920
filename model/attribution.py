"""The attribution of an answer: how much each pixel of ink contributed to the digit."""

import functools

import numpy as np
from numpy.typing import NDArray

from model.geometry import PIXEL_MEAN, PIXEL_STD, Pixels
from model.weights import Weights

STEPS = 32

Maps = NDArray[np.float32]


def attribute(weights: Weights, pixels: Pixels, digit: int) -> NDArray[np.float32]:
    """Return how much each of (1, 28, 28) uint8 pixels contributed to a digit 0..9: (28, 28) float32, in logits.

    Integrated gradients (Sundararajan et al. 2017), from a black picture, of the digit's logit minus the mean of all
    ten. Pixels without ink get 0; the sum is what all the ink adds to that difference.
    """
    shares = ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)
    slopes = differentiate(weights, shares[:, None, None, None] * pixels[0, :, :, None], digit)
    return slopes.mean(0)[..., 0] * pixels[0]


def differentiate(weights: Weights, pictures: Maps, digit: int) -> Maps:
    """Return the derivative of DigitNet's logit of a digit, minus the mean of all ten, by (n, 28, 28, 1) pixels."""
    kernels1, kernels2 = (weights[f"{layer}.weight"].transpose(2, 3, 1, 0) for layer in ("conv1", "conv2"))
    maps1, largest1 = pool(convolve((pictures - PIXEL_MEAN) / PIXEL_STD, kernels1), weights["conv1.bias"])
    maps2, largest2 = pool(convolve(maps1, kernels2), weights["conv2.bias"])
    matrix = weights["fc1.weight"]
    # The linear layer takes the channels first.
    inputs = np.moveaxis(maps2, 3, 1)
    features = inputs.reshape(len(inputs), -1) @ matrix.T + weights["fc1.bias"]
    slope = weights["fc2.weight"][digit] - weights["fc2.weight"].mean(0)
    slopes = (((features > 0) * slope) @ matrix).reshape(inputs.shape)
    slopes2 = np.moveaxis(slopes, 1, 3) * (maps2 > 0)
    slopes1 = convolve(unpool(slopes2, largest2), backwards(kernels2)) * (maps1 > 0)
    return convolve(unpool(slopes1, largest1), backwards(kernels1)) / np.float32(PIXEL_STD)


def convolve(maps: Maps, kernels: Maps) -> Maps:
    """Return the (n, h, w, out) maps that (5, 5, in, out) kernels make of (n, h, w, in) maps."""
    _, height, width, _ = maps.shape
    padded = np.pad(maps, ((0, 0), (2, 2), (2, 2), (0, 0)))
    parts = (
        np.tensordot(padded[:, row : row + height, column : column + width], kernels[row, column], 1)
        for row, column in np.ndindex(5, 5)
    )
    return functools.reduce(np.add, parts)


def backwards(kernels: Maps) -> Maps:
    """Return the kernels that carry derivatives back through a convolution."""
    return kernels[::-1, ::-1].swapaxes(2, 3)


def pool(maps: Maps, bias: Maps) -> tuple[Maps, NDArray[np.intp]]:
    """Return the maxima of 2x2 blocks of (n, h, w, c) maps, plus bias, at least 0, and which of the four each is."""
    count, height, width, channels = maps.shape
    blocks = maps.reshape(count, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    blocks = blocks.reshape(count, height // 2, width // 2, 4, channels)
    return np.maximum(blocks.max(3) + bias, 0), blocks.argmax(3)


def unpool(slopes: Maps, largest: NDArray[np.intp]) -> Maps:
    """Return derivatives by the maxima of 2x2 blocks as derivatives by all that they are the maxima of."""
    count, height, width, channels = slopes.shape
    blocks = slopes[:, :, :, None] * (np.arange(4)[:, None] == largest[:, :, :, None])
    blocks = blocks.reshape(count, height, width, 2, 2, channels).swapaxes(2, 3)
    return blocks.reshape(count, 2 * height, 2 * width, channels)
