"""Parses requests and writes answers: one picture file, or several in KServe's v1 protocol or its v2 protocol."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from handler.limit import begin_step
from handler.tensors import Json, check_count, parse_input, select_outputs, to_numbers, to_pixels, write_outputs
from model.decode import Picture, decode, decode_all
from model.errors import BadImage, refusal
from model.formats import BYTE_ORDER_MARK, decode_base64
from model.geometry import SIDE_PX, Ink, Pixels, make_ink

BINARY_HEADER = "inference-header-content-length"
JSON = {"content-type": "application/json"}
# What a picture may show by the word of its sender: a digit, or none.
TRUTHS = (*map(str, range(10)), "none")
# What to look for: numbers where a picture is doubted to show one digit, one digit only, or numbers in any case,
# without or with the empty cells between their digits.
ALWAYS = ("numbers", "cells")
READS = ("auto", "digit", *ALWAYS)
# Under which clients of TorchServe and of TensorFlow Serving put a picture in JSON.
KEYS = ("b64", "data", "image", "image_bytes", "body")
# Characters of a request's id, which is returned.
MAX_ID = 1000

# One request as TorchServe hands it over: the raw body under "body"; the server takes the file out of a form.
Row = dict[str, Any]
Answer = dict[str, Any]


def is_doubted(answer: Answer) -> bool:
    """Return whether neither the digit nor one of the numbers in an answer is certain."""
    return not answer["certain"] and not any(number["certain"] for number in answer.get("numbers", []))


@dataclass(frozen=True, slots=True)
class Request:
    """A request's pictures; a BadImage is one that is refused."""

    pictures: list[Picture | Ink | BadImage]
    # "" for one picture, "v1" or "v2" for KServe's protocols.
    protocol: str = ""
    id: str = ""
    # The outputs that a v2 request wants, and whether each as bytes.
    outputs: dict[str, bool] = field(default_factory=dict)
    # For each picture one of TRUTHS, or "" if its sender does not say; [] if there are none.
    truths: list[str] = field(default_factory=list)
    # One of READS.
    read: str = "auto"


def parse_request(row: Row, headers: dict[str, Any]) -> Request:
    """Return the pictures of one request; a request of no known kind counts as one bad picture."""
    begin_step()
    try:
        upload = row["body"].removeprefix(BYTE_ORDER_MARK)
        if upload.lstrip()[:1] in (b"{", b"[", b'"'):
            return parse_json(upload, headers)
        truths, read = parse_truths([None], headers), parse_read(None, headers)
        return Request([decode(upload)], truths=truths, read=read)
    except BadImage as error:
        return Request([error.without_traceback()])
    except MemoryError:
        return Request([refusal("no_memory")])
    except Exception:
        # TorchServe would fail the whole batch, other clients' requests included.
        logging.exception("A request of an unforeseen kind. %s", name_request(headers))
        return Request([BadImage("The request cannot be read: send a picture file, or JSON as the README describes.")])


def name_request(headers: dict[str, Any]) -> str:
    """Return a request's id, and that of its trace if it has one, as log lines have them."""
    trace = headers.get("traceparent")
    return f"request_id={headers.get('x-request-id')}" + (f" trace_id={trace[3:35]}" if trace else "")


def wants_explanation(headers: dict[str, Any]) -> bool:
    """Return whether TorchServe's headers say that the answers are to be explained."""
    return headers.get("explain") == "True"


def parse_json(upload: bytes, headers: dict[str, Any]) -> Request:
    """Return the pictures of a request in one of KServe's protocols, or of one picture in JSON. Raises BadImage."""
    # In the v2 protocol the pixels may follow the JSON as bytes.
    sizes = [str(value) for name, value in headers.items() if name.lower() == BINARY_HEADER]
    end = int(sizes[0]) if sizes and sizes[0].isdecimal() else len(upload)
    try:
        message = orjson.loads(upload[:end])
    except orjson.JSONDecodeError as cause:
        raise BadImage("The request is not valid JSON.") from cause
    read = parse_read(find(message, "read"), headers)
    if isinstance(find(message, "instances"), list):
        check_count(len(message["instances"]), wants_explanation(headers))
        truths = parse_truths((find(each, "truth") for each in message["instances"]), headers)
        return Request(decode_all(map(parse_picture, message["instances"])), "v1", truths=truths, read=read)
    if isinstance(find(message, "inputs"), list):
        if wants_explanation(headers):
            raise BadImage('Tensors are not explained: send "instances" to /v1/models/MODEL:explain.')
        return parse_inference(message, upload[end:], headers)
    truths = parse_truths([find(message, "truth")], headers)
    return Request(decode_all([parse_picture(message)]), truths=truths, read=read)


