"""Both nets, each compiled into the function that runs fastest on the machine that serves it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from digit_ink import InkEngine, Mask, Planes
from digit_ink_net import VIEW_PX, InkNet
from digit_net import PIXEL_MEAN, PIXEL_STD, DigitNet, has_bfloat16
from digit_pixels import SIDE_PX

# Pictures that bfloat16 reads with less confidence than this are read again in float32. bfloat16 changes a probability
# by 0.02 at most, so the digit is always that of float32.
SURE = 0.6
# Batches are padded to one of these sizes: each has its own kernels, which take memory, and time to make.
SIZES = (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
# InkNet's maps are larger: more pictures at a time would not fit the processor's caches.
INK_SIZES = (1, 2, 4, 8)

Engine = Callable[[Tensor], Tensor]


def build_engine(net: DigitNet, device: torch.device) -> Engine:
    """Return a function from (B, 1, 28, 28) uint8 pixels on the device to (B, 10) float32 probabilities.

    Where the device multiplies bfloat16 in hardware, all but the last layer use it. All kernels are made here, so that
    the first request is as fast as the others.
    """
    net = net.to(device).to(memory_format=torch.channels_last)
    blank = torch.zeros(1, 1, SIDE_PX, SIDE_PX, dtype=torch.uint8, device=device)
    exact = in_sizes(SIZES, lambda pixels: torch.softmax(net(pixels), 1), blank)
    return with_second_look(in_sizes(SIZES, bfloat16_copy(net), blank), exact) if has_bfloat16(device) else exact


def build_ink_engine(net: InkNet, device: torch.device) -> InkEngine:
    """Return a function from (n, 2, 160, 160) float32 planes to the share 0..1 of ink, (n, 80, 80) float32."""
    precision = torch.bfloat16 if has_bfloat16(device) else torch.float32
    net = net.to(device, precision).to(memory_format=torch.channels_last)

    def see(planes: Tensor) -> Tensor:
        return torch.sigmoid(net(planes.to(precision, memory_format=torch.channels_last)).float())[:, 0]

    engine = in_sizes(INK_SIZES, see, torch.zeros(1, 2, VIEW_PX, VIEW_PX, device=device))

    def see_ink(planes: Planes) -> Mask:
        with torch.inference_mode():
            return engine(torch.from_numpy(planes).to(device)).cpu().numpy()

    return see_ink


def in_sizes(sizes: Sequence[int], read: Engine, blank: Tensor) -> Engine:
    """Return an engine for any number of pictures, which passes them to another in batches of the sizes.

    The kernels of every size are made here, with copies of one blank picture.
    """

    def read_any(pictures: Tensor) -> Tensor:
        if len(pictures) > sizes[-1]:
            return torch.cat([read_any(part) for part in pictures.split(sizes[-1])])
        size = next(size for size in sizes if size >= len(pictures))
        return read(functional.pad(pictures, (0, 0, 0, 0, 0, 0, 0, size - len(pictures))))[: len(pictures)]

    with torch.inference_mode():
        for size in sizes:
            read(blank.repeat(size, 1, 1, 1))
    return read_any


def with_second_look(quick: Engine, exact: Engine) -> Engine:
    """Return an engine that reads again, exactly, the pictures of which the quick one is not sure."""

    def read(pixels: Tensor) -> Tensor:
        probabilities = quick(pixels)
        unsure = (probabilities.amax(1) < SURE).nonzero()[:, 0]
        if len(unsure):
            probabilities[unsure] = exact(pixels[unsure])
        return probabilities

    return read


def bfloat16_copy(net: DigitNet) -> Engine:
    """Return DigitNet.forward and softmax with all but the last layer in bfloat16.

    It is made of plain functions, because calling a module costs as much as computing a small layer.
    """
    quick = {name: parameter.detach().bfloat16() for name, parameter in net.named_parameters()}
    kernels1, bias1 = quick["conv1.weight"], quick["conv1.bias"]
    kernels2, bias2 = quick["conv2.weight"], quick["conv2.bias"]
    weights, bias = quick["fc1.weight"], quick["fc1.bias"][:, None]

    def read(pixels: Tensor) -> Tensor:
        maps = (pixels.bfloat16() - PIXEL_MEAN).div_(PIXEL_STD)
        maps = halve(torch.conv2d(maps, kernels1, bias1, padding=2)).relu_()
        maps = halve(torch.conv2d(maps, kernels2, bias2, padding=2)).relu_()
        # With a picture in each column, oneDNN takes the weights as they are, and a third less time.
        features = torch.addmm(bias, weights, maps.flatten(1).t()).relu_()
        return torch.softmax(net.fc2(features.t().float()), 1)

    return read


def halve(maps: Tensor) -> Tensor:
    """Return the maxima (B, C, H / 2, W / 2) of 2x2 blocks of (B, C, H, W) maps in memory format channels_last.

    torch.max_pool2d is made for float32 and takes half as long again in bfloat16.
    """
    count, channels, height, width = maps.shape
    rows = maps.permute(0, 2, 3, 1).reshape(count, height // 2, 2, width, channels)
    columns = torch.maximum(rows[:, :, 0], rows[:, :, 1]).view(count, height // 2, width // 2, 2, channels)
    return torch.maximum(columns[:, :, :, 0], columns[:, :, :, 1]).permute(0, 3, 1, 2)
