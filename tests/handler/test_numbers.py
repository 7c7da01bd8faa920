"""Numbers are looked for where a request wants them, in each protocol, and nowhere else."""

import base64
import io
import json
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image
from ts.service import Service

from evaluate.pictures import png
from handler.digit_handler import MAX_NUMBERED, DigitHandler
from handler.explanation import explain_digits
from handler.metrics import Tally
from handler.requests import Answer
from handler.tensors import MAX_EXPLAINED
from model.decode import Picture
from model.errors import BadImage
from model.geometry import Ink
from model.numbers import MOST_FOUND, Digit, Number
from model.recognise import Reading, add_numbers
from tests.handler.worker import ask
from tests.harness.number import MARGIN_PX, NUMBER, STEP_PX, TEXT, draw_number
from tests.harness.service import EXAMPLES

EXPLAIN = {"explain": "True", "mask": "true"}
# TorchServe's default of max_response_size.
LARGEST = 6_553_500
Headers = dict[str, str]


def base64_of(upload: bytes) -> str:
    """Return a picture file as text."""
    return base64.b64encode(upload).decode()


def tensor_of(*uploads: bytes) -> dict[str, Any]:
    """Return picture files as KServe's v2 protocol has them."""
    data = [base64_of(upload) for upload in uploads]
    return {"name": "pictures", "datatype": "BYTES", "shape": [len(data)], "data": data}


def wants(upload: bytes, read: Any) -> list[tuple[Any, Headers]]:
    """Return the requests by which a picture may be read in a way, each a body and its headers."""
    one, header = {"b64": base64_of(upload)}, {"read": read} if isinstance(read, str) else {}
    in_json = [
        one | {"read": read},
        {"instances": [one], "read": read},
        {"inputs": [tensor_of(upload)], "parameters": {"read": read}},
    ]
    in_header = [upload, one, {"instances": [one]}, {"inputs": [tensor_of(upload)]}] if header else []
    return [(body, {}) for body in in_json] + [(body, header) for body in in_header]


def find_numbers(answer: Any) -> list[dict[str, Any]] | None:
    """Return the numbers in an answer of any protocol to one picture, None if none were looked for."""
    if "outputs" in answer:
        (output,) = (each for each in answer["outputs"] if each["name"] == "numbers")
        assert (output["datatype"], output["shape"]) == ("BYTES", [1])
        return json.loads(output["data"][0]) or None
    return answer.get("predictions", [answer])[0].get("numbers")


def handler_of(loaded: Service) -> DigitHandler:
    """Return the handler of a loaded model."""
    return loaded._entry_point.__self__


