"""Exports a trained net as the 8-bit ONNX file that is served, and reads weights back from it."""

from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import Tensor, nn

from model.record import check_record

BATCH = 20

Net = TypeVar("Net", bound=nn.Module)


class Batches(CalibrationDataReader):
    """The pictures that a net is quantised with, as onnxruntime takes them."""

    def __init__(self, inputs: Tensor) -> None:
        self.rest = iter(inputs.split(BATCH))

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """Return the next batch, or None after the last."""
        batch = next(self.rest, None)
        return None if batch is None else {"inputs": batch.numpy()}


def export(net: nn.Module, last: nn.Module, inputs: Tensor, file: Path, step: int | None = None) -> None:
    """Write a net, with a last layer that makes probabilities, for batches of any size.

    With a step, height and width of its inputs may be any multiples of that.

    Convolutions but the first and the last multiply in 8 bits; how large their inputs are is seen on (n, ...) inputs.
    Weights get 7 bits: two products of 8 overflow the 16 bits in which processors with AVX2 alone add them.
    """
    served = nn.Sequential(net, last).cpu().eval()
    dimension = torch.export.Dim
    sides = {2: step * dimension("high"), 3: step * dimension("wide")} if step else {}
    program = torch.onnx.export(
        served,
        (inputs[:2],),
        input_names=["inputs"],
        output_names=["probabilities"],
        dynamic_shapes=({0: torch.export.Dim("n")} | sides,),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch did not export the net.")
    graph = program.model_proto
    # They hold the paths of the machine that exports.
    for part in (*graph.graph.node, *graph.graph.input, *graph.graph.output, *graph.graph.value_info):
        part.ClearField("metadata_props")
    convolutions = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    quantize_static(
        graph,
        file,
        Batches(inputs),
        op_types_to_quantize=["Conv", "MaxPool"],
        nodes_to_exclude=[convolutions[0], convolutions[-1]],
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "QuantizeBias": False,
            # What goes into a convolution is quantised, not what comes out, before ReLU or an addition.
            "OpTypesToExcludeOutputQuantization": ["Conv"],
            "ForceQuantizeNoInputCheck": True,
        },
    )


def load(net: Net, file: Path) -> Net:
    """Return a net in evaluation mode with the weights of its exported file, as float32.

    Raises RuntimeError if that is not the file of its record.
    """
    check_record(file)
    stored = {part.name.removeprefix("0."): numpy_helper.to_array(part) for part in onnx.load(file).graph.initializer}

    def read(name: str, shape: torch.Size) -> Tensor:
        if name in stored:
            return torch.from_numpy(stored[name].copy())
        steps = stored[f"{name}_scale"].reshape(-1, *[1] * (len(shape) - 1))
        return torch.from_numpy(stored[f"{name}_quantized"] * steps)

    net.load_state_dict({name: read(name, tensor.shape) for name, tensor in net.state_dict().items()})
    return net.eval()
