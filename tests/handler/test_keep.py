"""Pictures that are doubted or corrected are kept where that is chosen, and nowhere else."""

import base64
import io
import json
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import ts.service
from PIL import ExifTags, Image, ImageDraw

from evaluate.pictures import png
from handler.keep import WAITING, Keeper, prune
from handler.requests import Answer, Request
from model.decode import Picture
from model.errors import BadImage
from model.geometry import Ink
from operate.config import OperatorError
from operate.torchserve import check_keep
from tests.harness.service import EXAMPLES, Service, poll
from tests.server.test_metrics import read_series
from tests.versions import CURRENT

SEVEN = EXAMPLES[7].read_bytes()
ADDRESS = "52 Festive Road"
Keep = Callable[..., tuple[Path, dict[str, Any], Any]]


def draw_x(side: int) -> Image.Image:
    """Return a picture of an X, which is doubted."""
    picture = Image.new("L", (side, side), 235)
    near, far = side // 4, 3 * side // 4
    for ends in ([(near, near), (far, far)], [(near, far), (far, near)]):
        ImageDraw.Draw(picture).line(ends, 30, side // 14)
    return picture


def photograph_x() -> bytes:
    """Return a JPEG of an X on its side, of which it says so, and where and by whom it was taken."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Artist] = ADDRESS
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = ADDRESS.encode()
    with io.BytesIO() as file:
        draw_x(900).crop((0, 0, 900, 700)).save(file, "JPEG", exif=exif, comment=ADDRESS)
        return file.getvalue()


PHOTO, THUMBNAIL = photograph_x(), png(np.asarray(draw_x(36)))
OTHERS = [png(np.asarray(draw_x(side))) for side in (210, 220, 230)]


@pytest.fixture
def folder(keeping: Service) -> Path:
    """Where pictures are kept."""
    return keeping.config.path.parent / "kept"


@pytest.fixture
def keep(keeping: Service, folder: Path) -> Keep:
    """A function that sends a new picture, and returns the one that is kept of it, its description, and the answer."""

    def send(path: str = "/predictions/mnist", **sent: Any) -> tuple[Path, dict[str, Any], Any]:
        before = set(folder.glob("*/*.png"))
        answer = requests.post(keeping.config.inference + path, timeout=30, **sent)
        assert answer.status_code == 200, answer.text
        poll(lambda: len(set(folder.glob("*/*.png")) - before) == 1, 10)
        (picture,) = set(folder.glob("*/*.png")) - before
        return picture, json.loads(picture.with_suffix(".json").read_text()), answer.json()

    return send


@pytest.mark.server
@pytest.mark.parametrize(("upload", "size"), [(PHOTO, (175, 225)), (THUMBNAIL, (28, 28))])
def test_a_doubted_picture_is_kept_and_read_the_same_again(
    upload: bytes, size: tuple[int, int], keep: Keep, keeping: Service, folder: Path
) -> None:
    uncertain = requests.post(keeping.predictions, OTHERS[0], headers={"Keep": "false"}, timeout=30).json()
    assert not any(each["certain"] for each in uncertain["numbers"])
    for other in (SEVEN, b"no picture"):
        requests.post(keeping.predictions, other, timeout=30)
    picture, described, answer = keep(data=upload, headers={"Read": "digit"})
    assert picture.parent == folder / "doubted"
    assert re.fullmatch("[0-9a-f]{16}", picture.stem)
    assert described == answer | {"model": "mnist", "version": CURRENT}
    with Image.open(picture) as image:
        assert (image.size, image.mode, image.info) == (size, "L", {})
    written = picture.stat().st_mtime_ns
    again = requests.post(keeping.predictions, picture.read_bytes(), headers={"Read": "digit"}, timeout=30)
    assert again.json() == answer
    poll(lambda: picture.stat().st_mtime_ns > written, 10)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".png", ".json"}
    assert ADDRESS.encode() in PHOTO
    assert not [path for path in files if b"Festive" in path.read_bytes()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, picture.parent)} == {0o700}
    assert keep(data=upload, headers={"Truth": "none"})[0].parent == folder / "corrected"
    poll(lambda: not any(picture.with_suffix(suffix).exists() for suffix in (".png", ".json")), 10)


IN_JSON = {"b64": base64.b64encode(SEVEN).decode()}
TENSOR = {"name": "pictures", "datatype": "BYTES", "shape": [2], "data": [IN_JSON["b64"]] * 2}
# Each with another truth, as a picture with the same one is kept once.
CORRECTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("/predictions/mnist", {"files": {"picture": SEVEN}, "data": {"truth": "none"}}),
    "0": ("/explanations/mnist", {"files": {"picture": SEVEN}, "data": {"truth": "0", "mask": "true"}}),
    "1": ("/predictions/mnist", {"data": SEVEN, "headers": {"Truth": "1"}}),
    "2": ("/predictions/mnist", {"json": IN_JSON | {"truth": 2}}),
    "3": ("/v1/models/mnist:predict", {"json": {"instances": [IN_JSON, IN_JSON | {"truth": 3}]}}),
    "4": ("/v1/models/mnist:explain", {"json": {"instances": [IN_JSON, IN_JSON | {"truth": "4"}]}}),
    "5": ("/v2/models/mnist/infer", {"json": {"inputs": [TENSOR], "parameters": {"truth": [None, 5]}}}),
}


@pytest.mark.server
@pytest.mark.parametrize("truth", CORRECTIONS)
def test_a_corrected_picture_is_kept_apart_with_its_truth(truth: str, keep: Keep, folder: Path) -> None:
    path, sent = CORRECTIONS[truth]
    picture, described, answer = keep(path, **sent)
    assert picture.parent == folder / "corrected"
    assert (described.pop("truth"), described.pop("model"), described.pop("version")) == (truth, "mnist", CURRENT)
    assert (described["digit"], described["certain"]) == (7, True)
    assert list(described) == ["digit", "confidence", "certain", "probabilities"]
    assert "truth" not in json.dumps(answer)


@pytest.mark.server
def test_a_disk_that_cannot_be_written_is_one_warning_and_counted(keep: Keep, keeping: Service, folder: Path) -> None:
    failed = f'digit_not_kept_total{{reason="failed",model="mnist",version="{CURRENT}"}}'
    log = keeping.config.path.parent / "model.log"
    keep(data=OTHERS[1])
    (folder / "doubted").rename(folder / "away")
    (folder / "doubted").touch()
    for _ in range(6):
        assert requests.post(keeping.predictions, PHOTO, timeout=30).status_code == 200
    poll(lambda: read_series(keeping).get(failed) == 6, 10)
    # Each worker says so.
    assert 1 <= log.read_text().count("Pictures cannot be kept until this is mended: [Errno 17] File exists") <= 2
    (folder / "doubted").unlink()
    (folder / "away").rename(folder / "doubted")
    keep(data=OTHERS[2])
    kept = f'digit_kept_total{{folder="doubted",model="mnist",version="{CURRENT}"}}'
    poll(lambda: read_series(keeping).get(kept, 0) >= len(list(folder.glob("doubted/*.png"))), 10)


@pytest.mark.server
def test_without_that_choice_nothing_is_written(service: Service) -> None:
    scratch = next(word for word in service.java.cmdline() if "java.io.tmpdir" in word).split("=")[1]

    def list_files() -> set[Path]:
        folders = service.config.path.parent, Path(scratch)
        return {path for folder in folders for path in folder.rglob("*")}

    def count() -> float:
        answers = "digit_answers_total", 'certain="false"'
        return sum(value for name, value in read_series(service).items() if all(part in name for part in answers))

    before, doubted = list_files(), count()
    for sent in ({"data": PHOTO}, {"data": THUMBNAIL}, {"data": PHOTO, "headers": {"Truth": "none"}}):
        assert requests.post(service.predictions, timeout=30, **sent).json()["certain"] is False
    poll(lambda: count() >= doubted + 3, 10)
    assert list_files() <= before
    assert not [name for name in read_series(service) if "kept_total{" in name]
    for worker in service.workers:
        assert not worker.environ()["KEEP_FOLDER"]


@pytest.mark.server
def test_the_page_is_informed(service: Service, keeping: Service) -> None:
    for each, keeps in ((service, False), (keeping, True)):
        assert requests.get(each.config.page + "/config.json", timeout=30).json()["keeps"] is keeps
    assert f"in {keeping.config.path.parent / 'kept'}\n" in keeping.output


def test_what_comes_too_fast_is_dropped_and_counted_and_the_rest_is_written(
    loaded: ts.service.Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tally = loaded._entry_point.__self__.tally
    assert loaded._entry_point.__self__.keeper is None
    keeper = Keeper(tmp_path, tally)
    answer: Answer = {"digit": 4, "confidence": 0.2, "certain": False, "probabilities": []}
    certain, number = answer | {"certain": True}, answer | {"numbers": [{"certain": False}, {"certain": True}]}
    answers: list[Answer | BadImage] = [*[answer] * 100, certain, number, BadImage("No.")]
    pictures: list[Picture | Ink | BadImage] = [
        Picture(np.full((300, 300), level, np.uint8), 1, 1, b"") for level in range(len(answers))
    ]
    begun = time.monotonic()
    keeper.add(Request(pictures), answers)
    assert time.monotonic() - begun < 1
    keeper.finish()
    tally.print()
    written = len(list(tmp_path.glob("doubted/*.png")))
    assert WAITING <= written < 100
    # The worker's own thread may have printed a part already.
    counts: Counter[tuple[str, str]] = Counter()
    for name, number, label in re.findall(
        r"digit_(kept|not_kept)_total\.pictures:([\d.]+)\|#(?:folder|reason):(\w+)", caplog.text
    ):
        counts[name, label] += int(float(number))
    assert counts == {("not_kept", "busy"): 100 - written, ("kept", "doubted"): written}


@pytest.mark.parametrize(
    ("most_pictures", "most_bytes", "left"), [(9, 900, "0123456"), (3, 900, "456"), (9, 220, "56"), (0, 900, "")]
)
def test_the_oldest_go_first(most_pictures: int, most_bytes: int, left: str, tmp_path: Path) -> None:
    others = {"labels.csv", "0000000000000000.txt", "photo.png"}
    for name in others:
        (tmp_path / name).write_bytes(bytes(1000))
    # 0 is what a worker that was killed has left.
    for number, suffixes in enumerate([".json.77 .png.77", *[".png .json"] * 6]):
        for suffix in suffixes.split():
            file = tmp_path / f"{number:016x}{suffix}"
            file.write_bytes(bytes(100 if "png" in suffix else 10))
            os.utime(file, (number, number))
    prune(tmp_path, most_pictures, most_bytes)
    kept = {path.name for path in tmp_path.iterdir()} - others
    assert {name[15] for name in kept} == set(left)
    assert len(kept) == 2 * len(left)
    assert others <= {path.name for path in tmp_path.iterdir()}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0o500)
    refused = ["file", "file/kept"] + ["closed", "closed/kept"] * (os.geteuid() != 0)
    for name in refused:
        sentence = rf"^{tmp_path / name} cannot be written \(.*\): keep pictures in another folder, or none\.$"
        with pytest.raises(OperatorError, match=sentence):
            check_keep(tmp_path / name)
    check_keep(tmp_path / "new" / "kept")
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "kept"]
    assert not list((tmp_path / "new" / "kept").iterdir())
