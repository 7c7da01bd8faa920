"""Pack the nets, their weights and the handler into model_store/mnist.mar, byte for byte the same each time."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from contextlib import suppress
from pathlib import Path

from packaging.version import InvalidVersion, Version

from model.record import INK_WEIGHTS, NUMBER_WEIGHTS, WEIGHTS, check_record, compute_hash
from operate.command import run
from operate.config import ROOT, OperatorError, read_config

# What TorchServe wants outside the packages, at the archive's root.
AT_ROOT = ("digit_net.py", "digit_handler.py", "model-config.yaml")
LEFT_OUT = ("__pycache__", "*.worse.*", "*.checkpoint", "*.part", *AT_ROOT)
MANIFEST = "MAR-INF/MANIFEST.json"
# TorchServe requires a date; the real one would make every archive different.
CREATED = "01/01/1980 00:00:00"


class ArchiveError(OperatorError):
    """Why there is no archive."""


def build(model_store: Path, model: str) -> Path:
    """Write MODEL.mar into the model store and return its path.

    Raises ArchiveError if the weights are missing or changed, or the store cannot be written.
    """
    for weights, script in ((WEIGHTS, "train"), (INK_WEIGHTS, "train-ink"), (NUMBER_WEIGHTS, "train-numbers")):
        if not weights.is_file():
            raise ArchiveError(f"{weights} is missing: restore it with git checkout, or make it with scripts/{script}.")
        try:
            check_record(weights)
        except RuntimeError as problem:
            sentence = f"{problem} Restore both with git checkout, or make both with scripts/{script} --force."
            raise ArchiveError(sentence) from problem
    command: list[str | Path] = [sys.executable, "-P", "-m", "model_archiver.model_packaging"]
    command += ["--archive-format", "no-archive", "--model-name", model, "--version", str(read_checkout_version())]
    command += ["--model-file", ROOT / "model" / "digit_net.py", "--handler", ROOT / "handler" / "digit_handler.py"]
    # Relative: it takes commas and brackets for lists and patterns.
    command += ["--config-file", ROOT / "handler" / "model-config.yaml", "--extra-files", "packages"]
    archive = model_store / f"{model}.mar"
    try:
        with tempfile.TemporaryDirectory() as scratch:
            # The archiver empties a folder named after the model in the temporary directory: give it its own.
            export, packages = Path(scratch) / "export", Path(scratch) / "packages"
            export.mkdir()
            for room in ("model", "handler"):
                shutil.copytree(ROOT / room, packages / room, ignore=shutil.ignore_patterns(*LEFT_OUT))
            subprocess.run(
                [*command, "--export-path", "export"],
                cwd=scratch,
                env=os.environ | {"TMPDIR": scratch},
                check=True,
                capture_output=True,
                text=True,
            )
            part = archive.with_suffix(".part")
            pack(export / model, part)
            part.replace(archive)
    except subprocess.CalledProcessError as cause:
        raise ArchiveError(f"torch-model-archiver failed: {cause.stderr.strip().splitlines()[-1]}") from cause
    except OSError as cause:
        raise ArchiveError(f"{archive} cannot be written: {cause.strerror or cause}.") from cause
    return archive


def read_checkout_version() -> Version:
    """Return the version that an archive built here gets: that in pyproject.toml, numbered if its weights learned more.

    0.4.0 is 0.4.0.post2 once scripts/train --more has replaced its weights twice.
    """
    version, times = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"], 0
    # build refuses weights without a record.
    with suppress(OSError, ValueError, AttributeError):
        times = json.loads(WEIGHTS.with_suffix(".json").read_text()).get("more", {}).get("times", 0)
    return Version(f"{version}.post{times}" if times else version)


def read_version(archive: Path, model: str) -> Version:
    """Return the version of an archive of the model. Raises ArchiveError for any other file."""
    try:
        with zipfile.ZipFile(archive) as mar:
            if damaged := mar.testzip():
                raise ArchiveError(f"{archive} is damaged: {damaged} cannot be read.")
            described = json.loads(mar.read(MANIFEST))["model"]
        version = Version(described["modelVersion"])
    except OSError as cause:
        raise ArchiveError(f"{archive} cannot be read: {cause.strerror}.") from cause
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as cause:
        if isinstance(cause, InvalidVersion):
            raise ArchiveError(f"{archive} must have a version such as 1.2.0: {cause}.") from cause
        raise ArchiveError(f"{archive} is not a model archive: make one with scripts/archive.") from cause
    if described.get("modelName") != model:
        raise ArchiveError(f"{archive} holds the model {described.get('modelName')}, not {model}.")
    return version


def pack(folder: Path, archive: Path) -> None:
    """Zip the files of a folder in a fixed order, with fixed times and modes, uncompressed so that it loads fast."""
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["createdOn"] = CREATED
    manifest["model"]["serializedFile"] = f"model/{WEIGHTS.name}"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as mar:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            mar.writestr(entry, json.dumps(manifest, indent=2) if name == MANIFEST else file.read_bytes())


def main() -> int:
    """Build the archive, print its size and hash, and return 0. Raises OperatorError."""
    parser = argparse.ArgumentParser(prog="scripts/archive", description=__doc__)
    parser.add_argument("--model-store", type=Path, default=ROOT / "model_store", help="folder to write to")
    options = parser.parse_args()
    archive = build(options.model_store, read_config().model)
    print(f"{archive}: {archive.stat().st_size} bytes, sha256 {compute_hash(archive)}")
    return 0


if __name__ == "__main__":
    run(main)
