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
from evaluate.metrics import auroc, calibration_error, wilson
from evaluate.out_of_distribution import make_out_of_distribution
from evaluate.pictures import OUT_OF_DISTRIBUTION, PictureSet, read_folder
from evaluate.predictions import Predictions, predict_in_process
from evaluate.report import tabulate_confusion
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


def test_a_folder_with_labels_is_split_into_digits_and_others(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, digit in (("a.jpg", 7), ("b.png", 1), ("deep/c.bmp", 4), ("d.gif", 3)):
        (tmp_path / name).write_bytes(EXAMPLES[digit].read_bytes())
    (tmp_path / "labels.csv").write_text("label,file\n7,a.jpg\n12,b.png\n4, deep/c.bmp\nA,d.gif\n")
    digits, others = read_folder(tmp_path, None)
    assert digits.digits.tolist() == [7, 4]
    assert digits.uploads == [EXAMPLES[7].read_bytes(), EXAMPLES[4].read_bytes()]
    assert others.digits.tolist() == [OUT_OF_DISTRIBUTION] * 2
    assert [len(pictures.uploads) for pictures in read_folder(tmp_path, 1)] == [1, 1]


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
    pixels = mnist_test[0][:50, 0].numpy()
    once, again = make_out_of_distribution(pixels, 3), make_out_of_distribution(pixels, 3)
    assert [kind.uploads for kind in once] == [kind.uploads for kind in again]
    for kind in once:
        assert not kind.shows_digits
        assert len({Image.open(io.BytesIO(upload)).tobytes() for upload in kind.uploads}) == 3


@pytest.mark.slow
def test_a_quick_look_writes_the_whole_report(tmp_path: Path) -> None:
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "seven.jpg").write_bytes(EXAMPLES[7].read_bytes())
    command: list[str | Path] = [ROOT / "scripts" / "evaluate", tmp_path, "--limit", "12"]
    run = subprocess.run([*command, "--report", tmp_path / "report"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^MNIST test +12 +100.00 ", run.stdout, re.MULTILINE)
    assert re.search(rf"^{tmp_path.name} +1 +0.00 ", run.stdout, re.MULTILINE)
    assert re.search(r"^scribbles +12 .* [01]\.\d{4}$", run.stdout, re.MULTILINE)
    markdown = (tmp_path / "report" / "report.md").read_text()
    assert re.search(r"^\| MNIST test \| 12 \| 100.00 ", markdown, re.MULTILINE)
    figures = re.findall(r"^!\[.+\]\((.+)\)$", markdown, re.MULTILINE)
    names = "calibration confidence allographs corruptions mistakes-1 mistakes-2"
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
