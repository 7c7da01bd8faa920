"""Makes requests of every kind: those that the service answers with digits, and those that it refuses."""

import numpy as np
from numpy.typing import NDArray

from evaluate.pictures import png
from operate.client import Body, Client, encode_picture, encode_v1, encode_v2

# A path of the inference API, and the body that is POSTed to it.
Request = tuple[str, Body]


def make_good(client: Client, pixels: NDArray[np.uint8]) -> list[Request]:
    """Return requests for the digits of (n, 28, 28) uint8 MNIST pixels: most hold one, some ten."""
    files = [png(picture) for picture in pixels]
    tens = [slice(start, start + 10) for start in range(0, len(files), 50)]
    return [
        *((client.predictions, encode_picture(file)) for file in files),
        *((client.explanations, encode_picture(file)) for file in files[::20]),
        *((client.v1, encode_v1(files[ten])) for ten in tens),
        *((client.v2, encode_v2(pixels[ten], binary=False)) for ten in tens),
    ]


def make_bad(client: Client) -> dict[str, Request]:
    """Return a request that is refused for each reason of digit_refused_total, except a full queue."""
    file = png(np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8))
    blank = np.full((60, 60), 255, np.uint8)
    return {
        "not_a_picture": (client.predictions, encode_picture(b"hello")),
        "damaged": (client.predictions, encode_picture(file[: len(file) // 2])),
        "blank": (client.predictions, encode_picture(png(blank))),
        "too_small": (client.predictions, encode_picture(png(blank[:2, :2]))),
        "too_many_megapixels": (client.predictions, encode_picture(png(np.zeros((5001, 5000), np.uint8)))),
        "malformed_request": (client.v1, (b'{"pictures": []}', {"Content-Type": "application/json"})),
        "too_many_pictures": (client.v1, encode_v1([])),
        "too_large": (client.predictions, encode_picture(bytes(client.config.max_request_bytes + 1))),
        "malformed_form": (client.predictions, (file, {"Content-Type": 'multipart/form-data; boundary="'})),
    }
