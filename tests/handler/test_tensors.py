"""Pixels and picture files come in tensors of any usual kind."""

import base64
import json
from typing import Any

import numpy as np
import pytest
import torch
from ts.service import Service

from evaluate.pictures import png
from handler.tensors import DATATYPES, parse_input
from tests.handler.worker import ask
from tests.harness.service import EXAMPLES

ONE = np.full((1, 28, 28), 7, np.uint8)


def tensor_of(pixels: "np.ndarray[Any, np.dtype[np.uint8]]", **changes: Any) -> dict[str, Any]:
    """Return pixels as KServe's v2 protocol has them."""
    return {"name": "pixels", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.tolist()} | changes


def outputs_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the data of each output of KServe's v2 protocol."""
    for output in answer["outputs"]:
        assert len(output["data"]) == np.prod(output["shape"])
    return {output["name"]: output["data"] for output in answer["outputs"]}


@pytest.mark.parametrize("form", ["nested", "flat", "binary"])
def test_pixels_in_one_tensor_are_read_as_files_are(
    form: str, loaded: Service, mnist_test: tuple[torch.Tensor, torch.Tensor]
) -> None:
    pixels = mnist_test[0][:70, 0].numpy().copy()
    pixels[5] = 0
    tensor, headers, binary = tensor_of(pixels), {}, b""
    if form == "flat":
        tensor["data"] = pixels.reshape(-1).tolist()
    body = json.dumps({"id": "a7", "inputs": [tensor]}).encode()
    if form == "binary":
        del tensor["data"]
        body = json.dumps({"id": "a7", "inputs": [tensor]}).encode()
        headers, binary = {"Inference-Header-Content-Length": str(len(body))}, pixels.tobytes()
    ((status, answer),) = ask(loaded, {"body": body + binary}, headers=headers)
    assert status == 200
    assert (answer["id"], answer["model_name"]) == ("a7", "mnist")
    outputs = outputs_of(answer)
    assert outputs["digit"][5] == -1
    assert [index for index, error in enumerate(outputs["error"]) if error] == [5]
    assert outputs["error"][5] == "The picture is blank."
    for index in (0, 4, 6, 69):
        ((_, alone),) = ask(loaded, {"body": png(pixels[index])})
        assert outputs["digit"][index] == alone["digit"]
        assert outputs["certain"][index] == alone["certain"]
        assert outputs["confidence"][index] == pytest.approx(alone["confidence"], abs=1e-5)
        assert outputs["probabilities"][10 * index : 10 * index + 10] == pytest.approx(alone["probabilities"], abs=1e-5)


@pytest.mark.parametrize("datatype", ["UINT8", "INT32", "INT64", "UINT16", "FP16", "FP32", "FP64"])
@pytest.mark.parametrize("shape", [[3, 28, 28], [3, 784], [3, 1, 28, 28], [3, 28, 28, 1], [1, 28, 28], [28, 28], [784]])
@pytest.mark.parametrize("is_binary", [False, True])
def test_pixels_may_have_any_usual_datatype_shape_and_scale(
    datatype: str, shape: list[int], is_binary: bool, mnist_test: tuple[torch.Tensor, torch.Tensor]
) -> None:
    count = 3 if shape[0] == 3 else 1
    pixels = mnist_test[0][:count].numpy()
    levels = pixels.astype(np.float64)
    scales = [levels, levels / 255, (levels / 255 - 0.1307) / 0.3081] if datatype.startswith("FP") else [levels]
    for numbers in scales:
        data = numbers.astype(DATATYPES[datatype]).reshape(-1)
        tensor = {"name": "pixels", "shape": shape, "datatype": datatype} | (
            {} if is_binary else {"data": data.tolist()}
        )
        read = parse_input({"inputs": [tensor]}, data.tobytes() if is_binary else b"")
        assert isinstance(read, np.ndarray)
        assert np.abs(read.astype(int) - pixels).max() <= (1 if datatype == "FP16" else 0)


