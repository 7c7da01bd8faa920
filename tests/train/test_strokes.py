"""Digits become lines along which they can be redrawn."""

import cv2
import numpy as np
import pytest

from train.strokes import Lines, Sample, join, read_pen_strokes, read_semeion, trace


def shape_of(lines: Lines) -> tuple[float, float, float, float]:
    """Return the left, top, right and bottom end of lines."""
    low, high = lines.reshape(-1, 2).min(0), lines.reshape(-1, 2).max(0)
    return (*low.tolist(), *high.tolist())


def draw(corners: list[tuple[int, int]], thickness: int) -> Sample:
    """Return the lines along a polygon drawn on 28x28."""
    picture = np.zeros((28, 28), np.uint8)
    cv2.polylines(picture, [np.array(corners, np.int32)], False, 255, thickness)
    (sample,) = trace(picture[None], np.array([4]))
    return sample


@pytest.mark.parametrize("thickness", [2, 3, 5])
def test_lines_follow_the_middle_of_strokes(thickness: int) -> None:
    sample = draw([(6, 4), (6, 23), (15, 23)], thickness)
    assert sample.digit == 4
    left, top, right, bottom = shape_of(sample.lines)
    assert (top, bottom) == pytest.approx((-0.5, 0.5), abs=1e-5)
    assert right == pytest.approx(-left)
    assert right - left == pytest.approx(9 / 19, abs=0.12)
    # Every point lies on one of the two strokes.
    x, y = sample.lines.reshape(-1, 2).T
    assert (np.minimum(np.abs(x - left), np.abs(y - bottom)) < 0.1).all()
    length = np.linalg.norm(sample.lines[:, 0] - sample.lines[:, 1], axis=1).sum()
    assert length == pytest.approx((19 + 9) / 19, rel=0.15)


def test_strokes_keep_their_proportions_and_gaps() -> None:
    lines = join([[[0, 0], [500, 0]], [[0, 1000], [250, 1000]], [[100, 500]]])
    assert shape_of(lines) == pytest.approx((-0.25, -0.5, 0.25, 0.5))
    assert len(lines) == 3
    assert np.array_equal(lines[2, 0], lines[2, 1])


def test_the_pen_strokes_are_those_that_their_readme_describes() -> None:
    samples = read_pen_strokes()
    assert len(samples) == 13_648
    assert len({sample.writer for sample in samples}) == 470
    assert {sample.digit for sample in samples} == set(range(10))
    for sample in samples:
        left, top, right, bottom = shape_of(sample.lines)
        assert max(right - left, bottom - top) == pytest.approx(1, abs=1e-4)


def test_semeions_digits_are_narrowed_along_their_skeletons() -> None:
    samples = read_semeion()
    assert len(samples) == 8_000
    assert {sample.writer for sample in samples} == {f"semeion/{block}" for block in range(4)}
    shapes = np.array([shape_of(sample.lines) for sample in samples if sample.digit == 0])
    widths = (shapes[:, 2] - shapes[:, 0]).reshape(-1, 10).mean(0)
    assert widths[[0, -1]] == pytest.approx([0.45, 0.9], abs=0.05)
