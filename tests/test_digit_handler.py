"""The handler answers each request of a batch on its own, run by TorchServe's own loader and context."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from archive import build
from conftest import PICTURES
from digit_image import read_picture
from digit_net import DigitNet
from ts.context import RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import TsModelLoader
from ts.service import Service

METRICS = Path(TsModelLoader.load.__globals__["__file__"]).parent / "configs" / "metrics.yaml"
GOOD = PICTURES[3].read_bytes()


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """The model as a worker has it after loading."""
    folder = tmp_path_factory.mktemp("model")
    with zipfile.ZipFile(build(folder)) as mar:
        mar.extractall(folder)
    return TsModelLoader().load(
        "mnist", str(folder), "digit_handler.py", None, 64, None, metrics_cache=MetricsCacheYamlImpl(str(METRICS))
    )


def ask(loaded: Service, *rows: dict[str, Any], headers: dict[str, str] | None = None) -> list[tuple[int, Any]]:
    """Return status and parsed JSON for each request of one batch."""
    loaded.context.request_processor = [RequestProcessor(headers or {}) for _ in rows]
    answers = loaded._entry_point(list(rows), loaded.context)
    assert len(answers) == len(rows)
    for index in range(len(rows)):
        assert loaded.context.get_response_content_type(index) == "application/json"
    return [(loaded.context.get_response_status(index)[0], json.loads(answer)) for index, answer in enumerate(answers)]


def test_an_answer_has_digit_confidence_and_ten_probabilities(loaded: Service) -> None:
    for digit, path in PICTURES.items():
        ((status, answer),) = ask(loaded, {"body": path.read_bytes()})
        assert status == 200
        assert list(answer) == ["digit", "confidence", "certain", "probabilities"]
        assert answer["digit"] == digit == answer["probabilities"].index(max(answer["probabilities"]))
        assert answer["certain"] is True
        assert answer["confidence"] == max(answer["probabilities"])
        assert len(answer["probabilities"]) == 10
        assert sum(answer["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_a_bad_picture_leaves_its_neighbours_alone(loaded: Service) -> None:
    batch = [PICTURES[1].read_bytes(), b"no picture", PICTURES[2].read_bytes(), b"", PICTURES[0].read_bytes()]
    answers = ask(loaded, *({"body": upload} for upload in batch))
    assert [status for status, _ in answers] == [200, 400, 200, 400, 200]
    assert [answer.get("digit") for _, answer in answers] == [1, None, 2, None, 0]
    assert all(answer["error"].endswith(".") for status, answer in answers if status == 400)


def test_a_batch_of_bad_pictures_alone_is_answered(loaded: Service) -> None:
    assert [status for status, _ in ask(loaded, {"body": b"a"}, {"body": b"b"})] == [400, 400]


def test_a_picture_is_read_alike_alone_and_in_a_batch(loaded: Service) -> None:
    rows = [{"body": path.read_bytes()} for path in PICTURES.values()]
    for (_, alone), (_, together) in zip((ask(loaded, row)[0] for row in rows), ask(loaded, *rows), strict=True):
        assert alone["digit"] == together["digit"]
        assert alone["probabilities"] == pytest.approx(together["probabilities"], abs=1e-5)


@pytest.mark.parametrize("row", [{"body": GOOD}, {"body": bytearray(GOOD)}, {"data": GOOD}, {"any näme": GOOD}])
def test_the_field_of_the_picture_may_have_any_name(row: dict[str, Any], loaded: Service) -> None:
    assert ask(loaded, row)[0][1]["digit"] == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "holds no picture"),
        ({"a": GOOD, "b": GOOD}, "2 fields"),
        ({"body": "seven"}, "text or JSON"),
        ({"body": {"instances": []}}, "text or JSON"),
        ({"body": None}, "text or JSON"),
    ],
)
def test_a_request_of_another_kind_is_refused(row: dict[str, Any], reason: str, loaded: Service) -> None:
    ((status, answer),) = ask(loaded, row)
    assert status == 400
    assert reason in answer["error"]


EXPLAIN = {"explain": "True"}


def test_an_explanation_shows_what_the_net_saw_and_which_ink_spoke(loaded: Service) -> None:
    for digit, path in PICTURES.items():
        ((status, answer),) = ask(loaded, {"body": path.read_bytes()}, headers=EXPLAIN)
        assert status == 200
        assert list(answer) == ["digit", "confidence", "certain", "probabilities", "pixels", "saliency"]
        assert answer["digit"] == digit
        pixels, spoke = np.array(answer["pixels"]), np.array(answer["saliency"])
        assert np.array_equal(pixels, read_picture(path.read_bytes())[0])
        assert spoke.shape == (28, 28)
        assert not spoke[pixels == 0].any()


def test_the_saliency_adds_up_to_what_the_ink_adds_to_the_logit(loaded: Service) -> None:
    pixels = torch.from_numpy(read_picture(GOOD))
    with torch.inference_mode():
        with_ink, without = loaded._entry_point.__self__.model(torch.stack([pixels, torch.zeros_like(pixels)]))
    added = (with_ink[3] - with_ink.mean()) - (without[3] - without.mean())
    ((_, answer),) = ask(loaded, {"body": GOOD}, headers=EXPLAIN)
    assert np.sum(answer["saliency"]) == pytest.approx(added.item(), rel=0.05)


def test_ink_that_speaks_for_the_digit_is_needed_for_it(loaded: Service, shipped_net: DigitNet) -> None:
    ((_, answer),) = ask(loaded, {"body": GOOD}, headers=EXPLAIN)
    pixels, spoke = np.array(answer["pixels"], np.uint8), np.array(answer["saliency"])
    lost = []
    for order in (np.argsort(-spoke, axis=None), np.argsort(spoke, axis=None)):
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
