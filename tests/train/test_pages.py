"""Made-up pages are the same each time, of all kinds, and their ink is where they say."""

import numpy as np
import pytest

from train.hands import Hand, read_held_out_hands
from train.pages import LIGHTS, NOT_ONE_DIGIT, PAPERS, PENS, UNKNOWN, Page, RandomPages, draw_lines, seen_share


@pytest.fixture(scope="module")
def hands() -> list[Hand]:
    """Hands that training never saw."""
    return read_held_out_hands()


@pytest.fixture(scope="module")
def pages(hands: list[Hand]) -> list[Page]:
    """Random pages."""
    return list(map(RandomPages(hands, 500, seed=3).__getitem__, range(500)))


def test_a_page_depends_on_the_seed_and_its_number_alone(hands: list[Hand]) -> None:
    one, same, other = RandomPages(hands, 9, 1), RandomPages(hands, 9, 1), RandomPages(hands, 9, 2)
    for number in (8, 0, 3):
        page = one[number]
        assert np.array_equal(page.grey, same[number].grey)
        assert np.array_equal(page.ink, same[number].ink)
        assert not np.array_equal(page.grey, other[number].grey)
    assert not np.array_equal(one[0].grey, one[1].grey)


def test_a_page_has_grey_levels_and_as_much_ink(pages: list[Page]) -> None:
    for page in pages:
        assert page.grey.dtype == np.uint8
        assert page.grey.shape == page.ink.shape
        assert page.ink.min() >= 0
        assert page.ink.max() <= 1
        assert 20 <= min(page.grey.shape) <= max(page.grey.shape) <= 320


def test_all_kinds_of_paper_pens_light_and_labels_occur(pages: list[Page]) -> None:
    assert {page.paper for page in pages} == set(PAPERS)
    assert {page.pen for page in pages} == set(PENS)
    assert {page.light for page in pages} == set(LIGHTS)
    assert {page.digit for page in pages} == {*range(10), NOT_ONE_DIGIT, UNKNOWN}


def test_a_digit_has_ink_and_an_empty_page_is_not_one(pages: list[Page]) -> None:
    for page in pages:
        if page.digit >= 0:
            assert page.ink.max() > 0.5
        if not page.ink.any():
            assert page.digit == NOT_ONE_DIGIT


def test_ink_differs_from_the_paper_around_it(pages: list[Page]) -> None:
    contrasts = []
    for page in pages:
        if page.paper == "drawing" and page.ink.max() == 1:
            inside, outside = page.grey[page.ink > 0.9], page.grey[page.ink == 0]
            contrasts.append(abs(float(np.median(inside)) - float(np.median(outside))))
    assert len(contrasts) > 50
    assert np.mean(np.array(contrasts) > 25) > 0.8


@pytest.mark.parametrize("width", [1.0, 4.0, 20.0])
def test_strokes_are_as_wide_as_the_pen(width: float) -> None:
    line = np.array([[[20, 50], [80, 50]]], np.float32)
    ink = draw_lines(line, (100, 100), width)
    assert ink.shape == (100, 100)
    assert ink[:, 50].sum() == pytest.approx(width, abs=0.6)
    assert np.argmax(ink[:, 50]) == pytest.approx(50 - width / 2, abs=width / 2 + 1)


@pytest.mark.parametrize(("shift", "share"), [(0, 1.0), (50, 0.5), (90, 0.1), (200, 0.0)])
def test_what_lies_off_the_page_is_not_seen(shift: int, share: float) -> None:
    x = np.linspace(0, 100, 51)
    points = np.stack([x + shift, np.full_like(x, 50)], 1)
    lines = np.stack([points[:-1], points[1:]], 1).astype(np.float32)
    assert seen_share(lines, (100, 100)) == pytest.approx(share, abs=0.03)
