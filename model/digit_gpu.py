"""Both nets on an NVIDIA GPU, run by torch, which only a worker that has a GPU loads."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from digit_engine import Engine, Run, in_batches
from digit_ink_net import load_ink_net
from digit_net import load_net


def build_engine_on_gpu(number: int) -> Engine:
    """Return both nets in float32 on a GPU. Raises RuntimeError if there is none or the weights are damaged."""
    device = torch.device("cuda", number)

    def compile_net(net: nn.Module) -> Run:
        net = net.to(device).to(memory_format=torch.channels_last)

        def run(numbers: NDArray[np.generic]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return net(torch.from_numpy(numbers).to(device)).cpu().numpy()

        return run

    read = compile_net(nn.Sequential(load_net(), nn.Softmax(1)))
    return in_batches(read, compile_net(nn.Sequential(load_ink_net(), nn.Sigmoid())))
