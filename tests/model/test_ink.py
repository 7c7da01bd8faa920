"""InkNet sees a digit's ink on any page, wherever it is, and none where there is none."""

import json

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.engine import INK_SIZES, Engine
from model.geometry import Ink
from model.ink import find_ink
from model.ink_input import MASK_PX, VIEW_PX, make_planes
from model.ink_net import InkNet
from model.record import INK_WEIGHTS
from train.detected import box_of, overlap
from train.export import load
from train.sheets.layout import NOT_ONE_DIGIT
from train.sheets.sheet import Sheet, make_sheet
from train.strokes import Sample
from train.train_ink import VALIDATION_PICTURES, measure


@pytest.fixture(scope="module")
def pages(samples: list[Sample]) -> list[Sheet]:
    """Made-up pages of all kinds."""
    return [make_sheet(samples, np.random.default_rng((1, number))) for number in range(400)]


def find(engine: Engine, *greys: NDArray[np.uint8]) -> list[Ink | None]:
    """Return the ink found in pictures."""
    return find_ink(greys, engine.segment)


def test_the_digit_is_found_on_all_kinds_of_pages(pages: list[Sheet], engine: Engine) -> None:
    written = [page for page in pages if page.digit > NOT_ONE_DIGIT]
    found = find(engine, *(page.grey for page in written))
    right = [ink is not None and overlap(ink.box, box_of(page)) > 0.5 for ink, page in zip(found, written, strict=True)]
    # Some of these pages are too faint, too small or too dark for a person too.
    assert np.mean(right) > 0.75
    for kind in {page.paper for page in written}:
        assert np.mean([each for each, page in zip(right, written, strict=True) if page.paper == kind]) > 0.6, kind


def test_pages_without_writing_are_blank(samples: list[Sample], engine: Engine) -> None:
    pages = [make_sheet(samples, np.random.default_rng((2, number))) for number in range(600)]
    empty = [page for page in pages if not page.ink.any()]
    assert len(empty) > 20
    assert np.mean([ink is None for ink in find(engine, *(page.grey for page in empty))]) > 0.7


def seven(side: int, left: int, top: int, size: int, pen: int) -> NDArray[np.uint8]:
    """Return white paper with a 7 of a size, its strokes of a width in pixels."""
    page = np.full((side, side), 235, np.uint8)
    corners = np.array([[0, 0], [size, 0], [0.35 * size, size]]) + np.array([left, top])
    cv2.polylines(
        page, [np.rint(corners).astype(np.int32)], isClosed=False, color=60, thickness=pen, lineType=cv2.LINE_AA
    )
    return page


@pytest.mark.parametrize(
    ("left", "top", "size", "pen"),
    [(20, 20, 360, 30), (150, 150, 100, 8), (5, 350, 40, 3), (350, 10, 30, 3), (100, 100, 200, 3), (60, 80, 280, 60)],
)
def test_the_box_is_right_wherever_and_however_large_the_digit_is(
    left: int, top: int, size: int, pen: int, engine: Engine
) -> None:
    (ink,) = find(engine, seven(400, left, top, size, pen))
    assert ink is not None
    half = pen / 2
    true = (left - half, top - half, left + size + half, top + size + half)
    assert overlap(ink.box, true) > 0.7


def test_a_small_digit_is_seen_from_near(engine: Engine) -> None:
    (ink,) = find(engine, seven(400, 180, 180, 40, 4))
    assert ink is not None
    # At the first look it would be 8 pixels of the mask.
    assert max(ink.levels.shape) > 40


def test_light_and_polarity_do_not_matter(engine: Engine) -> None:
    page = seven(400, 100, 120, 150, 8).astype(np.float32)
    light = np.linspace(0.25, 1, 400)[None]
    for shaded in (page, page * light, page * light.T, 255 - page, 0.3 * page, 128 + 0.2 * page):
        (ink,) = find(engine, np.rint(shaded).astype(np.uint8))
        assert ink is not None
        assert overlap(ink.box, (100, 120, 250, 270)) > 0.8


def test_pictures_of_a_batch_are_read_as_alone(pages: list[Sheet], engine: Engine) -> None:
    greys = [page.grey for page in pages[: INK_SIZES[0] + 3]]
    for together, grey in zip(find(engine, *greys), greys, strict=True):
        (alone,) = find(engine, grey)
        assert (alone is None) == (together is None)
        if alone and together:
            assert np.abs(alone.pixels.astype(int) - together.pixels).max() < 40


def test_planes_hold_the_picture_in_their_upper_left_corner() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8)
    planes = make_planes(grey)[0]
    assert planes.shape == (2, VIEW_PX, VIEW_PX)
    assert planes[:, :120].any(1).all()
    assert not planes[:, 120:].any()
    assert planes[0, :120].mean() == pytest.approx(0, abs=1e-3)


def test_the_engine_sees_what_the_net_sees(pages: list[Sheet], engine: Engine) -> None:
    planes = np.stack([make_planes(page.grey)[0] for page in pages[:20]])
    with torch.inference_mode():
        exact = torch.sigmoid(load(InkNet(), INK_WEIGHTS)(torch.from_numpy(planes)))[:, 0].numpy()
    quick = engine.segment(planes)
    assert quick.shape == (20, MASK_PX, MASK_PX)
    assert quick.dtype == np.float32
    # Where bfloat16 is used, at the edge of strokes.
    assert np.abs(quick - exact).mean() < 0.005


@pytest.mark.slow
def test_the_shipped_weights_find_as_much_as_their_record_says(samples: list[Sample]) -> None:
    record = json.loads(INK_WEIGHTS.with_suffix(".json").read_text())
    assert measure(load(InkNet(), INK_WEIGHTS), samples, VALIDATION_PICTURES) == pytest.approx(
        record["validation_dice"], abs=0.002
    )