def test_a_number_is_described_as_a_whole_and_digit_by_digit(loaded: Service) -> None:
    ((status, answer),) = ask(loaded, {"body": NUMBER})
    assert (status, answer["certain"]) == (200, False)
    assert list(answer) == ["digit", "confidence", "certain", "probabilities", "numbers"]
    (number,) = answer["numbers"]
    assert list(number) == ["text", "confidence", "certain", "box", "digits"]
    assert number["text"] == "".join(str(each["digit"]) for each in number["digits"]) == TEXT
    assert number["certain"] is (number["confidence"] >= handler_of(loaded).certain_from)
    for each in number["digits"]:
        assert list(each) == ["digit", "confidence", "box", "probabilities"]
        assert each["digit"] == np.argmax(each["probabilities"])
        assert sum(each["probabilities"]) == pytest.approx(1, abs=1e-5)
    boxes = np.array([each["box"] for each in number["digits"]])
    assert number["box"] == [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
    # Each lies around the ink of its digit.
    rows, columns = np.nonzero(draw_number() < 150)
    assert number["box"] == pytest.approx([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], abs=5)
    assert (np.diff(boxes[:, 0]) > 20).all()


@pytest.mark.parametrize(
    ("upload", "read", "has_numbers"),
    [(NUMBER, "auto", True), (NUMBER, "digit", False), (EXAMPLES[7], "auto", False), (EXAMPLES[7], "numbers", True)],
)
def test_a_request_chooses_in_each_protocol(upload: Any, read: str, has_numbers: bool, loaded: Service) -> None:
    file = upload if isinstance(upload, bytes) else upload.read_bytes()
    for body, headers in wants(file, read):
        ((status, answer),) = ask(loaded, {"body": body}, headers=headers)
        assert status == 200
        numbers = find_numbers(answer)
        assert (numbers is not None) == has_numbers
        assert not numbers or [each["text"] for each in numbers] == [TEXT if upload is NUMBER else "7"]


def test_empty_cells_are_read_if_that_is_asked(loaded: Service) -> None:
    drawn = draw_number()
    last = MARGIN_PX + 3 * STEP_PX
    cell = np.full((drawn.shape[0], STEP_PX), drawn.max(), np.uint8)
    for body, headers in wants(png(np.hstack([drawn[:, :last], cell, drawn[:, last:]])), "cells"):
        ((status, answer),) = ask(loaded, {"body": body}, headers=headers)
        assert status == 200
        assert [each["text"] for each in find_numbers(answer) or []] == [f"{TEXT[:-1]}_{TEXT[-1]}"]


@pytest.mark.parametrize("read", ["", "Auto", "number", 1, True, [], {}, [[["auto"]]]])
def test_another_choice_is_refused_in_each_protocol(read: Any, loaded: Service) -> None:
    for body, headers in wants(NUMBER, read):
        ((status, answer),) = ask(loaded, {"body": body}, headers=headers)
        assert (status, answer["error"]) == (400, "What is to be read must be auto, digit, numbers or cells.")


def test_parameters_that_are_no_object_choose_nothing(loaded: Service) -> None:
    for parameters in (None, [], ["read"], "read", 7):
        body = {"inputs": [tensor_of(NUMBER)], "parameters": parameters}
        assert find_numbers(ask(loaded, {"body": body})[0][1])


def test_a_thumbnail_holds_one_digit(loaded: Service) -> None:
    scribble = np.full((36, 36), 235, np.uint8)
    scribble[np.arange(8, 28), np.arange(8, 28)] = scribble[np.arange(8, 28), np.arange(27, 7, -1)] = 30
    for body in (png(scribble), [[7] * 28] * 28):
        ((status, answer),) = ask(loaded, {"body": body}, headers={"read": "numbers"})
        assert (status, "numbers" in answer) == (200, False)


def test_only_so_many_pictures_of_a_request_are_searched(loaded: Service) -> None:
    instances = [{"b64": base64_of(NUMBER)}] * (MAX_NUMBERED + 2)
    (_, (status, answer)) = ask(loaded, {"body": NUMBER}, {"body": {"instances": instances}})
    assert status == 200
    assert ["numbers" in each for each in answer["predictions"]] == [True] * MAX_NUMBERED + [False] * 2


def photograph(degrees: int, orientation: int) -> bytes:
    """Return a large JPEG of the number, its pixels turned counterclockwise, with EXIF's note of how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(draw_number()).resize((1008, 384)).rotate(degrees, expand=True)
    with io.BytesIO() as file:
        picture.save(file, "JPEG", exif=exif)
        return file.getvalue()


def test_boxes_are_those_of_the_picture_as_it_is_shown(loaded: Service) -> None:
    ((_, straight),) = ask(loaded, {"body": NUMBER})
    box = 4 * np.array(straight["numbers"][0]["box"])
    for degrees, orientation in ((0, 1), (90, 6), (180, 3)):
        ((_, answer),) = ask(loaded, {"body": photograph(degrees, orientation)})
        (number,) = answer["numbers"]
        assert (number["text"], number["box"]) == (TEXT, pytest.approx(box, abs=16))


def test_a_file_that_lies_about_how_it_is_turned_is_searched_as_it_is_stored(loaded: Service) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(EXAMPLES[7]) as picture, io.BytesIO() as file:
        picture.save(file, "PNG", exif=exif)
        ((_, answer),) = ask(loaded, {"body": file.getvalue()}, headers={"read": "numbers"} | EXPLAIN)
    (number,) = answer["numbers"]
    assert (answer["as_stored"], number["text"]) == (True, "7")
    assert number["box"] == pytest.approx(answer["box"], abs=16)


def test_a_file_that_cannot_be_decoded_again_gets_its_own_error(loaded: Service) -> None:
    damaged = EXAMPLES[7].read_bytes()[:9000]
    picture = Picture(draw_number()[::2, ::2], 8, 1, damaged)
    blank = Ink(np.zeros((1, 28, 28), np.uint8), np.zeros((1, 1), np.uint8), (0, 0, 1, 1))
    refused = add_numbers(picture, Reading(0, 0.1, [0.1] * 10, blank), handler_of(loaded).engine)
    assert isinstance(refused, BadImage)
    assert refused.reason == "damaged"


def test_an_explanation_has_the_pixels_and_the_ink_of_each_digit(loaded: Service) -> None:
    body = {"instances": [{"b64": base64_of(NUMBER)}]}
    page = draw_number()
    for sent in (NUMBER, body):
        ((_, answer),) = ask(loaded, {"body": sent}, headers=EXPLAIN)
        (number,) = find_numbers(answer) or []
        for each in number["digits"]:
            pixels, (left, top, right, bottom) = np.array(each["pixels"]), each["box"]
            assert (pixels.shape, pixels.max()) == ((28, 28), 255)
            with Image.open(io.BytesIO(base64.b64decode(each["mask"]))) as mask:
                assert (mask.format, mask.mode) == ("PNG", "L")
                levels = np.asarray(mask.resize((right - left, bottom - top)))
            assert ((levels > 127) == (page[top:bottom, left:right] < 130)).mean() > 0.85
    ((_, plain),) = ask(loaded, {"body": NUMBER}, headers={"explain": "True"})
    assert list(plain["numbers"][0]["digits"][0]) == ["digit", "confidence", "box", "probabilities", "pixels"]


def test_an_answer_has_no_more_explained_digits_than_it_can_hold(loaded: Service) -> None:
    noise = np.random.default_rng(0).integers(100, 256, (200, 200), np.uint8)
    ink = Ink(noise[None, :28, :28], noise, (0, 0, 1, 1))
    shares = [round(0.100001 + digit / 1e5, 6) for digit in range(10)]
    digit = Digit(9, 0.123456, shares, (1234, 1234, 1234, 1234), ink)
    number = Number("9", 0.123456, digit.box, [digit], {})
    reading = Reading(9, 0.123456, shares, ink, numbers=[number] * MOST_FOUND)
    readings = [reading] * MAX_EXPLAINED
    for with_mask in (False, True):
        answers: list[Answer | BadImage] = [handler_of(loaded).answer(each, False, False) for each in readings]
        explain_digits(readings, answers, with_mask)
        digits = [each["numbers"][place]["digits"][0] for each in answers for place in range(MOST_FOUND)]  # type: ignore[index]
        explained = sum("pixels" in each for each in digits)
        assert 0 < explained < len(digits)
        assert all("pixels" in each for each in digits[:explained])
        assert all(("mask" in each) == with_mask for each in digits[:explained])
        # Pixels, attribution and mask of the pictures themselves are to be added.
        assert len(orjson.dumps({"predictions": answers})) + 20_000 * MAX_EXPLAINED < LARGEST


def test_a_picture_that_is_read_as_a_number_is_not_counted_as_a_digit(loaded: Service) -> None:
    tally = Tally(handler_of(loaded).tally.metrics, "mnist", "1.0")
    doubted: Answer = {"digit": 4, "confidence": 0.2, "certain": False, "probabilities": []}
    certain = doubted | {"certain": True}
    numbers = [{"certain": True}, {"certain": False}]
    tally.add([doubted | {"numbers": numbers}, doubted | {"numbers": numbers[1:]}, doubted, certain | {"numbers": []}])
    counts = {tuple(labels): count for (name, *labels), count in tally.counts.items() if name == "digit_numbers_total"}
    assert counts == {("true",): 1, ("false",): 2}
    assert tally.counts["digit_answers_total", "4", "false"] == 2
    assert tally.counts["digit_answers_total", "4", "true"] == 1
