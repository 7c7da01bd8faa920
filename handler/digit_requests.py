"""Parses requests and writes answers: one picture file, several in KServe's v1 protocol, or pixels in its v2."""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from digit_image import MAX_MEGAPIXELS, BadImage, Picture, count_megapixels, load, open_picture, read_picture
from digit_pixels import SIDE_PX, ready

MAX_PICTURES = 1024
BINARY_HEADER = "inference-header-content-length"

# One request as TorchServe hands it over: the raw body under "body", or a multipart form's fields.
Row = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's pictures; a BadImage is one that is refused."""

    pictures: list[Picture | BadImage]
    # "" for one picture sent as a file, "v1" or "v2" for KServe's protocols.
    protocol: str = ""
    id: str = ""
    # Whether explanations are to have the ink as a PNG.
    wants_mask: bool = False


def read_request(row: Row, headers: dict[str, Any]) -> Request:
    """Return the pictures of one request; a request of no known kind counts as one bad picture."""
    wants_mask = row.pop("mask", None) in (b"true", "true")
    try:
        upload = extract_upload(row)
        if isinstance(upload, dict):
            return read_kserve(upload, b"")
        if upload.lstrip()[:1] == b"{":
            return read_json(upload, headers)
        return Request([read_picture(upload)], wants_mask=wants_mask)
    except BadImage as error:
        return Request([copy_bare(error)])


def copy_bare(error: BadImage) -> BadImage:
    """Return an error to keep: the traceback of a raised one keeps all variables on its way, the upload among them."""
    return BadImage(str(error), error.reason)


def read_json(upload: bytes, headers: dict[str, Any]) -> Request:
    """Return the pictures of a request in one of KServe's protocols. Raises BadImage."""
    # In the v2 protocol the pixels may follow the JSON as bytes.
    sizes = [str(value) for name, value in headers.items() if name.lower() == BINARY_HEADER]
    end = int(sizes[0]) if sizes and sizes[0].isdecimal() else len(upload)
    try:
        message = orjson.loads(upload[:end])
    except orjson.JSONDecodeError as cause:
        raise BadImage("The request is not valid JSON.") from cause
    return read_kserve(message, upload[end:])


def extract_upload(row: Row) -> bytes | dict[str, Any]:
    """Return the bytes of the one upload that a request carries, or its JSON object if TorchServe parsed it.

    Raises BadImage for a request of another kind.
    """
    if not row:
        raise BadImage("The request holds no picture: send one as the body or as the field of a multipart form.")
    if len(row) > 1:
        raise BadImage(f"The request has {len(row)} fields: send one picture in a single field.")
    (upload,) = row.values()
    if isinstance(upload, dict):
        return upload
    if not isinstance(upload, bytes | bytearray):
        raise BadImage("The request holds text: send the bytes of a picture file.")
    return bytes(upload)


def read_kserve(message: dict[str, Any], binary: bytes) -> Request:
    """Return the pictures of a JSON object of KServe's v1 protocol, or of its v2 protocol with its binary part."""
    if isinstance(message.get("instances"), list):
        check_count(len(message["instances"]))
        return Request(read_instances(message["instances"]), "v1")
    if isinstance(message.get("inputs"), list):
        if len(message["inputs"]) != 1 or not isinstance(message["inputs"][0], dict):
            raise BadImage("The request must have one input: UINT8 pixels of shape [n, 28, 28].")
        tensor = read_tensor(message["inputs"][0], binary)
        inked = tensor.reshape(len(tensor), -1).max(1)
        pictures = [
            Picture(None, ready(pixels)) if ink else BadImage("The picture is blank.", "blank")
            for pixels, ink in zip(tensor, inked, strict=True)
        ]
        return Request(pictures, "v2", str(message.get("id") or ""))
    raise BadImage(
        'The JSON must have "instances" (KServe v1: [{"b64": ...}]) or "inputs" (KServe v2: UINT8 pixels); '
        "or send the bytes of a picture file."
    )


def check_count(count: int) -> None:
    """Raise BadImage for no picture, or for more than a request may have."""
    if not 0 < count <= MAX_PICTURES:
        raise BadImage(f"The request has {count} pictures: send 1 to {MAX_PICTURES}.", "too_many_pictures")


