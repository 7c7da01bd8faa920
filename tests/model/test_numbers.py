"""Whole numbers are found digit by digit, in rows as people read them, with a confidence that says what it claims."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from model.decode import Picture, decode
from model.engine import Engine
from model.numbers import (
    CLASSES,
    EMPTY,
    MARK,
    MOST_FOUND,
    Number,
    View,
    count_empty,
    find_peaks,
    find_rows,
    is_suspect,
    judge,
    order,
    overlap,
)
from model.recognise import recognise_numbers

# A digit's height in these views.
HIGH = 40


def make_view(*found: tuple[int, tuple[float, float, float, float]]) -> View:
    """Return what a net that is sure would have found: classes and boxes, digits 0 to 9 and marks."""
    classes = np.eye(CLASSES, dtype=np.float32)[[label for label, _ in found]]
    boxes = np.array([box for _, box in found], np.float32).reshape(-1, 4)
    blank = np.zeros((200, 400), np.uint8)
    return View(classes, boxes, np.zeros((0, 3), np.float32), blank, blank, np.ones(2))


def read_rows(view: View) -> list[str]:
    """Return the texts of the rows of a view."""
    rows = find_rows(view, np.flatnonzero(view.is_digit).tolist())
    return sorted("".join(str(int(view.classes[each].argmax())) for each in row) for row in rows)


def digit(label: int, x: float, y: float = 20, height: float = HIGH) -> tuple[int, tuple[float, float, float, float]]:
    """Return a digit whose box has its left and upper corner at x and y."""
    return label, (x, y, x + 0.6 * height, y + height)


@pytest.mark.parametrize(
    ("others", "rows"),
    [
        ([digit(5, 30)], ["35"]),
        ([digit(5, 20)], ["35"]),
        # Apart by more than a digit is high, or of another size, or on another line.
        ([digit(5, 24 + 1.3 * HIGH)], ["3", "5"]),
        ([digit(5, 30, 20, 0.4 * HIGH)], ["3", "5"]),
        ([digit(5, 30, 20 + 0.8 * HIGH)], ["3", "5"]),
        # A row that slopes by 15 degrees.
        ([digit(each, 36 * each, 20 + 36 * each * 0.268) for each in range(1, 7)], ["3123456"]),
        ([(MARK, (28, 54, 32, 60)), digit(5, 36)], ["35"]),
        ([(MARK, (28, 52, 34, 70)), digit(5, 38)], ["35"]),
        # A slash, a dash, an equals sign's two strokes; a dash at the end.
        ([(MARK, (26, 18, 40, 62)), digit(5, 42)], ["3", "5"]),
        ([(MARK, (26, 38, 44, 42)), digit(5, 46)], ["3", "5"]),
        ([digit(5, 30), (MARK, (58, 38, 76, 42))], ["35"]),
        # A word below.
        ([digit(5, 30), (MARK, (0, 70, 80, 90))], ["35"]),
    ],
)
def test_digits_form_rows_as_people_read_them(
    others: list[tuple[int, tuple[float, float, float, float]]], rows: list[str]
) -> None:
    view = make_view(digit(3, 0), *others)
    assert read_rows(view) == sorted(rows)


@pytest.mark.parametrize(
    ("places", "empty"),
    [
        ([0], [0]),
        ([0, 40, 80], [0, 0, 0]),
        ([0, 40, 120], [0, 0, 1]),
        # As far from the middles of their cells as people write.
        ([5, 95, 150, 195, 390], [0, 1, 0, 0, 3]),
        # Of a lone gap no more is known than how wide cells are at most.
        ([0, 75], [0, 0]),
        ([0, 90], [0, 1]),
    ],
)
def test_empty_cells_are_counted_between_digits(places: list[int], empty: list[int]) -> None:
    assert count_empty(make_view(*(digit(1, x) for x in places)).boxes) == empty


def test_numbers_are_ordered_line_by_line() -> None:
    def at(text: str, x: float, y: float) -> Number:
        return Number(text, 0.5, (x, y, x + 50, y + HIGH), [], {})

    # The right ends of lines are often higher.
    numbers = [at("6", 200, 112), at("1", 0, 10), at("4", 0, 120), at("3", 200, 0), at("2", 100, 6), at("5", 100, 116)]
    assert [each.text for each in order(numbers)] == list("123456")


def test_peaks_become_boxes_and_a_box_is_found_once() -> None:
    maps = np.zeros((CLASSES + 4, 20, 30), np.float32)
    maps[CLASSES:] = 3
    # Two that overlap, one that may be either of two digits, a mark, and one that was nearly missed.
    maps[3, 5, 5], maps[3, 5, 7] = 0.9, 0.5
    maps[4, 5, 15] = maps[9, 5, 15] = 0.2
    maps[MARK, 12, 5] = 0.6
    maps[1, 12, 20] = 0.1
    classes, boxes, rivals = find_peaks(maps)
    assert [each.argmax() for each in classes] == [3, MARK, 4]
    assert boxes[0].tolist() == [4 * side for side in (2.5, 2.5, 8.5, 8.5)]
    assert rivals == pytest.approx(np.array([[82, 50, 0.1]]))


def test_a_view_has_no_more_than_so_many_digits() -> None:
    maps = np.zeros((CLASSES + 4, 80, 80), np.float32)
    maps[CLASSES:] = 0.4
    maps[0, ::2, ::2] = 0.9
    assert len(find_peaks(maps)[0]) == MOST_FOUND


def test_overlap_is_a_share_of_the_union() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    assert overlap(boxes)[0].tolist() == pytest.approx([1, 1 / 3, 0, 0])


@pytest.mark.parametrize(("sign", "level"), [("rim", 1.0), ("unexplained", 0.4)])
def test_a_number_that_may_have_more_digits_is_never_certain(sign: str, level: float) -> None:
    signs = {"rim": 0.0, "unexplained": 0.0, "digits": 0.0}
    number = Number("12", 0.0, (0, 0, 9, 9), [], signs)
    weights = {"bias": 4.0, "digits": 1.0}
    assert judge(number, True, weights).confidence > 0.95
    assert is_suspect(signs | {sign: level})
    assert judge(number._replace(signs=signs | {sign: level}), True, weights).confidence <= 0.5


def write(texts: Sequence[str], mnist_test: tuple[Tensor, Tensor], seed: int, scale: int = 3) -> bytes:
    """Return a PNG with rows of MNIST's test digits, dark on bright."""
    pixels, digits = mnist_test[0][:, 0].numpy(), mnist_test[1].numpy()
    chance = np.random.default_rng(seed)
    page = np.zeros((40 * len(texts) + 20, 24 * max(map(len, texts)) + 40), np.uint8)
    for row, text in enumerate(texts):
        for column, character in enumerate(text):
            if character == EMPTY:
                continue
            chosen = pixels[int(chance.choice(np.flatnonzero(digits == int(character))))]
            part = page[40 * row + 16 :, 24 * column + 18 :][:28, :28]
            np.maximum(part, chosen, out=part)
    return encode(255 - page, scale)


