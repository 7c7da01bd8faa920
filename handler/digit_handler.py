"""TorchServe's way to the net: the uploads of a batch in, one JSON answer each out."""

import json
from typing import Any

import numpy as np
import torch
from digit_image import BadImage, read_picture
from digit_saliency import saliency
from numpy.typing import NDArray
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

DECIMALS = 6

# One request as TorchServe hands it over: the raw body under "body", or a multipart form's fields.
Row = dict[str, Any]
Pixels = NDArray[np.uint8]
Answer = dict[str, Any]


class DigitHandler(BaseHandler):
    """Reads the digit in each picture of a batch.

    Every stage maps a list to a list of the same length. A request that cannot be answered is carried
    along as its BadImage, so that it gets its own 400 and its neighbours get their digits.
    """

    def initialize(self, context: Context) -> None:
        """Load the net, and the confidence from which an answer counts as certain, from the archive."""
        super().initialize(context)
        self.certain_from = float(self.model_yaml_config["handler"]["certain_from"])

    def handle(self, data: list[Row], context: Context) -> list[str]:
        """Answer n requests with n JSON texts, setting status and content type of each in the context."""
        self.context = context
        pictures = self.preprocess(data)
        return self.postprocess(self.add_explanations(pictures, self.inference(pictures)))

    def preprocess(self, data: list[Row]) -> list[Pixels | BadImage]:
        """Turn n requests into n (1, 28, 28) uint8 pixels, or what is wrong with them."""
        pictures: list[Pixels | BadImage] = []
        for row in data:
            try:
                pictures.append(read_picture(upload_of(row)))
            except BadImage as error:
                pictures.append(error)
        return pictures

    def inference(self, data: list[Pixels | BadImage]) -> list[Answer | BadImage]:
        """Run the net once over the good pictures; return each one's digit and probabilities."""
        good = [picture for picture in data if not isinstance(picture, BadImage)]
        if not good:
            return [picture for picture in data if isinstance(picture, BadImage)]
        with torch.inference_mode():
            logits = self.model(torch.from_numpy(np.stack(good)).to(self.device))
            probabilities = iter(torch.softmax(logits, 1).tolist())
        return [picture if isinstance(picture, BadImage) else self.answer(next(probabilities)) for picture in data]

    def answer(self, probabilities: list[float]) -> Answer:
        """Return what is said of one picture with ten probabilities."""
        rounded = [round(probability, DECIMALS) for probability in probabilities]
        confidence = max(rounded)
        return {
            "digit": rounded.index(confidence),
            "confidence": confidence,
            "certain": confidence >= self.certain_from,
            "probabilities": rounded,
        }

    def add_explanations(
        self, pictures: list[Pixels | BadImage], answers: list[Answer | BadImage]
    ) -> list[Answer | BadImage]:
        """Add what the net saw and which ink spoke for the digit to the answers that /explanations was asked for."""
        for index, (pixels, answer) in enumerate(zip(pictures, answers, strict=True)):
            asked = self.context.get_all_request_header(index).get("explain") == "True"
            if asked and not isinstance(pixels, BadImage) and not isinstance(answer, BadImage):
                spoke = saliency(self.model, torch.from_numpy(pixels).to(self.device), answer["digit"])
                answer["pixels"] = pixels[0].tolist()
                answer["saliency"] = [[round(point, 4) for point in row] for row in spoke.tolist()]
        return answers

    def postprocess(self, data: list[Answer | BadImage]) -> list[str]:
        """Turn n results into n JSON texts; a BadImage becomes a 400 with its sentence."""
        texts = []
        for index, result in enumerate(data):
            self.context.set_response_content_type(index, "application/json")
            if isinstance(result, BadImage):
                self.context.set_response_status(400, "Bad Request", idx=index)
                result = {"error": str(result)}
            texts.append(json.dumps(result))
        return texts


def upload_of(row: Row) -> bytes:
    """Return the bytes of the one picture that a request carries.

    Raises BadImage for a request of another kind.
    """
    if not row:
        raise BadImage("The request holds no picture: send one as the body or as the field of a multipart form.")
    if len(row) > 1:
        raise BadImage(f"The request has {len(row)} fields: send one picture in a single field.")
    (upload,) = row.values()
    if not isinstance(upload, bytes | bytearray):
        raise BadImage("The request holds text or JSON: send the bytes of a picture file.")
    return bytes(upload)
