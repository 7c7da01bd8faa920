"""The handler that TorchServe calls: a batch of requests in, one JSON answer for each out."""

import logging
from typing import TypeGuard

import numpy as np
from ts.context import Context

from handler.explanation import explain
from handler.limit import begin_step, limit_steps
from handler.metrics import Tally
from handler.requests import Answer, Request, Row, read_request, write_response
from model.decode import Picture, turn_back
from model.engine import build_engine
from model.errors import NO_MEMORY, BadImage
from model.recognise import Reading, read

DECIMALS = 6
# Pictures that are read in one step of handler.limit: 3 s of processor time at most.
STEP_PICTURES = 1024


class DigitHandler:
    """Reads the digit in each picture of a batch.

    A bad picture is carried along as its BadImage, so that it gets its own error; the others are unaffected.
    """

    def initialize(self, context: Context) -> None:
        """Load both nets, and the confidence from which an answer counts as certain, from the archive."""
        # A log line per batch takes time.
        logging.getLogger().setLevel(logging.WARNING)
        settings = context.model_yaml_config["handler"]
        self.certain_from = float(settings["certain_from"])
        self.engine = build_engine(settings["threads"])
        self.model = context.manifest["model"]
        self.tally = Tally(context.metrics, self.model["modelVersion"])

    def handle(self, data: list[Row], context: Context) -> list[bytes]:
        """Answer n requests with n JSON texts, setting status and content type of each in the context."""
        self.context = context
        with limit_steps():
            requests = self.preprocess(data)
            readings = self.inference([each for request in requests for each in request.pictures])
            return self.postprocess(requests, readings)

    def preprocess(self, data: list[Row]) -> list[Request]:
        """Parse n requests and decode their pictures."""
        return [read_request(row, self.context.get_all_request_header(index)) for index, row in enumerate(data)]

    def inference(self, data: list[Picture | BadImage]) -> list[Reading | BadImage]:
        """Run both nets over the good pictures: again over doubted ones whose file may lie about how they are turned.

        Of those, one that is certain as it is stored is read so.
        """
        readings = self.read(data)
        stored = {
            index: turn_back(picture)
            for index, (picture, reading) in enumerate(zip(data, readings, strict=True))
            if isinstance(picture, Picture) and picture.orientation != 1 and not self.is_certain(reading)
        }
        for index, reading in zip(stored, self.read(list(stored.values())), strict=True):
            if self.is_certain(reading):
                readings[index] = reading._replace(is_as_stored=True)
        return readings

    def read(self, pictures: list[Picture | BadImage]) -> list[Reading | BadImage]:
        """Run both nets over the good ones of any number of pictures, in steps."""
        readings: list[Reading | BadImage] = []
        for first in range(0, len(pictures), STEP_PICTURES):
            begin_step()
            readings += read(pictures[first : first + STEP_PICTURES], self.engine)
        return readings

    def is_certain(self, reading: Reading | BadImage) -> TypeGuard[Reading]:
        """Return whether the answer to a picture is certain."""
        return isinstance(reading, Reading) and self.answer(reading)["certain"]

    def postprocess(self, data: list[Request], readings: list[Reading | BadImage]) -> list[bytes]:
        """Turn n requests, and the readings of all their pictures in order, into n JSON texts."""
        answers = [each if isinstance(each, BadImage) else self.answer(each) for each in readings]
        self.tally.add(answers)
        last = 0
        texts = []
        for index, request in enumerate(data):
            first, last = last, last + len(request.pictures)
            if self.context.get_all_request_header(index).get("explain") == "True":
                self.add_explanations(request, readings[first:last], answers[first:last])
            answer = answers[first] if not request.protocol else None
            if isinstance(answer, BadImage):
                status = (503, "Service Unavailable") if answer.reason == NO_MEMORY else (400, "Bad Request")
                self.context.set_response_status(*status, idx=index)
            text, headers = write_response(request, answers[first:last], self.model)
            for name, value in headers.items():
                self.context.set_response_header(index, name, value)
            texts.append(text)
        return texts

    def add_explanations(
        self, request: Request, readings: list[Reading | BadImage], answers: list[Answer | BadImage]
    ) -> None:
        """Add an explanation to the answer to each good picture of a request."""
        for picture, reading, answer in zip(request.pictures, readings, answers, strict=True):
            begin_step()
            if not (isinstance(picture, BadImage) or isinstance(reading, BadImage) or isinstance(answer, BadImage)):
                answer |= explain(picture, reading, request.wants_mask)

    def answer(self, reading: Reading) -> Answer:
        """Return the answer to one picture; its probabilities are written with at most six decimals."""
        probabilities = np.round(reading.probabilities.astype(np.float64), DECIMALS).tolist()
        confidence = max(probabilities)
        answer: Answer = {
            "digit": probabilities.index(confidence),
            "confidence": confidence,
            "certain": confidence >= self.certain_from,
            "probabilities": probabilities,
        }
        # Only where it is so: almost never.
        return answer | {"as_stored": True} if reading.is_as_stored else answer
