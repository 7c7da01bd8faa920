"""The handler answers each request of a batch on its own, run by TorchServe's own loader and context."""

import base64
import gc
import io
import json
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from ts.context import RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import TsModelLoader
from ts.service import Service

from evaluate.pictures import png
from handler.requests import Request
from handler.tensors import DATATYPES, read_input
from model.decode import read_picture
from model.digit_net import DigitNet
from model.engine import Engine
from model.errors import BadImage, no_memory
from model.recognise import Reading
from model.recognise import read as read_pictures
from operate.config import ROOT
from tests.services import EXAMPLES

GOOD = EXAMPLES[3].read_bytes()
# The end pads it so that its base64 does too.
TEXT_PICTURE = EXAMPLES[3].read_bytes() + b"\xfb\xff\xbe" + b"\0" * (2 - len(EXAMPLES[3].read_bytes()) % 3 + 2)


@pytest.fixture(scope="module")
def loaded(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The model as a worker has it after loading."""
    folder = tmp_path_factory.mktemp("model")
    with zipfile.ZipFile(built) as mar:
        mar.extractall(folder)
    metrics = MetricsCacheYamlImpl(str(ROOT / "metrics.yaml"))
    metrics.initialize_cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        return TsModelLoader().load("mnist", str(folder), "digit_handler.py", None, 64, None, metrics_cache=metrics)


def ask(loaded: Service, *rows: dict[str, Any], headers: dict[str, Any] | None = None) -> list[tuple[int, Any]]:
    """Return status and parsed JSON for each request of one batch."""
    loaded.context.request_processor = [RequestProcessor(headers or {}) for _ in rows]
    answers = loaded._entry_point(list(rows), loaded.context)
    assert len(answers) == len(rows)
    for index in range(len(rows)):
        assert loaded.context.get_response_content_type(index) == "application/json"
    return [(loaded.context.get_response_status(index)[0], json.loads(answer)) for index, answer in enumerate(answers)]


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


def test_a_bad_picture_leaves_its_neighbours_alone(loaded: Service) -> None:
    batch = [EXAMPLES[1].read_bytes(), b"no picture", EXAMPLES[2].read_bytes(), b"", EXAMPLES[0].read_bytes()]
    answers = ask(loaded, *({"body": upload} for upload in batch))
    assert [status for status, _ in answers] == [200, 400, 200, 400, 200]
    assert [answer.get("digit") for _, answer in answers] == [1, None, 2, None, 0]
    assert all(answer["error"].endswith(".") for status, answer in answers if status == 400)


def test_a_batch_of_bad_pictures_alone_is_answered(loaded: Service) -> None:
    assert [status for status, _ in ask(loaded, {"body": b"a"}, {"body": b"b"})] == [400, 400]


def test_a_picture_for_which_there_is_no_memory_may_be_sent_again(loaded: Service) -> None:
    ask(loaded, {"body": GOOD}, {"body": b"a"})
    errors = [no_memory(), BadImage("Another.")]
    texts = loaded._entry_point.__self__.postprocess([Request([error]) for error in errors], errors)
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


@pytest.mark.parametrize("row", [{"body": GOOD}, {"body": bytearray(GOOD)}, {"data": GOOD}, {"any näme": GOOD}])
def test_the_field_of_the_picture_may_have_any_name(row: dict[str, Any], loaded: Service) -> None:
    assert ask(loaded, row)[0][1]["digit"] == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "holds no picture"),
        ({"a": GOOD, "b": GOOD}, "2 fields"),
        ({"body": "seven"}, "This is text"),
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


def base64_of(upload: bytes) -> dict[str, str]:
    """Return a picture as KServe's v1 protocol has it."""
    return {"b64": base64.b64encode(upload).decode()}


@pytest.mark.parametrize("parsed", [True, False], ids=["parsed before", "as bytes"])
def test_each_picture_of_a_request_gets_its_own_answer(parsed: bool, loaded: Service) -> None:
    instances: list[Any] = [base64_of(path.read_bytes()) for path in EXAMPLES.values()]
    instances += [base64_of(b"%no picture"), {"b64": "?"}, {"b64": "ü"}, {"picture": "b64"}, 7]
    body = {"instances": instances}
    answers = ask(loaded, {"body": GOOD}, {"body": body if parsed else json.dumps(body).encode()}, {"body": b"x"})
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
    picture = io.BytesIO()
    Image.new("L", (5000, 2000), 255).save(picture, "PNG")
    ((status, answer),) = ask(loaded, {"body": {"instances": [base64_of(picture.getvalue())] * 4}})
    assert status == 200
    assert ["together" in each["error"] for each in answer["predictions"]] == [False, False, True, True]


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
        picture = io.BytesIO()
        Image.fromarray(pixels[index]).save(picture, "PNG")
        ((_, alone),) = ask(loaded, {"body": picture.getvalue()})
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
        read = read_input({"inputs": [tensor]}, data.tobytes() if is_binary else b"")
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


def test_outputs_are_chosen_by_name_and_sent_as_bytes_on_demand(loaded: Service) -> None:
    pixels = np.stack([ONE[0], np.zeros((28, 28), np.uint8)])
    wanted = [{"name": "error"}, {"name": "digit", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    message = {"inputs": [tensor_of(pixels)], "outputs": wanted, "parameters": {"binary_data_output": True}}
    loaded.context.request_processor = [RequestProcessor({})]
    (body,) = loaded._entry_point([{"body": json.dumps(message).encode()}], loaded.context)
    headers = loaded.context.get_response_headers(0)
    size = int(headers["inference-header-content-length"])
    answer = json.loads(body[:size])
    assert headers["content-type"] == "application/octet-stream"
    assert [output["name"] for output in answer["outputs"]] == ["error", "digit", "probabilities"]
    sizes = [output.get("parameters", {}).get("binary_data_size", 0) for output in answer["outputs"]]
    assert sum(sizes) == len(body) - size
    assert body[size:][: sizes[0]] == b"\0\0\0\0" + b"\x15\0\0\0The picture is blank."
    assert answer["outputs"][1]["data"][1] == -1
    probabilities = np.frombuffer(body[size + sizes[0] :], "<f4").reshape(2, 10)
    assert probabilities.sum(1) == pytest.approx([1, 0], abs=1e-5)
    ((status, refused),) = ask(loaded, {"body": json.dumps(message | {"outputs": [{"name": "logits"}]}).encode()})
    assert (status, "There is no output logits" in refused["error"]) == (400, True)


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


def test_numbers_are_read_in_the_first_protocol_too(
    loaded: Service, mnist_test: tuple[torch.Tensor, torch.Tensor]
) -> None:
    pixels = mnist_test[0][:2, 0].numpy()
    for instances in (pixels.tolist(), (pixels.reshape(2, -1) / 255).tolist(), [{"data": pixels[0].tolist()}]):
        ((status, answer),) = ask(loaded, {"body": json.dumps({"instances": instances}).encode()})
        assert status == 200
        assert [each.get("digit") for each in answer["predictions"]] == mnist_test[1][: len(instances)].tolist()
    assert ask(loaded, {"body": json.dumps(pixels[0].tolist()).encode()})[0][1]["digit"] == int(mnist_test[1][0])


def test_of_a_form_the_file_is_read(loaded: Service) -> None:
    headers: dict[str, Any] = {"picture": {"content-type": "image/png"}, "note": {"content-type": ""}}
    assert ask(loaded, {"picture": GOOD, "note": b"a text"}, headers=headers)[0][1]["digit"] == 3


def test_a_form_may_have_a_field_with_the_name_of_a_header(loaded: Service) -> None:
    name = "Inference-Header-Content-Length"
    headers: dict[str, Any] = {name: {"content-type": "image/png"}}
    assert ask(loaded, {name: b'{"inputs": []}'}, headers=headers)[0][0] == 400


ONE = np.full((1, 28, 28), 7, np.uint8)


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
    ],
)
def test_a_tensor_of_another_kind_is_refused(tensor: dict[str, Any], reason: str, loaded: Service) -> None:
    ((status, answer),) = ask(loaded, {"body": {"inputs": [tensor]}})
    assert status == 400
    assert reason in answer["error"]


EXPLAIN = {"explain": "True"}


def read(engine: Engine, upload: bytes) -> Reading:
    """Return what both nets read in an upload."""
    (reading,) = read_pictures([read_picture(upload)], engine)
    assert isinstance(reading, Reading)
    return reading


def test_an_explanation_has_pixels_their_attribution_and_a_box(loaded: Service, engine: Engine) -> None:
    for digit, path in EXAMPLES.items():
        ((status, answer),) = ask(loaded, {"body": path.read_bytes()}, headers=EXPLAIN)
        assert status == 200
        assert list(answer) == ["digit", "confidence", "certain", "probabilities", "pixels", "saliency", "box"]
        assert answer["digit"] == digit
        pixels, attribution = np.array(answer["pixels"]), np.array(answer["saliency"])
        assert np.array_equal(pixels, read(engine, path.read_bytes()).ink.pixels[0])
        assert attribution.shape == (28, 28)
        assert not attribution[pixels == 0].any()


# A bar 10 to 20 % of the width from the left, 30 to 80 % of the height from the top.
PLACE = np.array([0.1, 0.3, 0.2, 0.8])


@pytest.mark.parametrize(("width", "height"), [(28, 28), (30, 36), (90, 60), (300, 400), (400, 399), (2400, 1801)])
@pytest.mark.parametrize("ink", [0, 255])
def test_the_box_is_where_the_digit_is_in_the_upload(width: int, height: int, ink: int, loaded: Service) -> None:
    page = np.full((height, width), 255 - ink, np.uint8)
    left, top, right, bottom = np.rint(PLACE * (width, height, width, height)).astype(int)
    page[top:bottom, left:right] = ink
    ((status, answer),) = ask(loaded, {"body": png(page)}, headers=EXPLAIN)
    assert status == 200
    # InkNet sees a picture in a square of 160 pixels, and its ink in one of 80.
    assert answer["box"] == pytest.approx([left, top, right, bottom], abs=max(1, 2.5 * max(width, height) / 80))


def test_the_box_is_that_of_the_picture_as_it_is_shown(loaded: Service) -> None:
    page = np.full((300, 400), 255, np.uint8)
    page[90:240, 40:80] = 0
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    # A camera held upright stores the picture lying on its left side.
    Image.fromarray(np.rot90(page)).save(file, "JPEG", exif=turned)
    ((_, answer),) = ask(loaded, {"body": file.getvalue()}, headers=EXPLAIN)
    assert answer["box"] == pytest.approx([40, 90, 80, 240], abs=12)


def turned(method: Image.Transpose | None, orientation: int) -> bytes:
    """Return a shipped 7, its pixels turned, with EXIF's note that it is to be turned."""
    picture = Image.open(EXAMPLES[7])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    (picture.transpose(method) if method is not None else picture).save(file, "PNG", exif=exif)
    return file.getvalue()


def test_a_file_that_lies_about_how_it_is_turned_is_read_as_it_is_stored(loaded: Service) -> None:
    ((_, true),) = ask(loaded, {"body": turned(Image.Transpose.ROTATE_90, 6)})
    assert (true["digit"], true["certain"], "as_stored" in true) == (7, True, False)
    for orientation in (2, 3, 6, 8):
        ((_, lie),) = ask(loaded, {"body": turned(None, orientation)})
        assert (lie["digit"], lie["certain"], lie["as_stored"]) == (7, True, True), orientation


def test_the_mask_is_the_ink_in_the_box(loaded: Service) -> None:
    page = np.full((400, 300), 255, np.uint8)
    page[100:300, 100:140] = 0
    page[260:300, 100:220] = 0
    for wanted in (b"true", "true"):
        ((_, answer),) = ask(loaded, {"body": png(page), "mask": wanted}, headers=EXPLAIN)
        left, top, right, bottom = answer["box"]
        mask = Image.open(io.BytesIO(base64.b64decode(answer["mask"])))
        assert (mask.format, mask.mode) == ("PNG", "L")
        levels = np.asarray(mask.resize((right - left, bottom - top)))
        true = page[top:bottom, left:right] == 0
        assert ((levels > 127) == true).mean() > 0.9


def test_the_mask_is_sent_only_with_an_explanation_and_on_demand(loaded: Service) -> None:
    for row, headers in (({"mask": b"true"}, None), ({"mask": b"no"}, EXPLAIN), ({}, EXPLAIN)):
        ((status, answer),) = ask(loaded, {"body": GOOD} | row, headers=headers)
        assert status == 200
        assert "mask" not in answer


def test_the_attribution_adds_up_to_what_the_ink_adds_to_the_logit(
    loaded: Service, engine: Engine, shipped_net: DigitNet
) -> None:
    pixels = torch.from_numpy(read(engine, GOOD).ink.pixels)
    with torch.inference_mode():
        with_ink, without = shipped_net(torch.stack([pixels, torch.zeros_like(pixels)]))
    added = (with_ink[3] - with_ink.mean()) - (without[3] - without.mean())
    ((_, answer),) = ask(loaded, {"body": GOOD}, headers=EXPLAIN)
    assert np.sum(answer["saliency"]) == pytest.approx(added.item(), rel=0.05)


def test_ink_that_counts_for_the_digit_is_needed_for_it(loaded: Service, shipped_net: DigitNet) -> None:
    ((_, answer),) = ask(loaded, {"body": GOOD}, headers=EXPLAIN)
    pixels, attribution = np.array(answer["pixels"], np.uint8), np.array(answer["saliency"])
    lost = []
    for order in (np.argsort(-attribution, axis=None), np.argsort(attribution, axis=None)):
        rest = pixels.copy().reshape(-1)
        rest[order[: np.count_nonzero(pixels) // 2]] = 0
        with torch.inference_mode():
            whole, half = shipped_net(torch.from_numpy(np.stack([pixels, rest.reshape(28, 28)]))[:, None])
        lost.append(((whole[3] - whole.mean()) - (half[3] - half.mean())).item())
    assert lost[0] > 2 * max(lost[1], 0)
    assert lost[0] > 1


def test_a_picture_that_cannot_be_explained_gets_its_own_400(loaded: Service) -> None:
    answers = ask(loaded, {"body": b"no picture"}, {"body": GOOD}, headers=EXPLAIN)
    assert [status for status, _ in answers] == [400, 200]
    assert "saliency" not in ask(loaded, {"body": GOOD}, headers={"explain": "False"})[0][1]
