"""TorchServe's way to the net: the uploads of a batch in, one JSON answer each out."""

import json
from typing import Any

import numpy as np
import torch
from digit_image import BadImage, read_picture
from numpy.typing import NDArray
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

DECIMALS = 6

# One request as TorchServe hands it over: the raw body under "body", or a multipart form's fields.
Row = dict[str, Any]
Pixels = NDArray[np.uint8]
Probabilities = list[float]


class DigitHandler(BaseHandler):
    """Reads the digit in each picture of a batch.

    Every stage maps a list to a list of the same length. A request that cannot be answered is carried
    along as its BadImage, so that it gets its own 400 and its neighbours get their digits.
    """

    def handle(self, data: list[Row], context: Context) -> list[str]:
        """Answer n requests with n JSON texts, setting status and content type of each in the context."""
        self.context = context
        return self.postprocess(self.inference(self.preprocess(data)))

    def preprocess(self, data: list[Row]) -> list[Pixels | BadImage]:
        """Turn n requests into n (1, 28, 28) uint8 pixels, or what is wrong with them."""
        pictures: list[Pixels | BadImage] = []
        for index, row in enumerate(data):
            try:
                pictures.append(read_picture(upload_of(row, self.context.get_all_request_header(index))))
            except BadImage as error:
                pictures.append(error)
        return pictures

    def inference(self, data: list[Pixels | BadImage]) -> list[Probabilities | BadImage]:
        """Run the net once over the good pictures; return each one's ten probabilities."""
        good = [picture for picture in data if not isinstance(picture, BadImage)]
        if not good:
            return [picture for picture in data if isinstance(picture, BadImage)]
        with torch.inference_mode():
            logits = self.model(torch.from_numpy(np.stack(good)).to(self.device))
            probabilities = iter(torch.softmax(logits, 1).tolist())
        return [picture if isinstance(picture, BadImage) else next(probabilities) for picture in data]

    def postprocess(self, data: list[Probabilities | BadImage]) -> list[str]:
        """Turn n results into n JSON texts; a BadImage becomes a 400 with its sentence."""
        answers = []
        for index, result in enumerate(data):
            self.context.set_response_content_type(index, "application/json")
            if isinstance(result, BadImage):
                self.context.set_response_status(400, "Bad Request", idx=index)
                answers.append(json.dumps({"error": str(result)}))
            else:
                rounded = [round(probability, DECIMALS) for probability in result]
                confidence = max(rounded)
                answer = {"digit": rounded.index(confidence), "confidence": confidence, "probabilities": rounded}
                answers.append(json.dumps(answer))
        return answers


def upload_of(row: Row, headers: dict[str, Any]) -> bytes:
    """Return the bytes of the one picture that a request carries.

    Raises BadImage for a request of another kind.
    """
    if headers.get("explain") == "True":
        raise BadImage("This model gives no explanations: POST the picture to /predictions instead.")
    if not row:
        raise BadImage("The request holds no picture: send one as the body or as the field of a multipart form.")
    if len(row) > 1:
        raise BadImage(f"The request has {len(row)} fields: send one picture in a single field.")
    (upload,) = row.values()
    if not isinstance(upload, bytes | bytearray):
        raise BadImage("The request holds text or JSON: send the bytes of a picture file.")
    return bytes(upload)
