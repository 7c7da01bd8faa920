"""The nets, each compiled into the function that runs fastest on the machine that serves it."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino
from numpy.typing import NDArray

from model.geometry import SIDE_PX
from model.ink import InkEngine
from model.ink_input import VIEW_PX
from model.numbers import STEP_PX, Classify, Detect
from model.record import INK_WEIGHTS, NUMBER_WEIGHTS, WEIGHTS, check_record, read_record

# Pictures are run in batches of these sizes: each has its own kernels, which take memory, and time to make.
SIZES = (32, 16, 8, 4, 2, 1)
# InkNet's maps are larger: more pictures at a time would not fit the processor's caches.
INK_SIZES = (8, 4, 2, 1)

Run = Callable[[NDArray[np.generic]], NDArray[np.float32]]


class Engine(NamedTuple):
    """The nets as functions: DigitNet from (n, 1, 28, 28) uint8 pixels to (n, 10) probabilities, InkNet, NumberNet."""

    classify: Classify
    segment: InkEngine
    detect: Detect
    # By which the confidence in a number is estimated.
    certainty: dict[str, float]


@functools.cache
def get_core() -> openvino.Core:
    """Return the only core of the process.

    Each core puts a stack for signals in place, and the former one back when it is freed. Several that are freed in
    another order leave one that is freed memory, and the next signal ends the process.
    """
    return openvino.Core()


def name_precision(core: openvino.Core) -> str:
    """Return the numbers in which the processor multiplies fastest: bf16 if it does that in hardware, or f32."""
    return "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"


def build_engine(threads: int = 1, weights: Path = WEIGHTS) -> Engine:
    """Return the nets for the processor, with DigitNet's weights. Raises RuntimeError if weights are damaged.

    All kernels are made here, so that the first request is as fast as the others; but NumberNet's views have many
    sizes, and their kernels are made when they are first seen, in 20 ms.
    """
    detect = load(NUMBER_WEIGHTS, threads)
    detect(np.zeros((1, 2, 10 * STEP_PX, 10 * STEP_PX), np.float32))
    certainty = read_record(NUMBER_WEIGHTS)["certainty"]
    return Engine(build_classifier(threads, weights), build_segmenter(threads), detect, certainty)


def build_classifier(threads: int = 1, weights: Path = WEIGHTS) -> Classify:
    """Return DigitNet as a function. Raises RuntimeError if its weights are damaged."""
    return in_sizes(SIZES, load(weights, threads), np.zeros((SIZES[0], 1, SIDE_PX, SIDE_PX), np.uint8))


def build_segmenter(threads: int = 1) -> InkEngine:
    """Return InkNet as a function. Raises RuntimeError if its weights are damaged."""
    blank = np.zeros((INK_SIZES[0], 2, VIEW_PX, VIEW_PX), np.float32)
    segment = in_sizes(INK_SIZES, load(INK_WEIGHTS, threads), blank)
    return lambda planes: segment(planes)[:, 0]


def load(weights: Path, threads: int) -> Run:
    """Return a net as a function on so many threads. Raises RuntimeError if its weights are damaged.

    What is not in 8 bits is multiplied in bfloat16 where the processor does that in hardware, else in float32.
    """
    check_record(weights)
    core = get_core()
    settings = {
        "INFERENCE_PRECISION_HINT": name_precision(core),
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        # Each worker would be bound to the same core.
        "ENABLE_CPU_PINNING": False,
    }
    request = core.compile_model(weights, "CPU", settings).create_infer_request()

    def run(numbers: NDArray[np.generic]) -> NDArray[np.float32]:
        request.set_input_tensor(openvino.Tensor(numbers, shared_memory=True))
        request.infer()
        return request.get_output_tensor().data.copy()

    return run


def in_sizes(sizes: Sequence[int], run: Run, blank: NDArray[np.generic]) -> Run:
    """Return a function that runs any number of pictures in batches of the sizes, largest first.

    The kernels of every size are made here, with blank pictures.
    """
    for size in sizes:
        run(blank[:size])

    def run_any(pictures: NDArray[np.generic]) -> NDArray[np.float32]:
        results = []
        for size in sizes:
            while len(pictures) >= size:
                results.append(run(pictures[:size]))
                pictures = pictures[size:]
        return np.concatenate(results)

    return run_any
