"""scripts/predict reads folders into tables, and continues where it stopped."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from operate import predict
from operate.config import ROOT
from operate.tables import COLUMNS, open_table
from tests.harness.number import NUMBER, TEXT
from tests.harness.service import EXAMPLES, Service, poll

pytestmark = pytest.mark.server
# Where no service answers.
NOWHERE = "http://127.0.0.1:9"


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


def run(url: str, *arguments: "str | Path") -> "subprocess.CompletedProcess[str]":
    """Run scripts/predict on the service at an address."""
    command = [ROOT / "scripts" / "predict", "--url", url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_folder_becomes_a_table(kind: str, folder: Path, tmp_path: Path, service: Service) -> None:
    output = tmp_path / f"digits.{kind}"
    done = run(service.config.inference, folder, "--output", output)
    assert done.returncode == 1, "three pictures are bad"
    assert "203 new of 203 files, 3 not read." in done.stderr
    assert "Skipped files that are not pictures: 1.\n" in done.stderr
    rows = rows_of(output)
    assert len({row["file"] for row in rows}) == 203
    for row in rows:
        path = Path(str(row["file"]))
        if path.parent.name.startswith("of ") and path.stem != "empty":
            assert str(row["digit"]) == path.parent.name[3:]
            assert not row["error"]
        else:
            assert str(row["error"]).endswith(".")
    again = run(service.config.inference, folder, "--output", output)
    assert again.returncode == 0
    assert "0 new of 203 files" in again.stderr
    assert rows_of(output) == rows


def rows_of(path: Path) -> list[dict[str, object]]:
    """Return the rows of a table."""
    if path.suffix == ".csv":
        with path.open() as stream:
            return list(csv.DictReader(stream))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_interrupted_run_continues(folder: Path, tmp_path: Path, service: Service) -> None:
    output = tmp_path / "digits.csv"
    run(service.config.inference, folder, "--output", output)
    lines = output.read_text().splitlines(keepends=True)
    output.write_text("".join(lines[:51]) + lines[51][:20])
    assert "153 new of 203 files" in run(service.config.inference, folder, "--output", output).stderr
    assert sorted(output.read_text().splitlines()) == sorted("".join(lines).splitlines())


# Names that are not UTF-8, not ASCII, and of more than one line.
NAMES = [b"a\nb.png", b"caf\xe9.png", "été 7.png".encode()]
# UTF-8, ASCII for file names and printing, and ASCII for printing alone.
LOCALES: list[dict[str, str]] = [
    {"LC_ALL": "C.UTF-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
]


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    """A folder of sevens with NAMES."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(EXAMPLES[7], folder / os.fsdecode(name))
    return folder


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_run_continues_in_another_locale_whatever_the_names(
    kind: str, odd_names: Path, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / f"digits.{kind}"
    for new, locale in zip((3, 0), LOCALES if kind == "csv" else reversed(LOCALES), strict=False):
        for name, value in locale.items():
            monkeypatch.setenv(name, value)
        done = run(service.config.inference, odd_names, "--output", output)
        assert f"{new} new of 3 files, 0 not read." in done.stderr
    if kind == "csv":
        assert all(b"/" + name in output.read_bytes() for name in NAMES)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_name_can_be_printed(
    locale: dict[str, str], odd_names: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    command: list[str | Path] = [ROOT / "scripts" / "predict", "--url", service.config.inference, odd_names]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b".png: 7 (") == 3
    if locale == LOCALES[0]:
        assert all(b"/" + name + b": 7 (" in done.stdout for name in NAMES)


def test_a_line_that_was_cut_within_a_name_is_written_again(tmp_path: Path) -> None:
    output = tmp_path / "digits.csv"
    finished = ",".join(COLUMNS) + "\n1.png,1,0.9,True,,,\n"
    output.write_text(f'{finished}"two\nlines')
    with open_table(output) as (known, _):
        assert known == {"1.png"}
    assert output.read_text() == finished


def test_a_picture_is_read_from_a_pipe(tmp_path: Path, service: Service) -> None:
    command: list[str | Path] = [ROOT / "scripts" / "predict", "--url", service.config.inference, "-"]
    done = subprocess.run([*command, EXAMPLES[4]], input=EXAMPLES[7].read_bytes(), capture_output=True, timeout=120)
    assert [line.split(b" (")[0] for line in done.stdout.splitlines()] == [b"-: 7", f"{EXAMPLES[4]}: 4".encode()]
    # It has no name by which it could be known.
    for _ in range(2):
        with EXAMPLES[7].open() as picture:
            command += ["--output", tmp_path / "digits.csv"]
            done = subprocess.run(command, stdin=picture, capture_output=True, timeout=120)
            assert b"1 new of 1 files, 0 not read." in done.stderr


@pytest.mark.parametrize("name", ["predict", "manage", "help"])
def test_a_command_ends_quietly_when_nobody_reads_its_output(
    name: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # argparse ignores what it cannot write at once.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    commands: dict[str, list[str | Path]] = {
        "predict": ["predict", "--url", service.config.inference, *EXAMPLES.values()],
        "manage": ["manage", "--config", service.config.path, "status"],
        "help": ["predict", "--help"],
    }
    script, *options = commands[name]
    reading, writing = os.pipe()
    os.close(reading)
    command: list[str | Path] = [ROOT / "scripts" / script, *options]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_output_that_cannot_be_written_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with Path("/dev/full").open("w") as full:
        command: list[str | Path] = [ROOT / "scripts" / "predict", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (1, "Standard output: No space left on device.\n")


@pytest.mark.parametrize(("kind", "content"), [("jsonl", "[7]\n"), ("csv", "file,digit,error\n1.png,1,\n")])
def test_a_table_of_something_else_is_left_alone(kind: str, content: str, tmp_path: Path) -> None:
    output = tmp_path / f"digits.{kind}"
    output.write_text(content)
    done = run(NOWHERE, EXAMPLES[1], "--output", output)
    assert (done.returncode, done.stderr) == (1, f"{output} holds something else: name another output.\n")
    assert output.read_text() == content


@pytest.mark.parametrize("output", [[], ["--output", "a.csv"]])
def test_without_a_service_a_sentence_says_how_to_start_one(output: list[str], tmp_path: Path) -> None:
    done = run(NOWHERE, EXAMPLES[1], *(tmp_path / word if word == "a.csv" else word for word in output))
    assert done.returncode == 1
    assert f"No service answers at {NOWHERE}: start it with scripts/serve." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_digit_is_printed_per_file_and_each_failure(service: Service, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    printed = run(service.config.inference, EXAMPLES[4], bad, tmp_path / "none.png", EXAMPLES[2])
    assert printed.returncode == 1
    assert [line.split(": ")[1][0] for line in printed.stdout.splitlines()] == ["4", "2"]
    assert "bad.png: This is text, not a picture" in printed.stderr
    assert "none.png: No such file" in printed.stderr
    assert run(service.config.inference, EXAMPLES[4]).returncode == 0


def test_numbers_are_printed_and_written(service: Service, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(NUMBER)
    shutil.copy(EXAMPLES[7], pictures / "b.jpg")
    printed = run(service.config.inference, pictures)
    lines = [line.removeprefix(f"{pictures}/") for line in printed.stdout.splitlines()]
    (number,) = service.client.predict(NUMBER)["numbers"]
    doubt = "" if number["certain"] else ", not certain"
    assert lines[0] == f"a.png: {TEXT} ({number['confidence']:.1%}{doubt})"
    assert lines[1].startswith("b.jpg: 7 (")
    # A file that is alone takes another way.
    asked = (("auto", pictures, [TEXT, ""]), ("digit", pictures / "a.png", [""]), ("numbers", pictures, [TEXT, "7"]))
    for read, path, texts in asked:
        output = tmp_path / f"{read}.csv"
        assert run(service.config.inference, path, "--read", read, "--output", output).returncode == 0
        rows = rows_of(output)
        assert [row["numbers"] for row in rows] == texts
        assert [row["numbers_certain"] in ("True", "False") for row in rows] == [bool(text) for text in texts]
        assert rows[0]["certain"] == "False"


def test_a_folder_from_a_phone_is_read(service: Service, tmp_path: Path) -> None:
    register_heif_opener()
    for digit in (7, 8):
        with Image.open(EXAMPLES[digit]) as picture:
            picture.save(tmp_path / f"IMG_{digit}.HEIC", "HEIF")
    shutil.copy(tmp_path / "IMG_7.HEIC", tmp_path / "IMG_7.jpg")
    done = run(service.config.inference, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1][0] for line in done.stdout.splitlines()] == ["7", "7", "8"]


def test_no_file_of_a_folder_is_passed_over_in_silence(service: Service, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES[7], tmp_path)
    (tmp_path / "drawing.svg").write_text("<svg/>")
    for name in ("README.md", "labels.csv", "Makefile"):
        (tmp_path / name).write_text("7")
    done = run(service.config.inference, tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tmp_path}/7.jpg: 7 (")
    assert "Skipped files that are not pictures: 3.\n" in done.stderr
    assert f"{tmp_path}/drawing.svg: This is an SVG file: export it" in done.stderr


def test_a_folder_without_a_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("7")
    done = run(NOWHERE, tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path} contains no pictures: name another folder, or the files themselves.\n"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A folder of 305 empty pictures: nested, some of equal names, and of names in several alphabets and in none."""
    folder = tmp_path / "names"
    others = [b"\xc3\xa9t\xc3\xa9.png", b"e\xcc\x81te\xcc\x81.png", "七.webp".encode(), b"caf\xe9.jpg", b"a b\n.gif"]
    for name in [f"{sub}{number:02}.png" for sub in ("", "a/", "a/b/") for number in range(100)] + others:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def shares(folder: Path, count: int) -> list[set[Path]]:
    """Return the pictures of each share, relative to the folder."""
    found = [predict.find_pictures([folder], (index, count)) for index in range(count)]
    assert all(share == sorted(share) for share in found)
    return [{path.relative_to(folder) for path in share} for share in found]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_the_shares_are_the_whole_once_each(count: int, names: Path) -> None:
    files = [EXAMPLES[7], names / "none.png"]
    whole = predict.find_pictures([names, *files], (0, 1))
    assert len(whole) == 307
    found = [predict.find_pictures([names, *files], (index, count)) for index in range(count)]
    assert sorted(path for share in found for path in share) == sorted(whole)
    assert max(map(len, found)) < 3 * len(whole) / count + 10


def test_the_shares_stay_when_the_folder_is_moved(names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shares(names, 4)
    moved = names.rename(tmp_path / "elsewhere")
    assert shares(moved, 4) == before
    monkeypatch.chdir(moved)
    assert shares(Path(), 4) == before
    assert shares(Path("../elsewhere/"), 4) == before


def test_a_file_that_is_added_changes_only_its_own_share(names: Path) -> None:
    before = shares(names, 4)
    (names / "a" / "added.png").touch()
    changes = [new ^ old for new, old in zip(shares(names, 4), before, strict=True) if new != old]
    assert changes == [{Path("a/added.png")}]


SHARE = "must be I/N with I from 0 to N-1: 0/8 is the first of 8 shares.\n"
SHARDS = ["8/8", "-1/8", "0/0", "1", "/", "", "a/b", "0/1/2", "0.5/2", " 0/2", "0/-2", "\u0660/\u0662"]
TABLES = ["answers.parquet", "answers", "answers.csv.gz"]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        *((f"--shard={shard}", f"argument --shard: {shard!r} {SHARE}") for shard in SHARDS),
        *((f"--output={name}", f"the table must end in .csv or .jsonl, not {name!r}\n") for name in TABLES),
    ],
)
def test_a_wrong_option_is_refused(
    option: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict", "examples", option])
    with pytest.raises(SystemExit) as ended:
        predict.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(sentence)


def test_three_runs_share_a_folder_and_one_that_was_killed_continues(tmp_path: Path, service: Service) -> None:
    # Large files and long names: many requests, and lines that are soon written.
    pictures = tmp_path / "pictures" / ("long" * 40)
    for digit in (1, 5, 6):
        (pictures / str(digit)).mkdir(parents=True)
        for number in range(200):
            padded = EXAMPLES[digit].read_bytes() + bytes(200_000)
            (pictures / str(digit) / f"{number:03}.png").write_bytes(padded)
    sizes = [len(predict.find_pictures([pictures], (index, 3))) for index in range(3)]
    tables = [tmp_path / f"answers-{index}.csv" for index in range(3)]
    arguments: list[list[str | Path]] = [
        [pictures, "--shard", f"{index}/3", "--output", table] for index, table in enumerate(tables)
    ]

    command: list[str | Path] = [ROOT / "scripts" / "predict", "--url", service.config.inference, *arguments[1]]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    poll(lambda: tables[1].exists() and tables[1].stat().st_size > 0)
    killed.kill()
    killed.wait()
    # Without the head, and the last line, which may be unfinished.
    finished = tables[1].read_bytes().count(b"\n") - 1
    assert 0 < finished < sizes[1]

    for index, new in enumerate((sizes[0], sizes[1] - finished, sizes[2])):
        done = run(service.config.inference, *arguments[index])
        assert done.returncode == 0, done.stderr
        assert f"{tables[index]}: {new} new of {sizes[index]} files, 0 not read." in done.stderr

    rows = [row for table in tables for row in rows_of(table)]
    assert sorted(str(row["file"]) for row in rows) == sorted(map(str, pictures.rglob("*.*")))
    assert all(row["digit"] == Path(str(row["file"])).parent.name for row in rows)


@pytest.mark.parametrize(("kind", "content"), [("csv", ",".join(COLUMNS) + "\n"), ("jsonl", "")])
def test_a_share_without_a_picture_is_an_empty_table(kind: str, content: str, tmp_path: Path, service: Service) -> None:
    empty = next(index for index in range(2) if not predict.find_pictures([EXAMPLES[7]], (index, 2)))
    output = tmp_path / f"answers.{kind}"
    done = run(service.config.inference, EXAMPLES[7], "--shard", f"{empty}/2", "--output", output)
    assert done.returncode == 0
    assert "0 new of 0 files, 0 not read." in done.stderr
    assert output.read_text() == content
