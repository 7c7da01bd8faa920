"""The tensors of KServe's v2 protocol: pixels or picture files in, one output for each part of an answer."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from model.errors import BadImage
from model.geometry import PIXEL_MEAN, PIXEL_STD, SIDE_PX, Pixels

MAX_PICTURES = 1024
# An explanation takes 30 to 60 ms of a core of an AMD EPYC, 210 if all is ink, and 10 kB; TorchServe fails a
# request whose answer passes 6.5 MB.
MAX_EXPLAINED = 64
# How the protocol's datatypes lie in the binary part, for numpy.
DATATYPES = {
    "BOOL": "?",
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}
# The name, datatype and further sides of each output. OpenInference.java and openapi.json describe them to clients.
OUTPUTS: dict[str, tuple[str, list[int]]] = {
    "digit": ("INT64", []),
    "confidence": ("FP32", []),
    "certain": ("BOOL", []),
    "probabilities": ("FP32", [10]),
    "numbers": ("BYTES", []),
    "error": ("BYTES", []),
}
LENGTH_BYTES = 4
# Of a shape; more would have a product without end.
MAX_SIDES = 8
# Standardised floats may be rounded.
SLACK = 0.01

# JSON, as parsed.
Json = dict[str, Any]


def check_count(count: int, is_explained: bool = False) -> None:
    """Raise BadImage for no picture, or for more than a request may have."""
    most = MAX_EXPLAINED if is_explained else MAX_PICTURES
    if not 0 < count <= most:
        raise BadImage(f"The request has {count} pictures: send 1 to {most}.", "too_many_pictures")


def parse_input(message: Json, binary: bytes) -> Pixels | list[Any]:
    """Return the one input of a request: (n, 1, 28, 28) pixels, or n picture files or texts of some.

    binary is what follows the JSON. Raises BadImage for an input of another kind.
    """
    tensors = message["inputs"]
    if len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise BadImage("The request must have one input: pixels of shape [n, 28, 28], or BYTES with picture files.")
    (tensor,) = tensors
    datatype, shape, data = tensor.get("datatype"), tensor.get("shape"), tensor.get("data")
    is_short = isinstance(shape, list) and 0 < len(shape) <= MAX_SIDES
    if not is_short or not all(type(side) is int and side >= 0 for side in shape):
        raise BadImage("The input must have a shape of whole numbers, such as [n, 28, 28].")
    if data is None:
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size", len(binary)) if isinstance(parameters, dict) else len(binary)
        if size != len(binary):
            raise BadImage(f"The input's binary_data_size is not {len(binary)}, the bytes that follow the JSON.")
    if datatype == "BYTES":
        files: list[Any] = split_bytes(binary) if data is None else flatten(data)
        if len(files) != np.prod(shape, dtype=object):
            raise BadImage(f"The input has {len(files)} pictures, not as many as its shape {shape}.")
        check_count(len(files))
        return files
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadImage(f"The input must have one of the datatypes {', '.join(DATATYPES)} and BYTES.")
    count = count_pictures(shape)
    check_count(count)
    if data is None:
        wanted = count * SIDE_PX * SIDE_PX * np.dtype(DATATYPES[datatype]).itemsize
        if len(binary) != wanted:
            raise BadImage(f"{len(binary)} bytes follow the JSON, not the {wanted} of the input's shape and datatype.")
        numbers = np.frombuffer(binary, DATATYPES[datatype])
    else:
        numbers = to_numbers(data)
        if datatype.startswith(("U", "I")) and (numbers != np.rint(numbers)).any():
            raise BadImage(f"The data has fractions, which {datatype} cannot hold: send FP32.")
    if numbers.size != count * SIDE_PX * SIDE_PX:
        raise BadImage(f"The input has {numbers.size} numbers, not the {count * SIDE_PX * SIDE_PX} of its shape.")
    return to_pixels(numbers)


def count_pictures(shape: list[int]) -> int:
    """Return the number n of pictures in a tensor of a shape such as [n, 28, 28]. Raises BadImage for any other."""
    sides = [side for side in shape if side != 1]
    for one in ([SIDE_PX, SIDE_PX], [SIDE_PX * SIDE_PX]):
        if sides == one:
            return 1
        if sides[1:] == one and sides[0] == shape[0]:
            return shape[0]
    raise BadImage(f"The input has the shape {shape}: send [n, 28, 28] or [n, 784].")


def to_numbers(data: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return the numbers of a list, or of lists in lists, as one row. Raises BadImage."""
    try:
        numbers = np.array(flatten(data)).reshape(-1)
    except ValueError:
        # Lists of different lengths.
        numbers = np.array("")
    if numbers.dtype.kind not in "buif":
        raise BadImage("The data of the input must be numbers, all lists of the same length.")
    return numbers


