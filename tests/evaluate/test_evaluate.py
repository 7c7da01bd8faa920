"""scripts/evaluate counts correctly, reads labelled folders, and writes a report with its figures."""

import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from evaluate.corruptions import CORRUPTIONS, Corruption, make_uploads
from evaluate.evaluate import main
from evaluate.metrics import accuracy_by_share, auroc, calibration_error, wilson
from evaluate.numbers import make_strings
from evaluate.out_of_distribution import make_out_of_distribution
from evaluate.pictures import OUT_OF_DISTRIBUTION, PictureSet, read_folder, without_one_digit
from evaluate.predictions import FoundNumber, Predictions, find_exact, predict_in_process
from evaluate.report import count_certain_numbers, tabulate, tabulate_confusion, tabulate_kept, tabulate_numbers
from evaluate.without_digits import make_without_digits
from operate.command import run
from operate.config import ROOT
from operate.labels import FolderError
from tests.harness.service import EXAMPLES


@pytest.mark.parametrize(
    ("right", "count", "interval"),
    [(8, 10, (0.4902, 0.9433)), (0, 10, (0, 0.2775)), (10, 10, (0.7225, 1)), (9957, 10_000, (0.99422, 0.99680))],
)
def test_the_interval_is_wilsons(right: int, count: int, interval: tuple[float, float]) -> None:
    assert wilson(right, count) == pytest.approx(interval, abs=5e-5)


@pytest.mark.parametrize(
    ("confidences", "right", "error"),
    [
        ([1, 1], [True, True], 0),
        ([1, 1], [True, False], 0.5),
        # |0.9 - 0.5| and |0.3 - 0.5|, half of the answers each.
        ([0.9, 0.9, 0.3, 0.3], [True, False, True, False], 0.3),
        # Both in the bin from 0.8 to 0.867: 0.83 on average, and 0.5 right.
        ([0.81, 0.85], [True, False], 0.33),
    ],
)
def test_the_calibration_error_is_that_of_the_bins(confidences: list[float], right: list[bool], error: float) -> None:
    assert calibration_error(np.array(confidences, float), np.array(right)) == pytest.approx(error)


@pytest.mark.parametrize(
    ("digits", "others", "area"),
    [([0.9], [0.1], 1), ([0.1], [0.9], 0), ([0.5], [0.5], 0.5), ([0.9, 0.8], [0.1, 0.8], 3.5 / 4)],
)
def test_the_auroc_counts_pairs_and_ties_half(digits: list[float], others: list[float], area: float) -> None:
    assert auroc(np.array(digits), np.array(others)) == pytest.approx(area)


def test_a_folder_with_labels_is_split_into_digits_numbers_and_others(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, digit in (("a.jpg", 7), ('"0156", b.png', 1), ("deep/c.bmp", 4), ("d.gif", 3), ("10.gif", 2)):
        (tmp_path / name).write_bytes(EXAMPLES[digit].read_bytes())
    rows = ("7,a.jpg", '0156,"""0156"", b.png"', "4, deep/c.bmp", "A,d.gif", "10,10.gif", "1.5,d.gif", "٣٤,d.gif")
    (tmp_path / "labels.csv").write_text("\n".join(("label,file", *rows)))
    digits, numbers, others = read_folder(tmp_path, None)
    assert digits.digits.tolist() == [7, 4]
    assert digits.uploads == [EXAMPLES[7].read_bytes(), EXAMPLES[4].read_bytes()]
    assert numbers.texts == ["0156", "10"]
    assert numbers.uploads == [EXAMPLES[1].read_bytes(), EXAMPLES[2].read_bytes()]
    assert others.digits.tolist() == [OUT_OF_DISTRIBUTION] * 3
    assert not digits.texts
    assert not others.texts
    assert [len(pictures.uploads) for pictures in read_folder(tmp_path, 1)] == [1, 1, 1]


def test_sub_folders_are_classes_taken_in_turn(tmp_path: Path) -> None:
    for name in ("0", "7", "none"):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.JPG").write_bytes(EXAMPLES[7].read_bytes())
        (tmp_path / name / "Thumbs.db").write_bytes(b"")
    digits, others = read_folder(tmp_path, 3)
    assert digits.digits.tolist() == [0, 7, 0]
    assert len(others.uploads) == 2


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "holds neither labels.csv"),
        (b"", "lists no files"),
        (b"name,digit\na.png,1\n", "needs the columns file and label"),
        (b"file,label\na.png,\n", "line 2: file or label is missing"),
        (b"\xff\xfe\x00", "labels.csv cannot be read"),
    ],
)
def test_a_folder_without_usable_labels_is_refused(labels: bytes | None, reason: str, tmp_path: Path) -> None:
    if labels is not None:
        (tmp_path / "labels.csv").write_bytes(labels)
    with pytest.raises(FolderError, match=reason):
        read_folder(tmp_path, None)


@pytest.mark.parametrize(
    ("corruption", "mildest"),
    list(zip(CORRUPTIONS, (0, 70, 20, 0, 90, 0), strict=True)),
    ids=lambda case: getattr(case, "title", case),
)
def test_the_mildest_corruption_leaves_digits_readable(
    corruption: Corruption, mildest: int, mnist_test: tuple[Tensor, Tensor]
) -> None:
    pixels, digits = mnist_test[0][:10], mnist_test[1][:10]
    assert mildest in corruption.severities
    uploads = make_uploads(corruption, mildest, pixels[:, 0].numpy())
    assert predict_in_process(0.8, uploads, "").digits.tolist() == digits.tolist()