def parse_inference(message: Json, binary: bytes, headers: dict[str, Any]) -> Request:
    """Return the pictures of a request in KServe's v2 protocol, and what is wanted of them. Raises BadImage."""
    outputs = select_outputs(message)
    name = str(message.get("id") or "")
    if len(name) > MAX_ID:
        raise BadImage(f"The id has {len(name)} characters: send at most {MAX_ID}.")
    given = parse_input(message, binary)
    sent, read = (find(message.get("parameters"), each) for each in ("truth", "read"))
    if not isinstance(sent, list):
        sent = [sent] * len(given)
    elif len(sent) != len(given):
        raise BadImage(f"The request has {len(sent)} truths for {len(given)} pictures: send one for each, or a single.")
    truths = parse_truths(sent, headers)
    pictures = decode_all(map(parse_picture if isinstance(given, list) else check_ink, given))
    return Request(pictures, "v2", name, outputs, truths=truths, read=parse_read(read, headers))


def find(part: Any, name: str) -> Any:  # noqa: ANN401
    """Return what a part of the JSON has under a name, or None."""
    return part.get(name) if isinstance(part, dict) else None


def parse_truths(sent: Iterable[Any], headers: dict[str, Any]) -> list[str]:
    """Return the truth about each picture as Request has it; the header's is that of pictures with none (None).

    Raises BadImage for any other than TRUTHS, and for more than the gateway lets pass.
    """
    default = headers.get("truth")
    truths = [default if each is None else each for each in sent]
    count = len(truths) - truths.count(None)
    if not count:
        return []
    # From the gateway, which limits the rate of requests with a truth that it sees.
    most = str(headers.get("max-truths"))
    if most.isdecimal() and count > int(most):
        raise BadImage("Through the gateway send one picture with its truth in the URL (?truth=7) or the header Truth.")
    if not all(each is None or (type(each) in (int, str) and str(each) in TRUTHS) for each in truths):
        raise BadImage('The truth must be a digit from 0 to 9, or "none" for a picture that is not a digit.')
    return ["" if each is None else str(each) for each in truths]


def parse_read(sent: Any, headers: dict[str, Any]) -> str:  # noqa: ANN401
    """Return what a request wants read: one of READS, by its JSON or else its header. Raises BadImage for any other."""
    wanted = [each for each in (sent, headers.get("read")) if each is not None]
    if not all(each in READS for each in wanted):
        raise BadImage("What is to be read must be auto, digit, numbers or cells.")
    return wanted[0] if wanted else READS[0]


def check_ink(pixels: Pixels) -> Ink | BadImage:
    """Return (1, 28, 28) pixels as ink, unless they are blank."""
    return make_ink(pixels[0]) if pixels.any() else BadImage("The picture is blank.", "blank")


def parse_picture(part: Any) -> bytes | Ink | BadImage:  # noqa: ANN401
    """Return the picture that a part of the JSON holds: a file, as base64 or as bytes behind the JSON, or pixels."""
    begin_step()
    picture = find_value(part)
    try:
        return parse_pixels(picture) if isinstance(picture, list) else parse_file(picture)
    except BadImage as error:
        return error.without_traceback()


def parse_file(file: Any) -> bytes:  # noqa: ANN401
    """Return the picture file in a text of base64, or bytes as they are. Raises BadImage for anything else."""
    if isinstance(file, bytes):
        return file
    if not isinstance(file, str):
        raise BadImage(
            'The JSON must have "instances" (KServe v1: [{"b64": ...}]), "inputs" (KServe v2), '
            'or one picture as base64: {"data": "..."}.'
        )
    try:
        return decode_base64(file)
    except ValueError as cause:
        raise BadImage("The base64 of this picture is damaged.") from cause


def parse_pixels(numbers: list[Any]) -> Ink | BadImage:
    """Return the ink of 28x28 or 784 numbers, unless they are blank. Raises BadImage."""
    levels = to_numbers(numbers)
    if levels.size != SIDE_PX * SIDE_PX:
        raise BadImage(f"The list has {levels.size} numbers: send 28x28 pixels, or 784.")
    return check_ink(to_pixels(levels)[0])


def find_value(instance: Any) -> Any:  # noqa: ANN401
    """Return what a part of the JSON holds under one of the usual keys, however deep; itself if it is no object."""
    while isinstance(instance, dict):
        instance = next((instance[key] for key in KEYS if key in instance), None)
    return instance


def write_response(
    request: Request, answers: list[Answer | BadImage], model: str, version: str
) -> tuple[bytes, dict[str, str]]:
    """Return the body of a request's answers in its protocol, and its headers; a bad picture has an "error"."""
    if request.protocol != "v2":
        written = [{"error": str(answer)} if isinstance(answer, BadImage) else answer for answer in answers]
        return orjson.dumps({"predictions": written} if request.protocol == "v1" else written[0]), JSON
    named = {"model_name": model, "model_version": version}
    if request.id:
        named["id"] = request.id
    outputs, binary = write_outputs(answers, request.outputs)
    text = orjson.dumps(named | {"outputs": outputs})
    if not binary:
        return text, JSON
    return text + binary, {"content-type": "application/octet-stream", BINARY_HEADER: str(len(text))}
