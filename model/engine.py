"""Both nets, each compiled into the function that runs fastest on the machine that serves it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray

from model.geometry import SIDE_PX, Pixels
from model.ink import InkEngine
from model.ink_input import VIEW_PX
from model.record import INK_WEIGHTS, WEIGHTS, check_record

# Batches are padded to one of these sizes: each has its own kernels, which take memory, and time to make.
SIZES = (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
# InkNet's maps are larger: more pictures at a time would not fit the processor's caches.
INK_SIZES = (1, 2, 4, 8)

Run = Callable[[NDArray[np.generic]], NDArray[np.float32]]


class Engine(NamedTuple):
    """Both nets as functions: DigitNet from (n, 1, 28, 28) uint8 pixels to (n, 10) probabilities, and InkNet."""

    classify: Callable[[Pixels], NDArray[np.float32]]
    segment: InkEngine


def name_precision(core: openvino.Core) -> str:
    """Return the numbers in which the processor multiplies fastest: bf16 if it does that in hardware, or f32."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def build_engine(threads: int = 1) -> Engine:
    """Return both nets for the processor, with the weights beside this file. Raises RuntimeError if those are damaged.

    What is not in 8 bits is multiplied in bfloat16 where the processor does that in hardware, else in float32. All
    kernels are made here, so that the first request is as fast as the others.
    """
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": name_precision(core),
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Each worker would be bound to the same core.
        "ENABLE_CPU_PINNING": False,
    }

    def load(net: Path) -> Run:
        check_record(net)
        request = core.compile_model(net, "CPU", settings).create_infer_request()

        def run(numbers: NDArray[np.generic]) -> NDArray[np.float32]:
            request.set_input_tensor(openvino.Tensor(numbers, shared_memory=True))
            request.infer()
            return request.get_output_tensor().data.copy()

        return run

    return in_batches(load(WEIGHTS), load(INK_WEIGHTS))


def in_batches(classify: Run, segment: Run) -> Engine:
    """Return the engine of two functions that run the nets on batches: DigitNet with softmax, InkNet with sigmoid."""
    classify_any = in_sizes(SIZES, classify, np.zeros((1, 1, SIDE_PX, SIDE_PX), np.uint8))
    segment_any = in_sizes(INK_SIZES, segment, np.zeros((1, 2, VIEW_PX, VIEW_PX), np.float32))
    return Engine(classify_any, lambda planes: segment_any(planes)[:, 0])


def in_sizes(sizes: Sequence[int], run: Run, blank: NDArray[np.generic]) -> Run:
    """Return a function for any number of pictures, which passes them to another in batches of the sizes.

    The kernels of every size are made here, with copies of one blank picture. Raises RuntimeError if they do not work.
    """

    def run_any(pictures: NDArray[np.generic]) -> NDArray[np.float32]:
        if len(pictures) > sizes[-1]:
            parts = range(0, len(pictures), sizes[-1])
            return np.concatenate([run_any(pictures[first : first + sizes[-1]]) for first in parts])
        size = next(size for size in sizes if size >= len(pictures))
        padded = np.concatenate([pictures, blank.repeat(size - len(pictures), 0)]) if size > len(pictures) else pictures
        return run(padded)[: len(pictures)]

    for size in sizes:
        # Without AVX2 OpenVINO returns nothing, and no error.
        if len(run(blank.repeat(size, 0))) != size:
            raise RuntimeError("OpenVINO cannot run the nets: use a processor with AVX2, and unset ONEDNN_MAX_CPU_ISA.")
    return run_any