def test_picture_files_may_come_in_a_tensor(loaded: Service) -> None:
    files = [path.read_bytes() for path in EXAMPLES.values()]
    tensor: dict[str, Any] = {"name": "pictures", "shape": [len(files)], "datatype": "BYTES"}
    as_json = tensor | {"data": [base64.b64encode(file).decode() for file in files]}
    ((status, answer),) = ask(loaded, {"body": json.dumps({"inputs": [as_json]}).encode()})
    assert status == 200
    assert outputs_of(answer)["digit"] == list(EXAMPLES)
    binary = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(binary)}}]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    ((_, behind),) = ask(loaded, {"body": head + binary}, headers=headers)
    assert behind == answer
    ((status, cut),) = ask(loaded, {"body": head + binary[:-1]}, headers=headers)
    assert (status, "binary_data_size" in cut["error"]) == (400, True)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (tensor_of(ONE, datatype="STRING"), "UINT8"),
        (tensor_of(ONE, shape=[1, 32, 32]), "[1, 32, 32]"),
        (tensor_of(ONE, shape="1x28x28"), "such as [n, 28, 28]"),
        (tensor_of(ONE, shape=[]), "such as [n, 28, 28]"),
        (tensor_of(ONE, shape=[2, 28, 28]), "784 numbers"),
        (tensor_of(ONE, shape=[-1, 28, 28]), "such as [n, 28, 28]"),
        (tensor_of(ONE, shape=[2000, 28, 28]), "2000 pictures"),
        (tensor_of(ONE, shape=[0, 28, 28]), "0 pictures"),
        (tensor_of(ONE, data=[256] * 784), "from 256 to 256: send 0 to 255"),
        (tensor_of(ONE, data=[-1] * 784, datatype="INT64"), "standardised"),
        (tensor_of(ONE, data=[0.5] * 784), "send FP32"),
        (tensor_of(ONE, data=[float("nan")] * 784, datatype="FP32"), "must be numbers"),
        (tensor_of(ONE, data="784"), "must be numbers"),
        (tensor_of(ONE, data=78), "784 of its shape"),
        (tensor_of(ONE, data=[[1], 2]), "784 of its shape"),
        (tensor_of(ONE, data=[[1], [[2]]]), "must be numbers"),
        (tensor_of(ONE, datatype="BYTES", shape=[2]), "784 pictures"),
        # Its product would have a million digits.
        (tensor_of(ONE, datatype="BYTES", shape=[2] * 3_000_000), "such as [n, 28, 28]"),
    ],
)
def test_a_tensor_of_another_kind_is_refused(tensor: dict[str, Any], reason: str, loaded: Service) -> None:
    ((status, answer),) = ask(loaded, {"body": {"inputs": [tensor]}})
    assert status == 400
    assert reason in answer["error"]


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"id": "7" * 8_000_000}, "8000000 characters: send at most 1000"),
        ({"outputs": [{"name": "7" * 8_000_000}]}, "no output 77"),
    ],
)
def test_an_answer_does_not_repeat_a_long_request(part: dict[str, Any], reason: str, loaded: Service) -> None:
    ((status, answer),) = ask(loaded, {"body": {"inputs": [tensor_of(ONE)]} | part})
    assert status == 400
    assert reason in answer["error"]
    assert len(answer["error"]) < 300


def test_numbers_are_read_in_the_first_protocol_too(
    loaded: Service, mnist_test: tuple[torch.Tensor, torch.Tensor]
) -> None:
    pixels = mnist_test[0][:2, 0].numpy()
    for instances in (pixels.tolist(), (pixels.reshape(2, -1) / 255).tolist(), [{"data": pixels[0].tolist()}]):
        ((status, answer),) = ask(loaded, {"body": json.dumps({"instances": instances}).encode()})
        assert status == 200
        assert [each.get("digit") for each in answer["predictions"]] == mnist_test[1][: len(instances)].tolist()
    assert ask(loaded, {"body": json.dumps(pixels[0].tolist()).encode()})[0][1]["digit"] == int(mnist_test[1][0])