def read_instances(instances: list[Any]) -> list[Picture | BadImage]:
    """Read each {"b64": picture file}; together they may have as many megapixels as one picture."""
    pictures: list[Picture | BadImage] = []
    left = float(MAX_MEGAPIXELS)
    for instance in instances:
        try:
            if not isinstance(instance, dict) or not isinstance(instance.get("b64"), str):
                raise BadImage('Each instance must be {"b64": "..."}: the bytes of a picture file as base64.')
            picture = open_picture(base64.b64decode(instance["b64"], validate=True))
            left -= count_megapixels(picture)
            if left < 0:
                raise BadImage(
                    f"The pictures of this request have more than {MAX_MEGAPIXELS} megapixels together: "
                    "send fewer at a time.",
                    "too_many_megapixels",
                )
            pictures.append(load(picture))
        except BadImage as error:
            pictures.append(copy_bare(error))
        except ValueError:
            pictures.append(BadImage("The base64 of this picture is damaged."))
    return pictures


def read_tensor(tensor: dict[str, Any], binary: bytes) -> NDArray[np.uint8]:
    """Return (n, 28, 28) uint8 pixels, bright ink on dark, from an input of KServe's v2 protocol."""
    shape, data = tensor.get("shape"), tensor.get("data")
    if tensor.get("datatype") != "UINT8":
        raise BadImage("The input must be of datatype UINT8: pixels 0 to 255, bright ink on dark.")
    if not isinstance(shape, list) or not shape or not all(type(side) is int for side in shape):
        raise BadImage("The input must have the shape [n, 28, 28].")
    if shape[1:] not in ([SIDE_PX, SIDE_PX], [1, SIDE_PX, SIDE_PX], [SIDE_PX, SIDE_PX, 1], [SIDE_PX * SIDE_PX]):
        raise BadImage(f"The input has the shape {shape}: send [n, 28, 28].")
    check_count(shape[0])
    try:
        pixels = binary if data is None else bytes(flatten(data))
    except (TypeError, ValueError) as cause:
        raise BadImage("The data of the input must be whole numbers from 0 to 255.") from cause
    if len(pixels) != shape[0] * SIDE_PX * SIDE_PX:
        raise BadImage(f"The input has {len(pixels)} numbers, not the {shape[0] * SIDE_PX * SIDE_PX} of its shape.")
    return np.frombuffer(pixels, np.uint8).reshape(-1, SIDE_PX, SIDE_PX)


def flatten(data: Any) -> list[Any]:  # noqa: ANN401
    """Return the numbers of a list, or of lists in lists of any depth, in order."""
    while isinstance(data, list) and data and isinstance(data[0], list):
        data = [number for part in data for number in part]
    return data if isinstance(data, list) else [data]


def write_response(request: Request, answers: list[Answer | BadImage], model: dict[str, str]) -> bytes:
    """Return the JSON of a request's answers in its protocol; a bad picture has an "error".

    model is the entry "model" of the archive's manifest.
    """
    if request.protocol == "v2":
        named = {"model_name": model["modelName"], "model_version": model["modelVersion"]}
        if request.id:
            named["id"] = request.id
        return orjson.dumps(named | write_outputs(answers))
    written = [{"error": str(answer)} if isinstance(answer, BadImage) else answer for answer in answers]
    return orjson.dumps({"predictions": written} if request.protocol == "v1" else written[0])


def write_outputs(answers: list[Answer | BadImage]) -> dict[str, Any]:
    """Return the outputs of KServe's v2 protocol. A bad picture has the digit -1 and probabilities of 0."""
    nothing: Answer = {"digit": -1, "confidence": 0.0, "certain": False, "probabilities": [0.0] * 10}
    good = [nothing if isinstance(each, BadImage) else each for each in answers]
    count = len(answers)
    columns = [
        ("digit", "INT64", [count], [each["digit"] for each in good]),
        ("confidence", "FP32", [count], [each["confidence"] for each in good]),
        ("certain", "BOOL", [count], [each["certain"] for each in good]),
        ("probabilities", "FP32", [count, 10], [number for each in good for number in each["probabilities"]]),
        ("error", "BYTES", [count], [str(each) if isinstance(each, BadImage) else "" for each in answers]),
    ]
    return {
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shape, "data": data}
            for name, datatype, shape, data in columns
        ]
    }
