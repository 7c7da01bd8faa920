"""The handler that TorchServe calls: a batch of requests in, one JSON answer for each out."""

import logging
import os
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TypeGuard

from ts.context import Context

from handler.explanation import explain, explain_digits
from handler.keep import Keeper
from handler.limit import begin_step, limit_steps
from handler.metrics import Tally
from handler.requests import (
    ALWAYS,
    Answer,
    Request,
    Row,
    is_doubted,
    name_request,
    parse_request,
    wants_explanation,
    write_response,
)
from model.decode import Picture, turn_back
from model.engine import build_engine
from model.errors import BadImage
from model.geometry import Ink
from model.numbers import Number
from model.recognise import DECIMALS, Reading, add_numbers, recognise

# Pictures that are recognised in one step of handler.limit: 3 s of processor time at most.
STEP_PICTURES = 1024
# Pictures of a request in which numbers are looked for: each takes 5 to 200 ms of a core, 0.7 s if full of digits.
MAX_NUMBERED = 64


class DigitHandler:
    """Reads the digit in each picture of a batch.

    A bad picture is carried along as its BadImage, so that it gets its own error; the others are unaffected.
    """

    def initialize(self, context: Context) -> None:
        """Load the nets, and the confidence from which an answer counts as certain, from the archive."""
        # A log line per batch takes time.
        logging.getLogger().setLevel(logging.WARNING)
        # Pillow warns of sizes, which are checked here, and of every odd tag.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        settings = context.model_yaml_config["handler"]
        self.certain_from = float(settings["certain_from"])
        self.engine = build_engine(settings["threads"])
        # It may be registered under another name than the archive's.
        self.model, self.version = context.model_name, context.manifest["model"]["modelVersion"]
        self.tally = Tally(context.metrics, self.model, self.version)
        # From scripts/serve --keep.
        folder = os.environ.get("KEEP_FOLDER")
        self.keeper = Keeper(Path(folder), self.tally) if folder else None

    def handle(self, data: list[Row], context: Context) -> list[bytes]:
        """Answer n requests with n JSON texts, setting status and content type of each in the context."""
        self.context = context
        with limit_steps():
            begun = perf_counter()
            requests = self.preprocess(data)
            decoded = perf_counter()
            readings = self.inference([each for request in requests for each in request.pictures])
            readings = self.read_numbers(requests, readings)
            times = f"decode_ms={1000 * (decoded - begun):.3f} nets_ms={1000 * (perf_counter() - decoded):.3f}"
            return self.postprocess(requests, readings, times)

    def preprocess(self, data: list[Row]) -> list[Request]:
        """Parse n requests and decode their pictures."""
        return [parse_request(row, self.context.get_all_request_header(index)) for index, row in enumerate(data)]

    def inference(self, data: list[Picture | Ink | BadImage]) -> list[Reading | BadImage]:
        """Read the digit in the good pictures, and in doubted ones that EXIF turned also as they are stored.

        Of those, a certain reading counts: the file may lie about how it is turned.
        """
        readings = self.recognise(data)
        stored = {
            index: turn_back(picture)
            for index, (picture, reading) in enumerate(zip(data, readings, strict=True))
            if isinstance(picture, Picture) and picture.orientation != 1 and not self.is_certain(reading)
        }
        for index, reading in zip(stored, self.recognise(list(stored.values())), strict=True):
            if self.is_certain(reading):
                readings[index] = reading._replace(is_as_stored=True)
        return readings

    def read_numbers(self, requests: list[Request], readings: list[Reading | BadImage]) -> list[Reading | BadImage]:
        """Return n readings with the numbers of those pictures in which a request wants them looked for."""
        rest = iter(readings)
        found: list[Reading | BadImage] = []
        for request in requests:
            left = MAX_NUMBERED
            for picture, reading in zip(request.pictures, rest, strict=False):
                is_wanted = request.read in ALWAYS or (request.read == "auto" and not self.is_certain(reading))
                if is_wanted and left and isinstance(picture, Picture):
                    left -= 1
                    begin_step()
                    reading = add_numbers(picture, reading, self.engine, request.read == "cells")
                found.append(reading)
        return found

    def recognise(self, pictures: Sequence[Picture | Ink | BadImage]) -> list[Reading | BadImage]:
        """Read the digit in the good ones of any number of pictures, in steps."""
        readings: list[Reading | BadImage] = []
        for first in range(0, len(pictures), STEP_PICTURES):
            begin_step()
            readings += recognise(pictures[first : first + STEP_PICTURES], self.engine)
        return readings

    def is_certain(self, reading: Reading | BadImage) -> TypeGuard[Reading]:
        """Return whether a picture is read with certainty."""
        return isinstance(reading, Reading) and reading.confidence >= self.certain_from

    def postprocess(self, data: list[Request], readings: list[Reading | BadImage], times: str) -> list[bytes]:
        """Turn n requests, and the readings of all their pictures in order, into n JSON texts; times are logged."""
        rest = iter(readings)
        texts, answered = [], []
        for index, request in enumerate(data):
            headers = self.context.get_all_request_header(index)
            is_explained, with_mask = wants_explanation(headers), headers.get("mask") == "true"
            own = list(islice(rest, len(request.pictures)))
            answers = [self.answer(reading, is_explained, with_mask) for reading in own]
            if is_explained:
                explain_digits(own, answers, with_mask)
            self.tally.add(answers)
            if request.truths:
                self.tally.add_truths(answers, request.truths)
            answered.append(answers)
            self.report(index, answers, times)
            answer = answers[0] if not request.protocol else None
            if isinstance(answer, BadImage):
                status = (503, "Service Unavailable") if answer.reason == "no_memory" else (400, "Bad Request")
                self.context.set_response_status(*status, idx=index)
            text, written = write_response(request, answers, self.model, self.version)
            for name, value in written.items():
                self.context.set_response_header(index, name, value)
            texts.append(text)
        if self.keeper:
            # Now that all answers are made.
            for index, (request, answers) in enumerate(zip(data, answered, strict=True)):
                if self.context.get_all_request_header(index).get("keep") != "false":
                    self.keeper.add(request, answers)
        return texts

    def report(self, index: int, answers: list[Answer | BadImage], times: str) -> None:
        """Give AccessLog.java the fields of a request that only a worker knows, and log why pictures are refused."""
        reasons = [answer.reason for answer in answers if isinstance(answer, BadImage)]
        doubted = sum(is_doubted(answer) for answer in answers if not isinstance(answer, BadImage))
        counts = f"pictures={len(answers)} refused={len(reasons)} doubted={doubted}"
        self.context.set_response_header(index, "x-log-fields", f"{counts} {times}")
        if reasons:
            named = name_request(self.context.get_all_request_header(index))
            logging.warning("Refused: %s. %s", ", ".join(sorted(set(reasons))), named)

    def answer(self, reading: Reading | BadImage, is_explained: bool, with_mask: bool) -> Answer | BadImage:
        """Return the answer to one picture, with its explanation if that is wanted."""
        if isinstance(reading, BadImage):
            return reading
        answer: Answer = {
            "digit": reading.digit,
            "confidence": reading.confidence,
            "certain": self.is_certain(reading),
            "probabilities": reading.probabilities,
        }
        if reading.is_as_stored:
            answer["as_stored"] = True
        if reading.numbers is not None:
            answer["numbers"] = [self.describe(number) for number in reading.numbers]
        if is_explained:
            begin_step()
            answer |= explain(reading, self.engine.classify, with_mask)
        return answer

    def describe(self, number: Number) -> Answer:
        """Return what an answer says of a number."""
        digits = [
            {
                "digit": each.digit,
                "confidence": round(each.confidence, DECIMALS),
                "box": [round(side) for side in each.box],
                "probabilities": each.probabilities,
            }
            for each in number.digits
        ]
        return {
            "text": number.text,
            "confidence": number.confidence,
            "certain": number.confidence >= self.certain_from,
            "box": [round(side) for side in number.box],
            "digits": digits,
        }
