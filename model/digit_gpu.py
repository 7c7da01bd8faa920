"""Both nets on an NVIDIA GPU, run by torch, which only a worker that has a GPU loads."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from digit_engine import INK_SIZES, SIZES, Engine, Run, in_sizes
from digit_ink_net import load_ink_net
from digit_net import load_net
from digit_pixels import SIDE_PX
from digit_view import VIEW_PX


def build_engine_on_gpu(number: int) -> Engine:
    """Return both nets in float32 on a GPU. Raises RuntimeError if there is none or the weights are damaged."""
    device = torch.device("cuda", number)

    def compile_net(net: nn.Module) -> Run:
        net = net.to(device).to(memory_format=torch.channels_last)

        def run(numbers: NDArray[np.generic]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return net(torch.from_numpy(numbers).to(device)).cpu().numpy()

        return run

    pixels = np.zeros((1, 1, SIDE_PX, SIDE_PX), np.uint8)
    planes = np.zeros((1, 2, VIEW_PX, VIEW_PX), np.float32)
    read = in_sizes(SIZES, compile_net(nn.Sequential(load_net(), nn.Softmax(1))), pixels)
    see = in_sizes(INK_SIZES, compile_net(nn.Sequential(load_ink_net(), nn.Sigmoid(), nn.Flatten(1, 2))), planes)
    return Engine(read, see)
