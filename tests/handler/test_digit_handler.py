"""The handler answers each request of a batch on its own, run by TorchServe's own loader and context."""

import base64
import gc
import json
import textwrap
from typing import Any

import numpy as np
import pytest
from ts.service import Service

from evaluate.pictures import png
from handler.requests import Request
from model.errors import BadImage, refusal
from tests.handler.worker import GOOD, ask
from tests.harness.service import EXAMPLES

# The end pads it so that its base64 does too.
TEXT_PICTURE = EXAMPLES[3].read_bytes() + b"\xfb\xff\xbe" + b"\0" * (2 - len(EXAMPLES[3].read_bytes()) % 3 + 2)


def test_an_answer_has_digit_confidence_and_ten_probabilities(loaded: Service) -> None:
    for digit, path in EXAMPLES.items():
        ((status, answer),) = ask(loaded, {"body": path.read_bytes()})
        assert status == 200
        assert list(answer) == ["digit", "confidence", "certain", "probabilities"]
        assert answer["digit"] == digit == answer["probabilities"].index(max(answer["probabilities"]))
        assert answer["certain"] is True
        assert answer["confidence"] == max(answer["probabilities"])
        assert len(answer["probabilities"]) == 10
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_a_picture_for_which_there_is_no_memory_may_be_sent_again(loaded: Service) -> None:
    ask(loaded, {"body": GOOD}, {"body": b"a"})
    errors = [refusal("no_memory"), BadImage("Another.")]
    texts = loaded._entry_point.__self__.postprocess([Request([error]) for error in errors], errors, "")
    assert [loaded.context.get_response_status(index)[0] for index in (0, 1)] == [503, 400]
    assert "try again" in json.loads(texts[0])["error"]


def test_the_memory_of_a_refused_upload_is_free_at_once(loaded: Service) -> None:
    pictures = [{"b64": base64.b64encode(picture).decode()} for picture in (GOOD, b"no picture")]
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        ask(loaded, {"body": b"no picture"}, {"body": json.dumps({"instances": pictures}).encode()})
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, BadImage)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_picture_gets_the_same_answer_alone_and_in_a_batch(loaded: Service) -> None:
    rows = [{"body": path.read_bytes()} for path in EXAMPLES.values()]
    for (_, alone), (_, together) in zip((ask(loaded, row)[0] for row in rows), ask(loaded, *rows), strict=True):
        assert alone["digit"] == together["digit"]
        # Kernels for other sizes of a batch add in another order, where the processor has it in bfloat16.
        assert alone["probabilities"] == pytest.approx(together["probabilities"], abs=1e-3)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "cannot be read"),
        ({"body": b"seven"}, "This is text"),
        ({"body": {}}, '"instances"'),
        ({"body": b"[]"}, "0 numbers"),
        ({"body": b"[[1, 2], [3]]"}, "3 numbers"),
        ({"body": b'["1"]'}, "must be numbers"),
        ({"body": b'[{"b64": ""}]'}, "must be numbers"),
        ({"body": b'"b64"'}, "not a picture"),
        ({"body": b'{"instances": '}, "not valid JSON"),
        ({"body": b' {"digit": 7}'}, '"instances"'),
        ({"body": {"instances": []}}, "0 pictures"),
        ({"body": {"instances": [{}] * 1025}}, "1025 pictures"),
        ({"body": {"inputs": []}}, "one input"),
        ({"body": {"inputs": ["pixels"]}}, "one input"),
    ],
)
def test_a_request_of_another_kind_is_refused(row: dict[str, Any], reason: str, loaded: Service) -> None:
    ((status, answer),) = ask(loaded, row)
    assert status == 400
    assert reason in answer["error"]


@pytest.mark.parametrize("truth", ["", "10", "-1", "seven", "7 ", "None", 10, 1.0, True, [7], {}])
def test_a_malformed_truth_is_refused_in_every_protocol(truth: Any, loaded: Service) -> None:
    picture = base64_of(GOOD)
    tensor = {"name": "pictures", "datatype": "BYTES", "shape": [2], "data": [picture["b64"]] * 2}
    rows: list[dict[str, Any]] = [
        picture | {"truth": truth},
        {"instances": [picture, picture | {"truth": truth}]},
        {"inputs": [tensor], "parameters": {"truth": [7, truth]}},
    ]
    asked: list[tuple[dict[str, Any], dict[str, str]]] = [({"body": row}, {}) for row in rows]
    if isinstance(truth, str):
        asked += [({"body": body}, {"truth": truth}) for body in (GOOD, *({**row, "truth": None} for row in rows))]
    for row, headers in asked:
        ((status, answer),) = ask(loaded, row, headers=headers)
        assert status == 400
        assert answer["error"].startswith('The truth must be a digit from 0 to 9, or "none"')


