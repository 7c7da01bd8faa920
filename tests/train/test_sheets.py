"""Made-up sheets are the same each time, of all kinds, and their ink is where they say."""

import numpy as np
import pytest

from train.sheets.ink import draw_lines
from train.sheets.layout import LIGHTS, NOT_ONE_DIGIT, PAPERS, PENS, UNKNOWN, seen_share
from train.sheets.sheet import RandomSheets, Sheet
from train.strokes import Sample


@pytest.fixture(scope="module")
def sheets(samples: list[Sample]) -> list[Sheet]:
    """Random sheets."""
    return list(map(RandomSheets(samples, 500, seed=3).__getitem__, range(500)))


def test_a_sheet_depends_on_the_seed_and_its_number_alone(samples: list[Sample]) -> None:
    one, same, other = RandomSheets(samples, 9, 1), RandomSheets(samples, 9, 1), RandomSheets(samples, 9, 2)
    for number in (8, 0, 3):
        sheet = one[number]
        assert np.array_equal(sheet.grey, same[number].grey)
        assert np.array_equal(sheet.ink, same[number].ink)
        assert not np.array_equal(sheet.grey, other[number].grey)
    assert not np.array_equal(one[0].grey, one[1].grey)


def test_a_sheet_has_grey_levels_and_as_much_ink(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        assert sheet.grey.dtype == np.uint8
        assert sheet.grey.shape == sheet.ink.shape
        assert sheet.ink.min() >= 0
        assert sheet.ink.max() <= 1
        assert 20 <= min(sheet.grey.shape) <= max(sheet.grey.shape) <= 320


def test_all_kinds_of_paper_pens_light_and_labels_occur(sheets: list[Sheet]) -> None:
    assert {sheet.paper for sheet in sheets} == set(PAPERS)
    assert {sheet.pen for sheet in sheets} == set(PENS)
    assert {sheet.light for sheet in sheets} == set(LIGHTS)
    assert {sheet.digit for sheet in sheets} == {*range(10), NOT_ONE_DIGIT, UNKNOWN}


def test_a_digit_has_ink_and_an_empty_sheet_is_not_one(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        if sheet.digit >= 0:
            assert sheet.ink.max() > 0.5
        if not sheet.ink.any():
            assert sheet.digit == NOT_ONE_DIGIT


def test_ink_differs_from_the_paper_around_it(sheets: list[Sheet]) -> None:
    contrasts = []
    for sheet in sheets:
        if sheet.paper == "drawing" and sheet.ink.max() == 1:
            inside, outside = sheet.grey[sheet.ink > 0.9], sheet.grey[sheet.ink == 0]
            contrasts.append(abs(float(np.median(inside)) - float(np.median(outside))))
    assert len(contrasts) > 50
    assert np.mean(np.array(contrasts) > 25) > 0.8


def test_sheets_are_those_that_the_shipped_weights_were_trained_on(samples: list[Sample]) -> None:
    # Means, because numpy rounds differently on other processors.
    sheets = RandomSheets(samples[:500], 8, seed=0)
    made = [sheets[number] for number in range(8)]
    assert [sheet.digit for sheet in made] == [0, 8, 6, 5, 2, 4, NOT_ONE_DIGIT, 1]
    greys = [172.31, 249.59, 111.39, 127.85, 100.65, 125.09, 4.86, 167.78]
    assert [sheet.grey.mean() for sheet in made] == pytest.approx(greys, abs=0.05)


@pytest.mark.parametrize("width", [1.0, 4.0, 20.0])
def test_strokes_are_as_wide_as_the_pen(width: float) -> None:
    line = np.array([[[20, 50], [80, 50]]], np.float32)
    ink = draw_lines(line, (100, 100), width)
    assert ink.shape == (100, 100)
    assert ink[:, 50].sum() == pytest.approx(width, abs=0.6)
    assert np.argmax(ink[:, 50]) == pytest.approx(50 - width / 2, abs=width / 2 + 1)


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (50, 0.5), (90, 0.1), (200, 0.0)])
def test_lines_off_the_sheet_are_not_seen(shift: int, share: float) -> None:
    x = np.linspace(0, 100, 51)
    points = np.stack([x + shift, np.full_like(x, 50)], 1)
    lines = np.stack([points[:-1], points[1:]], 1).astype(np.float32)
    assert seen_share(lines, (100, 100)) == pytest.approx(share, abs=0.03)
