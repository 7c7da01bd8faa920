"""scripts/predict reads folders into tables, and continues where it stopped."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet
import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from operate.config import ROOT
from tests.services import EXAMPLES, Service

pytestmark = pytest.mark.server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 203 pictures in sub-folders, three of them bad, and a text file."""
    for digit, path in EXAMPLES.items():
        class_folder = tmp_path / "pictures" / f"of {digit}"
        class_folder.mkdir(parents=True)
        for copy in range(20):
            shutil.copy(path, class_folder / f"{copy:02}{path.suffix}")
    for name in ("bad.png", "of 0/empty.jpg"):
        (tmp_path / "pictures" / name).write_bytes(b"no picture"[: 10 * (name == "bad.png")])
    (tmp_path / "pictures" / "large.png").write_bytes(EXAMPLES[5].read_bytes() + bytes(9_000_000))
    (tmp_path / "pictures" / "notes.txt").write_text("7")
    return tmp_path / "pictures"


def run(service: Service, *arguments: "str | Path") -> "subprocess.CompletedProcess[str]":
    """Run scripts/predict."""
    command = [ROOT / "scripts" / "predict", "--url", service.config.inference, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_folder_becomes_a_table(kind: str, folder: Path, tmp_path: Path, service: Service) -> None:
    output = tmp_path / f"digits.{kind}"
    done = run(service, folder, "--output", output)
    assert done.returncode == 1, "three pictures are bad"
    assert "203 new of 203 files, 3 not read." in done.stderr
    assert "1 file that is no picture was left out.\n" in done.stderr
    rows = rows_of(output)
    assert len({row["file"] for row in rows}) == 203
    for row in rows:
        path = Path(str(row["file"]))
        if path.parent.name.startswith("of ") and path.stem != "empty":
            assert str(row["digit"]) == path.parent.name[3:]
            assert not row["error"]
        else:
            assert str(row["error"]).endswith(".")
    again = run(service, folder, "--output", output)
    assert again.returncode == 0
    assert "0 new of 203 files" in again.stderr
    assert rows_of(output) == rows


def rows_of(path: Path) -> list[dict[str, object]]:
    """Return the rows of a table."""
    if path.suffix == ".parquet":
        rows: list[dict[str, object]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    if path.suffix == ".csv":
        with path.open() as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_interrupted_run_continues(folder: Path, tmp_path: Path, service: Service) -> None:
    output = tmp_path / "digits.csv"
    run(service, folder, "--output", output)
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:51]) + lines[51][:20])
    assert "153 new of 203 files" in run(service, folder, "--output", output).stderr
    assert sorted(output.read_text().splitlines()) == sorted("".join(lines).splitlines())


def test_a_table_of_something_else_is_left_alone(tmp_path: Path, service: Service) -> None:
    output = tmp_path / "digits.jsonl"
    output.write_text("[7]\n")
    done = run(service, EXAMPLES[1], "--output", output)
    assert (done.returncode, done.stderr) == (1, f"{output} holds something else: name another output.\n")
    assert output.read_text() == "[7]\n"


@pytest.mark.parametrize("output", [[], ["--output", "a.csv"]])
def test_without_a_service_a_sentence_says_how_to_start_one(output: list[str], tmp_path: Path) -> None:
    command: list[str | Path] = [ROOT / "scripts" / "predict", "--url", "http://127.0.0.1:9", EXAMPLES[1]]
    command += [tmp_path / word if word == "a.csv" else word for word in output]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "No service answers at http://127.0.0.1:9: start it with scripts/serve." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_digit_is_printed_per_file_and_each_failure(service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    printed = run(service, EXAMPLES[4], bad, tmp_path / "none.png", EXAMPLES[2])
    assert printed.returncode == 1
    assert [line.split(": ")[1][0] for line in printed.stdout.splitlines()] == ["4", "2"]
    assert "bad.png: This is text, not a picture" in printed.stderr
    assert "none.png: No such file" in printed.stderr
    assert run(service, EXAMPLES[4]).returncode == 0


def test_a_folder_from_a_phone_is_read(service: Service, tmp_path: Path) -> None:
    register_heif_opener()
    for digit in (7, 8):
        with Image.open(EXAMPLES[digit]) as picture:
            picture.save(tmp_path / f"IMG_{digit}.HEIC", "HEIF")
    shutil.copy(tmp_path / "IMG_7.HEIC", tmp_path / "IMG_7.jpg")
    done = run(service, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1][0] for line in done.stdout.splitlines()] == ["7", "7", "8"]


def test_no_file_of_a_folder_is_passed_over_in_silence(service: Service, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES[7], tmp_path)
    (tmp_path / "drawing.svg").write_text("<svg/>")
    for name in ("README.md", "labels.csv", "Makefile"):
        (tmp_path / name).write_text("7")
    done = run(service, tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tmp_path}/7.jpg: 7 (")
    assert "3 files that are no pictures were left out.\n" in done.stderr
    assert f"{tmp_path}/drawing.svg: This is an SVG file: export it" in done.stderr


def test_a_folder_without_a_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("7")
    command: list[str | Path] = [ROOT / "scripts" / "predict", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path} holds no picture: name another folder, or the files themselves.\n"
