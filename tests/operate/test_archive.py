"""The archive holds exactly what serving needs, and is the same from the same inputs."""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from packaging.version import Version

from operate.archive import build, read_version
from operate.config import ROOT
from tests.harness.service import EXAMPLES, clone
from tests.versions import CURRENT, NEXT

READ_A_DIGIT = """
import importlib, json, pathlib, sys
folder, picture = sys.argv[1:]
for file in pathlib.Path(folder).rglob("*.py"):
    name = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    assert module.__file__ == str(file), module.__file__
from ts.context import RequestProcessor
from ts.model_loader import TsModelLoader
service = TsModelLoader().load("mnist", folder, "digit_handler.py", None, 64, None)
service.context.request_processor = [RequestProcessor({})]
upload = pathlib.Path(picture).read_bytes()
print(json.loads(service._entry_point([{"body": upload}], service.context)[0])["digit"])
"""


def test_the_archive_holds_both_packages_and_at_its_root_what_torchserve_wants(built: Path) -> None:
    with zipfile.ZipFile(built) as mar:
        names = set(mar.namelist())
    tracked = subprocess.run(["git", "ls-files", "model", "handler"], cwd=ROOT, capture_output=True, text=True)
    at_root = {"digit_net.py", "digit_handler.py", "model-config.yaml"}
    packaged = {path for path in tracked.stdout.split() if Path(path).name not in at_root}
    assert names == at_root | packaged | {"MAR-INF/MANIFEST.json"}


def test_the_same_inputs_make_the_same_bytes(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What the archiver takes for a list and a pattern.
    scratch = tmp_path / "a, b [c]?"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    assert build(tmp_path, "mnist").read_bytes() == built.read_bytes()


@pytest.mark.slow
def test_everything_loads_from_the_unpacked_archive_alone(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built) as mar:
        mar.extractall(tmp_path)
    # Modules come from the folder that it runs in before those of the checkout.
    command: list[str | Path] = [sys.executable, "-W", "ignore", "-c", READ_A_DIGIT, tmp_path, EXAMPLES[8]]
    reading = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert reading.stdout.splitlines()[-1:] == ["8"], reading.stderr


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    command: list[str | Path] = [ROOT / "scripts" / "archive", "--model-store", tmp_path / "nowhere"]
    archiving = subprocess.run(command, capture_output=True, text=True)
    assert archiving.returncode == 1
    assert archiving.stderr.count("\n") == 1
    assert "No such file or directory" in archiving.stderr


def test_weights_that_learned_more_get_a_version_above(tmp_path: Path) -> None:
    root = tmp_path / "clone"
    clone(root)
    record = root / "model" / "digit_net.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"more": {"times": 2}}))
    for left in ("digit_net.more.checkpoint", "digit_net.worse.onnx"):
        (root / "model" / left).touch()
    archiving = subprocess.run(
        [root / "scripts" / "archive", "--model-store", tmp_path], capture_output=True, text=True
    )
    assert archiving.returncode == 0, archiving.stderr
    version = read_version(tmp_path / "mnist.mar", "mnist")
    assert str(version) == f"{CURRENT}.post2"
    assert Version(CURRENT) < version < Version(NEXT)
    with zipfile.ZipFile(tmp_path / "mnist.mar") as mar:
        assert not [name for name in mar.namelist() if "checkpoint" in name or "worse" in name]