@pytest.mark.parametrize(("truths", "status"), [([7], 400), ([7, 8, 9], 400), ([None, "none"], 200), ("3", 200)])
def test_a_request_of_tensors_has_one_truth_for_each_picture_or_for_all(
    truths: Any,
    status: int,
    loaded: Service,
) -> None:
    tensor = {"name": "pictures", "datatype": "BYTES", "shape": [2], "data": [base64_of(GOOD)["b64"]] * 2}
    assert ask(loaded, {"body": {"inputs": [tensor], "parameters": {"truth": truths}}})[0][0] == status


@pytest.mark.parametrize(
    ("most", "truths", "status"),
    [("0", [None, None], 200), ("0", [None, 3], 400), ("1", [None, 3], 200), ("1", [3, 3], 400), ("x", [3, 3], 200)],
)
def test_the_gateway_says_how_many_truths_a_request_may_have(
    most: str, truths: list[int | None], status: int, loaded: Service
) -> None:
    instances = [base64_of(GOOD) | {"truth": truth} for truth in truths]
    ((given, answer),) = ask(loaded, {"body": {"instances": instances}}, headers={"max-truths": most})
    assert given == status
    assert status == 200 or answer["error"].startswith("Through the gateway send one picture with its truth in the URL")


def base64_of(upload: bytes) -> dict[str, str]:
    """Return a picture as KServe's v1 protocol has it."""
    return {"b64": base64.b64encode(upload).decode()}


def test_each_picture_of_a_request_gets_its_own_answer(loaded: Service) -> None:
    instances: list[Any] = [base64_of(path.read_bytes()) for path in EXAMPLES.values()]
    instances += [base64_of(b"%no picture"), {"b64": "?"}, {"b64": "ü"}, {"picture": "b64"}, 7]
    answers = ask(loaded, {"body": GOOD}, {"body": {"instances": instances}}, {"body": b"x"})
    assert [status for status, _ in answers] == [200, 200, 400]
    predictions = answers[1][1]["predictions"]
    assert [each.get("digit") for each in predictions] == [*EXAMPLES, None, None, None, None, None]
    for each, sentence in zip(
        predictions[len(EXAMPLES) :],
        ["not a picture", "base64 of this picture", "base64 of this picture", '"instances"', '"instances"'],
        strict=True,
    ):
        assert sentence in each["error"]


def test_the_pictures_of_a_request_share_the_megapixels_of_one(loaded: Service) -> None:
    picture = png(np.full((2000, 5000), 255, np.uint8))
    ((status, answer),) = ask(loaded, {"body": {"instances": [base64_of(picture)] * 4}})
    assert status == 200
    assert ["together" in each["error"] for each in answer["predictions"]] == [False, False, True, True]


@pytest.mark.parametrize(
    "written",
    [
        "data:image/jpeg;base64,{}",
        "{}",
        '"{}"',
        '{{"data": "{}"}}',
        '{{"data": {{"b64": "{}"}}}}',
        '{{"image": {{"b64": "data:image/jpeg;base64,{}"}}}}',
        '\ufeff{{"b64": "{}"}}',
    ],
)
@pytest.mark.parametrize("change", ["", "=", "+", "-_", "\n"])
def test_a_picture_may_come_as_text(written: str, change: str, loaded: Service) -> None:
    # Its base64 has padding, and both characters that differ between alphabets.
    text = base64.b64encode(TEXT_PICTURE).decode()
    assert all(character in text for character in "=+/")
    changed = {
        "=": text.rstrip("="),
        "+": text.replace("+", " "),
        "-_": text.replace("+", "-").replace("/", "_"),
        "\n": "\n".join(textwrap.wrap(text, 76)) if '"' not in written else text,
    }.get(change, text)
    assert ask(loaded, {"body": written.format(changed).encode()})[0][1]["digit"] == 3
