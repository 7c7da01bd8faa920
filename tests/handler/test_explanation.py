"""An explanation shows the pixels, what each adds to the digit's logit, and where the ink is in the upload."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from ts.service import Service

from evaluate.pictures import png
from handler.tensors import MAX_EXPLAINED
from model.decode import decode
from model.engine import Engine
from model.recognise import Reading, recognise
from tests.handler.worker import GOOD, ask
from tests.harness.service import EXAMPLES

EXPLAIN = {"explain": "True"}


def test_an_explanation_has_pixels_their_attribution_and_a_box(loaded: Service, engine: Engine) -> None:
    for digit, path in EXAMPLES.items():
        ((status, answer),) = ask(loaded, {"body": path.read_bytes()}, headers=EXPLAIN)
        assert status == 200
        assert list(answer) == ["digit", "confidence", "certain", "probabilities", "pixels", "saliency", "box"]
        assert answer["digit"] == digit
        pixels, attribution = np.array(answer["pixels"]), np.array(answer["saliency"])
        (reading,) = recognise([decode(path.read_bytes())], engine)
        assert isinstance(reading, Reading)
        assert np.array_equal(pixels, reading.ink.pixels[0])
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
    ((_, answer),) = ask(loaded, {"body": png(page)}, headers=EXPLAIN | {"mask": "true"})
    left, top, right, bottom = answer["box"]
    mask = Image.open(io.BytesIO(base64.b64decode(answer["mask"])))
    assert (mask.format, mask.mode) == ("PNG", "L")
    levels = np.asarray(mask.resize((right - left, bottom - top)))
    true = page[top:bottom, left:right] == 0
    assert ((levels > 127) == true).mean() > 0.9


def test_a_request_may_ask_for_as_many_explanations_as_an_answer_can_hold(loaded: Service) -> None:
    # All ink: the longest explanation.
    pixels = np.random.default_rng(0).integers(100, 256, (28, 28), np.uint8).tolist()
    ((status, answer),) = ask(loaded, {"body": {"instances": [pixels]}}, headers=EXPLAIN)
    assert status == 200
    # TorchServe's default of max_response_size.
    assert MAX_EXPLAINED * len(json.dumps(answer)) < 6_553_500
    ((status, answer),) = ask(loaded, {"body": {"instances": [pixels] * (MAX_EXPLAINED + 1)}}, headers=EXPLAIN)
    assert (status, answer["error"]) == (
        400,
        f"The request has {MAX_EXPLAINED + 1} pictures: send 1 to {MAX_EXPLAINED}.",
    )


def test_tensors_which_have_no_place_for_explanations_get_none(loaded: Service) -> None:
    tensor = {"name": "pixels", "shape": [1, 28, 28], "datatype": "UINT8", "data": [9] * 784}
    ((status, answer),) = ask(loaded, {"body": {"inputs": [tensor]}}, headers=EXPLAIN)
    assert (status, answer["error"]) == (
        400,
        'Tensors are not explained: send "instances" to /v1/models/MODEL:explain.',
    )


def test_the_mask_is_sent_only_with_an_explanation_and_on_demand(loaded: Service) -> None:
    for headers in ({"mask": "true"}, EXPLAIN | {"mask": "no"}, EXPLAIN):
        ((status, answer),) = ask(loaded, {"body": GOOD}, headers=headers)
        assert status == 200
        assert "mask" not in answer