def test_out_of_distribution_pictures_are_the_same_each_time(mnist_test: tuple[Tensor, Tensor]) -> None:
    pixels, digits = mnist_test[0][:50, 0].numpy(), mnist_test[1][:50].numpy()
    once, again = (
        [*make_out_of_distribution(pixels, digits, 3), *make_without_digits(3), make_strings(pixels, digits, 3)]
        for _ in range(2)
    )
    assert [kind.uploads for kind in once] == [kind.uploads for kind in again]
    for kind in once:
        assert not kind.shows_digits
        assert len({Image.open(io.BytesIO(upload)).tobytes() for upload in kind.uploads}) == 3


@pytest.mark.slow
def test_a_quick_look_writes_the_whole_report(tmp_path: Path) -> None:
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "seven.jpg").write_bytes(EXAMPLES[7].read_bytes())
    command: list[str | Path] = [ROOT / "scripts" / "evaluate", tmp_path, "--limit", "6"]
    run = subprocess.run([*command, "--report", tmp_path / "report"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^MNIST test +6 +100.00 ", run.stdout, re.MULTILINE)
    assert re.search(rf"^{tmp_path.name} +1 +0.00 ", run.stdout, re.MULTILINE)
    assert re.search(r"^scribbles +6 .* [01]\.\d{4} +\d+\.\d$", run.stdout, re.MULTILINE)
    assert re.search(r"^strings of MNIST digits +6 +\d+\.\d\d ", run.stdout, re.MULTILINE)
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert re.search(r"^\| MNIST test \| 6 \| 100.00 ", markdown, re.MULTILINE)
    figures = re.findall(r"^!\[.+\]\((.+)\)$", markdown, re.MULTILINE)
    names = "numbers calibration confidence allographs corruptions mistakes-1 mistakes-2"
    assert [Path(figure).stem for figure in figures] == names.split()
    for figure in figures:
        content = (tmp_path / "report" / figure).read_bytes()
        assert Image.open(io.BytesIO(content)).format == "PNG"
        assert len(content) < 60_000


def test_the_confusion_table_counts_answers_but_not_refusals() -> None:
    pictures = PictureSet("three", [b""] * 3, np.array([4, 4, 4]))
    predictions = Predictions(np.array([4, 9, -1]), np.array([0.9, 0.6, 0]), np.array([True, False, False]))
    table = tabulate_confusion((pictures, predictions))
    assert table[0] == ["", *"0123456789"]
    assert table[5] == ["4", *"0000100001"]
    assert sum(int(count) for row in table[1:] for count in row[1:]) == 2


def test_the_accuracy_by_share_is_that_of_the_most_confident() -> None:
    accuracies = accuracy_by_share(np.array([0.2, 0.9, 0.5, 0.7]), np.array([True, True, False, True]))
    assert accuracies.tolist() == pytest.approx([1, 1, 2 / 3, 3 / 4])


def test_the_tables_tell_numbers_from_digits_and_from_neither() -> None:
    sure, doubted = FoundNumber("01", 0.95, True), FoundNumber("56", 0.5, False)
    found = [[sure, sure], [sure, doubted], [], None, [doubted]]
    read = Predictions(
        np.array([0, 1, 2, 7, -1]), np.array([0.3, 0.3, 0.3, 0.99, 0]), np.array([False] * 3 + [True, False]), found
    )
    numbers = without_one_digit("numbers", [b""] * 5, ["0101", "0156", "7", "77", "56"])
    (_, row), (_, kept) = tabulate_numbers([(numbers, read)]), tabulate_kept([(numbers, read)])
    # Exact are the first, the second and the last; certain is the first alone, and the fourth as one digit.
    assert row == ["numbers", "5", "60.00", "23.07 to 88.24", "20.0", "100.00", "20.65 to 100.00", "20.0"]
    assert kept == ["numbers", "100.0", "100.0", "75.0", "75.0", "60.0"]
    others = without_one_digit("none", [b""] * 5)
    digits = PictureSet("MNIST", [b""], np.array([1])), Predictions(np.array([1]), np.array([1.0]), np.array([True]))
    results = [digits, (numbers, read), (others, read)]
    assert [(line[0], line[-1]) for line in tabulate(results)[1:]] == [("MNIST", ""), ("none", "40.0")]
    # A picture that is doubted and not searched is a thumbnail.
    thumbnail = Predictions(np.array([1]), np.array([0.5]), np.array([False]), [None])
    assert count_certain_numbers([*results, (without_one_digit("tiny", [b""]), thumbnail)]) == (2, 5)


def test_strings_are_read_in_process(mnist_test: tuple[Tensor, Tensor]) -> None:
    strings = make_strings(mnist_test[0][:, 0].numpy(), mnist_test[1].numpy(), 20)
    assert {len(text) for text in strings.texts} == {2, 3, 4, 5, 6}
    predictions = predict_in_process(0.9, strings.uploads, "", with_numbers=True)
    assert find_exact((strings, predictions)).mean() >= 0.5
    assert not any(
        certain and numbers for certain, numbers in zip(predictions.certain, predictions.numbers, strict=True)
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["no-such-folder"], "no-such-folder: No such file or directory."),
        (["--limit", "1", "--url", "http://127.0.0.1:9"], "start it with scripts/serve"),
        (["--report", str(ROOT / "pyproject.toml")], "pyproject.toml: File exists."),
    ],
)
def test_what_cannot_be_evaluated_is_reported_in_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda: main(options))
    assert ended.value.code == 1
    assert sentence in capsys.readouterr().err