def flatten(data: Any) -> list[Any]:  # noqa: ANN401
    """Return the entries of a list, or of lists in lists of any depth, in order."""
    while isinstance(data, list) and data and isinstance(data[0], list):
        data = [entry for part in data for entry in (part if isinstance(part, list) else [part])]
    return data if isinstance(data, list) else [data]


def to_pixels(numbers: NDArray[Any]) -> Pixels:
    """Return (n, 1, 28, 28) uint8 pixels, bright ink on dark, of n * 784 numbers on any of three scales.

    The scale is that of all pictures together: 0..1, 0..255, or standardised by MNIST's mean and deviation. Raises
    BadImage for numbers on none of them.
    """
    if numbers.dtype == np.uint8 and numbers.size and numbers.max() > 1:
        # As most send them.
        return numbers.reshape(-1, 1, SIDE_PX, SIDE_PX)
    if not np.isfinite(numbers).all():
        raise BadImage("The data of the input must be numbers: some are missing, or not a number.")
    low, high = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 0.0)
    black, white = -PIXEL_MEAN / PIXEL_STD, (255 - PIXEL_MEAN) / PIXEL_STD
    if low >= 0 and high <= 1:
        levels = numbers * np.float64(255)
    elif low >= 0 and high <= 255:
        levels = numbers
    elif black - SLACK <= low and high <= white + SLACK:
        levels = numbers * np.float64(PIXEL_STD) + PIXEL_MEAN
    else:
        raise BadImage(
            f"The pixels go from {low:.4g} to {high:.4g}: send 0 to 255, 0 to 1, or values standardised with "
            "MNIST's mean 0.1307 and deviation 0.3081."
        )
    return np.rint(levels).clip(0, 255).astype(np.uint8).reshape(-1, 1, SIDE_PX, SIDE_PX)


def split_bytes(binary: bytes) -> list[bytes]:
    """Return the parts of a BYTES tensor, each behind its length in four bytes. Raises BadImage."""
    parts, position = [], 0
    while position < len(binary):
        start = position + LENGTH_BYTES
        position = start + int.from_bytes(binary[position:start], "little")
        parts.append(binary[start:position])
        if position > len(binary) or len(parts) > MAX_PICTURES:
            raise BadImage("The BYTES behind the JSON are damaged: each picture needs its length in 4 bytes before it.")
    return parts


def select_outputs(message: Json) -> dict[str, bool]:
    """Return the names of the outputs that a request wants, and whether each as bytes. Raises BadImage."""
    parameters = message.get("parameters")
    everything = isinstance(parameters, dict) and parameters.get("binary_data_output") is True
    wanted = message.get("outputs")
    if not wanted:
        return dict.fromkeys(OUTPUTS, everything)
    chosen = {}
    for output in wanted if isinstance(wanted, list) else [wanted]:
        name = output.get("name") if isinstance(output, dict) else output
        if not isinstance(output, dict) or not isinstance(name, str) or name not in OUTPUTS:
            raise BadImage(f"There is no output {str(name)[:100]}: choose from {', '.join(OUTPUTS)}.")
        own = output.get("parameters")
        chosen[name] = bool(own.get("binary_data", everything)) if isinstance(own, dict) else everything
    return chosen


def write_outputs(answers: list[Json | BadImage], chosen: dict[str, bool]) -> tuple[list[Json], bytes]:
    """Return the chosen outputs for n answers, and the bytes of those that are wanted as bytes.

    A bad picture has the digit -1 and probabilities of 0. Numbers are JSON texts, of no number if none were looked for.
    """
    nothing = {"digit": -1, "confidence": 0.0, "certain": False, "probabilities": [0.0] * 10}
    rows: list[Json] = [
        nothing | {"numbers": "[]", "error": str(answer)}
        if isinstance(answer, BadImage)
        else answer | {"numbers": orjson.dumps(answer.get("numbers", [])).decode(), "error": ""}
        for answer in answers
    ]
    outputs, binary = [], b""
    for name, is_binary in chosen.items():
        datatype, sides = OUTPUTS[name]
        data = [row[name] for row in rows]
        output: Json = {"name": name, "datatype": datatype, "shape": [len(rows), *sides]}
        if is_binary:
            if datatype == "BYTES":
                packed = b"".join(
                    len(text).to_bytes(LENGTH_BYTES, "little") + text for text in (each.encode() for each in data)
                )
            else:
                packed = np.array(data, DATATYPES[datatype]).tobytes()
            output["parameters"] = {"binary_data_size": len(packed)}
            binary += packed
        else:
            output["data"] = [number for row in data for number in row] if sides else data
        outputs.append(output)
    return outputs, binary
