"""Parses requests and writes answers: one picture file, or several in KServe's v1 protocol or its v2 protocol."""

import logging
from dataclasses import dataclass, field
from typing import Any

import orjson
from PIL import Image

from handler.limit import begin_step
from handler.tensors import Json, check_count, choose_outputs, read_input, to_numbers, to_pixels, write_outputs
from model.decode import MAX_MEGAPIXELS, Picture, count_megapixels, load, open_picture, read_picture
from model.errors import BadImage, no_memory
from model.formats import decode_base64
from model.geometry import SIDE_PX, Pixels, ready

BINARY_HEADER = "inference-header-content-length"
JSON = {"content-type": "application/json"}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Under which clients of TorchServe and of TensorFlow Serving put a picture in JSON.
KEYS = ("b64", "data", "image", "image_bytes", "body")

# One request as TorchServe hands it over: the raw body under "body", or a multipart form's fields.
Row = dict[str, Any]
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's pictures; a BadImage is one that is refused."""

    pictures: list[Picture | BadImage]
    # "" for one picture, "v1" or "v2" for KServe's protocols.
    protocol: str = ""
    id: str = ""
    # The outputs that a v2 request wants, and whether each as bytes.
    outputs: dict[str, bool] = field(default_factory=dict)
    # Whether explanations are to have the ink as a PNG.
    wants_mask: bool = False


def read_request(row: Row, headers: dict[str, Any]) -> Request:
    """Return the pictures of one request; a request of no known kind counts as one bad picture."""
    begin_step()
    wants_mask = row.pop("mask", None) in (b"true", "true")
    try:
        upload = extract_upload(row, headers).removeprefix(BYTE_ORDER_MARK)
        if upload.lstrip()[:1] in (b"{", b"[", b'"'):
            return read_json(upload, headers)
        return Request([read_picture(upload)], wants_mask=wants_mask)
    except BadImage as error:
        return Request([copy_bare(error)])
    except MemoryError:
        return Request([no_memory()])
    except Exception:
        # TorchServe would fail the whole batch, other clients' requests included.
        logging.exception("A request of an unforeseen kind.")
        return Request([BadImage("The request cannot be read: send a picture file, or JSON as the README describes.")])


def copy_bare(error: BadImage) -> BadImage:
    """Return an error to keep: the traceback of a raised one keeps all variables on its way, the upload among them."""
    return BadImage(str(error), error.reason)


def extract_upload(row: Row, headers: dict[str, Any]) -> bytes:
    """Return the bytes of the one upload that a request carries. Raises BadImage for a request of another kind.

    Of a form with one file and other fields, which browsers and test tools add, the file counts.
    """
    files = {name: value for name, value in row.items() if is_file(headers.get(name))} if len(row) > 1 else row
    if not row:
        raise BadImage("The request holds no picture: send one as the body or as the field of a multipart form.")
    if len(files) != 1:
        raise BadImage(f"The request has {len(files) or len(row)} fields: send one picture in a single field.")
    (upload,) = files.values()
    if isinstance(upload, bytes | bytearray):
        return bytes(upload)
    # TorchServe parses JSON and text unless it is told not to.
    return upload.encode() if isinstance(upload, str) else orjson.dumps(upload)


def is_file(header: Any) -> bool:  # noqa: ANN401
    """Return whether TorchServe's header for a form's field is that of a file: only those have a content type."""
    return isinstance(header, dict) and bool(header.get("content-type"))


def read_json(upload: bytes, headers: dict[str, Any]) -> Request:
    """Return the pictures of a request in one of KServe's protocols, or of one picture in JSON. Raises BadImage."""
    # In the v2 protocol the pixels may follow the JSON as bytes.
    sizes = [str(value) for name, value in headers.items() if name.lower() == BINARY_HEADER]
    end = int(sizes[0]) if sizes and sizes[0].isdecimal() else len(upload)
    try:
        message = orjson.loads(upload[:end])
    except orjson.JSONDecodeError as cause:
        raise BadImage("The request is not valid JSON.") from cause
    if isinstance(message, dict) and isinstance(message.get("instances"), list):
        check_count(len(message["instances"]))
        return Request(read_instances(message["instances"]), "v1")
    if isinstance(message, dict) and isinstance(message.get("inputs"), list):
        return read_inference(message, upload[end:])
    picture = find_value(message)
    return Request([read_numbers(picture) if isinstance(picture, list) else load(open_instance(picture))])


def read_inference(message: Json, binary: bytes) -> Request:
    """Return the pictures of a request in KServe's v2 protocol, and what is wanted of them. Raises BadImage."""
    outputs = choose_outputs(message)
    given = read_input(message, binary)
    pictures = read_instances(given) if isinstance(given, list) else [take(pixels) for pixels in given]
    return Request(pictures, "v2", str(message.get("id") or ""), outputs)


def take(pixels: Pixels) -> Picture | BadImage:
    """Return (1, 28, 28) pixels as a picture, unless they are blank."""
    return Picture(None, ready(pixels[0])) if pixels.any() else BadImage("The picture is blank.", "blank")


def read_instances(instances: list[Any]) -> list[Picture | BadImage]:
    """Read several pictures; together they may have as many megapixels as one."""
    pictures: list[Picture | BadImage] = []
    left = float(MAX_MEGAPIXELS)
    for instance in map(find_value, instances):
        begin_step()
        try:
            if isinstance(instance, list):
                pictures.append(read_numbers(instance))
                continue
            picture = open_instance(instance)
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
    return pictures


def open_instance(instance: Any) -> Image.Image:  # noqa: ANN401
    """Open the picture that a part of the JSON holds as base64, or as bytes behind it. Raises BadImage."""
    if isinstance(instance, str):
        try:
            instance = decode_base64(instance)
        except ValueError as cause:
            raise BadImage("The base64 of this picture is damaged.") from cause
    if not isinstance(instance, bytes):
        raise BadImage(
            'The JSON must have "instances" (KServe v1: [{"b64": ...}]), "inputs" (KServe v2), '
            'or one picture as base64: {"data": "..."}.'
        )
    return open_picture(instance)


def find_value(instance: Any) -> Any:  # noqa: ANN401
    """Return what a part of the JSON holds under one of the usual keys, however deep; itself if it is no object."""
    while isinstance(instance, dict):
        instance = next((instance[key] for key in KEYS if key in instance), None)
    return instance


def read_numbers(instance: list[Any]) -> Picture | BadImage:
    """Return the picture of 28x28 or 784 numbers, unless they are blank. Raises BadImage."""
    numbers = to_numbers(instance)
    if numbers.size != SIDE_PX * SIDE_PX:
        raise BadImage(f"The list has {numbers.size} numbers: send 28x28 pixels, or 784.")
    return take(to_pixels(numbers)[0])


def write_response(
    request: Request, answers: list[Answer | BadImage], model: dict[str, str]
) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request's answers in its protocol, and its headers; a bad picture has an "error".

    model is the entry "model" of the archive's manifest.
    """
    if request.protocol != "v2":
        written = [{"error": str(answer)} if isinstance(answer, BadImage) else answer for answer in answers]
        return orjson.dumps({"predictions": written} if request.protocol == "v1" else written[0]), JSON
    named = {"model_name": model["modelName"], "model_version": model["modelVersion"]}
    if request.id:
        named["id"] = request.id
    outputs, binary = write_outputs(answers, request.outputs)
    text = orjson.dumps(named | {"outputs": outputs})
    if not binary:
        return text, JSON
    return text + binary, {"content-type": "application/octet-stream", BINARY_HEADER: str(len(text))}
