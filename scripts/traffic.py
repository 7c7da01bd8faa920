"""Requests of every kind that the service gets: those that it answers with digits, and those that it refuses."""

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pictures import png
from service import PREDICTIONS

EXPLANATIONS = "/explanations/mnist"
V1, V2 = "/v1/models/mnist:predict", "/v2/models/mnist/infer"

# A path of the inference API, and the arguments of requests.post.
Request = tuple[str, dict[str, Any]]


def make_good(pixels: NDArray[np.uint8]) -> list[Request]:
    """Return requests for the digits of (n, 28, 28) uint8 MNIST pixels: most with one, some with ten of them."""
    files = [png(picture) for picture in pixels]
    tens = [slice(start, start + 10) for start in range(0, len(files), 50)]
    return [
        *((PREDICTIONS, {"data": file}) for file in files),
        *((EXPLANATIONS, {"data": file}) for file in files[::20]),
        *(
            (V1, {"json": {"instances": [{"b64": base64.b64encode(file).decode()} for file in files[ten]]}})
            for ten in tens
        ),
        *((V2, {"data": make_tensor(pixels[ten])}) for ten in tens),
    ]


def make_tensor(pixels: NDArray[np.uint8]) -> str:
    """Return (n, 28, 28) uint8 pixels as JSON of KServe's v2 protocol."""
    tensor = {"name": "pixels", "shape": pixels.shape, "datatype": "UINT8", "data": pixels.ravel().tolist()}
    return json.dumps({"inputs": [tensor]})


def make_bad() -> dict[str, Request]:
    """Return a request that is refused for each reason of digit_refused_total, but for a full queue."""
    file = png(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))
    blank = np.full((60, 60), 255, np.uint8)
    return {
        "not_a_picture": (PREDICTIONS, {"data": b"hello"}),
        "damaged": (PREDICTIONS, {"data": file[: len(file) // 2]}),
        "blank": (PREDICTIONS, {"data": png(blank)}),
        "too_small": (PREDICTIONS, {"data": png(blank[:2, :2])}),
        "too_many_megapixels": (PREDICTIONS, {"data": png(np.zeros((5001, 5000), np.uint8))}),
        "malformed_request": (V1, {"json": {"pictures": []}}),
        "too_many_pictures": (V1, {"json": {"instances": []}}),
        "too_large": (PREDICTIONS, {"data": bytes(9_000_000)}),
        "malformed_form": (PREDICTIONS, {"data": file, "headers": {"Content-Type": 'multipart/form-data; boundary="'}}),
    }
