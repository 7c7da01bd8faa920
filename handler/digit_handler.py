"""The handler that TorchServe calls: a batch of requests in, one JSON answer for each out."""

import logging
from itertools import islice

import numpy as np
import torch
from ts.context import Context
from ts.torch_handler.base_handler import BaseHandler

from digit_attribution import attribute
from digit_engine import build_engine
from digit_image import BadImage
from digit_metrics import Tally
from digit_requests import Answer, Pixels, Request, Row, read_request, write_response
from digit_stream import read_in_large_pieces

DECIMALS = 6


class DigitHandler(BaseHandler):
    """Reads the digit in each picture of a batch.

    A bad picture is carried along as its BadImage, so that it gets its own error; the others are unaffected.
    """

    def initialize(self, context: Context) -> None:
        """Load the net, and the confidence from which an answer counts as certain, from the archive."""
        super().initialize(context)
        read_in_large_pieces()
        # A log line per batch takes time.
        logging.getLogger().setLevel(logging.WARNING)
        settings = self.model_yaml_config["handler"]
        self.certain_from = float(settings["certain_from"])
        torch.set_num_threads(settings["threads"])
        self.engine = build_engine(self.model, self.device)
        self.tally = Tally(context.metrics, self.manifest["model"]["modelVersion"])

    def handle(self, data: list[Row], context: Context) -> list[bytes]:
        """Answer n requests with n JSON texts, setting status and content type of each in the context."""
        self.context = context
        requests = self.preprocess(data)
        answers = self.inference([each for request in requests for each in request.pictures])
        self.tally.add(answers)
        return self.postprocess(requests, answers)

    def preprocess(self, data: list[Row]) -> list[Request]:
        """Parse n requests and turn their pictures into pixels."""
        return [read_request(row, self.context.get_all_request_header(index)) for index, row in enumerate(data)]

    def inference(self, data: list[Pixels | BadImage]) -> list[Answer | BadImage]:
        """Run the net once over the good pictures; return each one's digit and probabilities."""
        good = [picture for picture in data if not isinstance(picture, BadImage)]
        if not good:
            return [picture for picture in data if isinstance(picture, BadImage)]
        with torch.inference_mode():
            found = self.engine(torch.from_numpy(np.stack(good)).to(self.device))
        # As float64, whose rounded numbers are written with at most six decimals.
        probabilities = iter(np.round(found.cpu().numpy().astype(np.float64), DECIMALS).tolist())
        return [picture if isinstance(picture, BadImage) else self.answer(next(probabilities)) for picture in data]

    def answer(self, probabilities: list[float]) -> Answer:
        """Return the answer to one picture from its ten probabilities, rounded to DECIMALS."""
        confidence = max(probabilities)
        return {
            "digit": probabilities.index(confidence),
            "confidence": confidence,
            "certain": confidence >= self.certain_from,
            "probabilities": probabilities,
        }

    def add_explanation(self, pixels: Pixels, answer: Answer) -> None:
        """Add the pixels that the net saw, and their attribution, to one picture's answer."""
        attribution = attribute(self.model, torch.from_numpy(pixels).to(self.device), answer["digit"])
        answer["pixels"] = pixels[0].tolist()
        answer["saliency"] = np.round(attribution.numpy().astype(np.float64), 4).tolist()

    def postprocess(self, data: list[Request], answers: list[Answer | BadImage]) -> list[bytes]:
        """Turn n requests, and the answers to all their pictures in order, into n JSON texts."""
        remaining = iter(answers)
        texts = []
        for index, request in enumerate(data):
            mine = list(islice(remaining, len(request.pictures)))
            if self.context.get_all_request_header(index).get("explain") == "True":
                for pixels, answer in zip(request.pictures, mine, strict=True):
                    if not isinstance(pixels, BadImage) and not isinstance(answer, BadImage):
                        self.add_explanation(pixels, answer)
            self.context.set_response_content_type(index, "application/json")
            if not request.protocol and isinstance(mine[0], BadImage):
                self.context.set_response_status(400, "Bad Request", idx=index)
            texts.append(write_response(request, mine, self.manifest["model"]))
        return texts
