"""scripts/manage run on a service, and archives to deploy."""

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from operate.config import ROOT
from tests.harness.service import Service

HANDLERS = ROOT / "tests" / "server" / "handlers"

# Changes the files of an archive, by their names.
Change = Callable[[dict[str, bytes]], None]


def manage(service: Service, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run scripts/manage on a service."""
    command = [ROOT / "scripts" / "manage", "--config", service.config.path, *words]
    environment = os.environ | {"LOG_LOCATION": str(service.config.path.parent)}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, timeout=180)


def status(service: Service) -> dict[str, Any]:
    """Return the JSON of scripts/manage status."""
    return json.loads(manage(service, "--json", "status").stdout)


def remake(archive: Path, folder: Path, version: str = "", change: Change = lambda _files: None) -> Path:
    """Write an archive with changed files, and perhaps another version, into a folder."""
    with zipfile.ZipFile(archive) as mar:
        files = {name: mar.read(name) for name in mar.namelist()}
    change(files)
    if version:
        manifest = json.loads(files["MAR-INF/MANIFEST.json"])
        manifest["model"]["modelVersion"] = version
        files["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()
    made = folder / "made.mar"
    with zipfile.ZipFile(made, "w") as mar:
        for name, content in files.items():
            mar.writestr(name, content)
    return made


def use_handler(name: str) -> Change:
    """Return a change that has an archive use another handler, which may build on the shipped one."""

    def change(files: dict[str, bytes]) -> None:
        files["handler/digit_handler.py"] = files["digit_handler.py"]
        files["digit_handler.py"] = (HANDLERS / f"{name}.py").read_bytes()

    return change