def encode(page: NDArray[np.uint8], scale: int) -> bytes:
    """Return a picture, enlarged, as a PNG."""
    file = io.BytesIO()
    size = scale * page.shape[1], scale * page.shape[0]
    Image.fromarray(page).resize(size, Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def find(upload: bytes, engine: Engine, in_cells: bool = False) -> list[Number]:
    """Return the numbers in a picture file."""
    picture = decode(upload)
    assert isinstance(picture, Picture)
    return recognise_numbers(picture, engine, in_cells)


def test_rows_of_digits_are_read_and_certain_ones_are_right(mnist_test: tuple[Tensor, Tensor], engine: Engine) -> None:
    chance = np.random.default_rng(0)
    right, certain = [], []
    for seed in range(60):
        text = "".join(map(str, chance.integers(0, 10, int(chance.integers(2, 7)))))
        numbers = find(write([text], mnist_test, seed), engine)
        right.append([each.text for each in numbers] == [text])
        certain.append(len(numbers) == 1 and numbers[0].confidence >= 0.9)
    assert np.mean(right) > 0.85
    assert np.mean(certain) > 0.5
    assert sum(is_certain and not is_right for is_right, is_certain in zip(right, certain, strict=True)) <= 1


def test_boxes_lie_around_their_digits_in_pixels_of_the_upload(
    mnist_test: tuple[Tensor, Tensor], engine: Engine
) -> None:
    # Large enough to be reduced before the ink is found, and read in more pixels afterwards.
    for scale in (2, 11):
        (number,) = find(write(["0412"], mnist_test, 1, scale), engine)
        assert number.text == "0412"
        middles = [(each.box[0] + each.box[2]) / 2 / scale for each in number.digits]
        assert middles == pytest.approx([32, 56, 80, 104], abs=5)
        assert number.box[0] == min(each.box[0] for each in number.digits)
        assert number.box[3] == max(each.box[3] for each in number.digits)
        for each in number.digits:
            assert each.ink.pixels.shape == (1, 28, 28)
            assert sum(each.probabilities) == pytest.approx(1, abs=1e-4)
            assert max(each.probabilities) == pytest.approx(each.confidence, abs=1e-5)


def test_a_page_is_read_from_top_to_bottom(mnist_test: tuple[Tensor, Tensor], engine: Engine) -> None:
    texts = ["31415", "926", "0535", "8979", "32", "38462"]
    right = []
    for seed in range(3, 7):
        found = iter(each.text for each in find(write(texts, mnist_test, seed), engine))
        # Each is looked for after the one that was found last.
        right += [text in found for text in texts]
    assert np.mean(right) > 0.8


def test_cells_of_a_form_are_one_number_with_the_empty_ones(mnist_test: tuple[Tensor, Tensor], engine: Engine) -> None:
    right = []
    for seed, text in enumerate(("31_41", "6_2", "0__53", "71", "38462", "8_4_5_9")):
        with Image.open(io.BytesIO(write([text], mnist_test, seed))) as page:
            for cell in range(len(text)):
                left = 3 * (20 + 24 * cell)
                ImageDraw.Draw(page).rectangle((left, 36, left + 72, 144), outline=90, width=2)
            file = io.BytesIO()
            page.save(file, "PNG")
        right.append([each.text for each in find(file.getvalue(), engine, in_cells=True)] == [text])
        assert EMPTY not in "".join(each.text for each in find(file.getvalue(), engine))
    assert np.mean(right) > 0.8


def test_a_digit_at_the_rim_is_doubted(mnist_test: tuple[Tensor, Tensor], engine: Engine) -> None:
    with Image.open(io.BytesIO(write(["1762"], mnist_test, 1))) as whole:
        for left in range(66, 96, 6):
            file = io.BytesIO()
            whole.crop((left, 0, *whole.size)).save(file, "PNG")
            for number in find(file.getvalue(), engine):
                assert number.text == "1762" or (number.text == "762" and number.box[0] > 9) or number.confidence < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_paper_hold_no_certain_numbers(seed: int, engine: Engine) -> None:
    chance = np.random.default_rng(seed)
    noise = chance.integers(0, 256, (150, 300)).astype(np.uint8)
    ruled = np.full((150, 300), 230, np.uint8)
    ruled[:: 20 + seed] = 120
    for page in (noise, ruled):
        assert all(each.confidence < 0.9 for each in find(encode(page, 1), engine))
