"""scripts/manage shows, scales, deploys and takes back, and no request is lost by it."""

import io
import json
import os
import re
import signal
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import torch

from operate.archive import build
from operate.config import ROOT
from tests.load import load
from tests.services import EXAMPLES, Service, poll, start, stop, write_config

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def own(start_service: Callable[[], Service]) -> Iterator[Service]:
    """A service that these tests may change."""
    running = start_service()
    yield running
    stop(running)


def run(service: Service, *words: object) -> "subprocess.CompletedProcess[str]":
    """Run scripts/manage on a service."""
    command = [ROOT / "scripts" / "manage", "--config", service.config.path, *words]
    environment = os.environ | {"LOG_LOCATION": str(service.config.path.parent)}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, timeout=180)


def status(service: Service) -> dict[str, Any]:
    """Return what scripts/manage status says as JSON."""
    return json.loads(run(service, "--json", "status").stdout)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as the repository makes it."""
    return build(tmp_path_factory.mktemp("built"), "mnist")


def remake(archive: Path, folder: Path, change: Callable[[dict[str, bytes]], None], version: str = "") -> Path:
    """Write an archive with other files, and perhaps another version, into a folder."""
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


def keep(_files: dict[str, bytes]) -> None:
    """Change nothing."""


def test_status_shows_versions_workers_and_a_real_reading(own: Service) -> None:
    shown = run(own, "status")
    assert shown.returncode == 0
    assert re.search(r"^0\.1\.0 +yes +2 +2 +4 +0 +1064$", shown.stdout, re.MULTILINE)
    assert "Ready: a shipped picture was read right in" in shown.stdout
    found = json.loads(run(own, "--json", "status").stdout)
    (version,) = found["versions"]
    assert found["ready"]
    for worker in version["workers"]:
        assert "model_service_worker" in " ".join(psutil.Process(worker["pid"]).cmdline())
        assert 100 < worker["memory_mb"] < 2000


def test_status_of_no_service_is_one_sentence(tmp_path: Path) -> None:
    command = [str(ROOT / "scripts" / "manage"), "--config", str(write_config(tmp_path)), "status"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 1
    assert "start it with scripts/serve" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_scaling_waits_until_the_workers_are_ready(own: Service) -> None:
    for count in (3, 1, 2):
        assert run(own, "scale", "--min", count, "--wait").returncode == 0
        (version,) = status(own)["versions"]
        assert [worker["status"] for worker in version["workers"]] == ["READY"] * count


@pytest.mark.parametrize("words", [("--min", 0), ("--min", 3, "--max", 2), ("--min", 10_000)])
def test_workers_that_are_not_possible_are_refused(words: tuple[object, ...], own: Service) -> None:
    refused = run(own, "scale", *words)
    assert refused.returncode == 1
    assert "are not possible" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_no_request_is_lost_while_workers_and_versions_change(own: Service, built: Path, tmp_path: Path) -> None:
    newer = remake(built, tmp_path, keep, "0.2.0")
    with load(own.predictions) as counts:
        poll(lambda: counts["right"] > 100)
        for words in (
            ("scale", "--min", 3, "--wait"),
            ("scale", "--min", 1, "--wait"),
            ("scale", "--min", 2, "--wait"),
            ("deploy", newer),
            ("rollback",),
        ):
            before = counts["right"]
            done = run(own, *words)
            assert done.returncode == 0, done.stderr
            assert counts["right"] > before
    assert set(counts) == {"right"}, counts
    assert status(own)["default"] == "0.1.0"
    assert run(own, "undeploy", "0.2.0").returncode == 0
    assert status(own)["archives"] == []


def has_grown(counts: Counter[str], right: int) -> bool:
    """Tell whether so many answers were right."""
    return counts["right"] >= right


@pytest.mark.slow
def test_a_killed_worker_loses_no_request(own: Service) -> None:
    with load(own.predictions) as counts:
        for _ in range(2):
            poll(partial(has_grown, counts, counts["right"] + 200))
            (version,) = status(own)["versions"]
            psutil.Process(version["workers"][0]["pid"]).kill()
            poll(lambda: [each["ready_workers"] for each in status(own)["versions"]] == [2])
    assert set(counts) == {"right"}, counts


def die_of_poison(files: dict[str, bytes]) -> None:
    """Let one kind of upload kill the worker."""
    name = "digit_requests.py"
    line = b"        upload = upload_of(row)\n"
    files[name] = files[name].replace(
        line, line + b'        if upload == b"poison":\n            __import__("os")._exit(1)\n'
    )


@pytest.mark.slow
def test_a_request_that_kills_workers_fails_alone(own: Service, built: Path, tmp_path: Path) -> None:
    assert run(own, "deploy", remake(built, tmp_path, die_of_poison, "0.2.0")).returncode == 0
    with load(own.predictions) as counts:
        poll(partial(has_grown, counts, 200))
        poisoned = requests.post(own.predictions, data=b"poison", timeout=60)
        poll(partial(has_grown, counts, counts["right"] + 200))
    assert poisoned.status_code == 500
    assert poisoned.json()["message"] == "Worker died."
    assert set(counts) == {"right"}, counts
    assert run(own, "rollback").returncode == 0
    assert run(own, "undeploy", "0.2.0").returncode == 0


def empty_weights(files: dict[str, bytes]) -> None:
    """Let the net know nothing."""
    weights = torch.load(io.BytesIO(files["digit_net.pt"]))
    content = io.BytesIO()
    torch.save({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, content)
    files["digit_net.pt"] = content.getvalue()


def cut_weights(files: dict[str, bytes]) -> None:
    """Lose the end of the weights."""
    files["digit_net.pt"] = files["digit_net.pt"][:1_000_000]


def break_handler(files: dict[str, bytes]) -> None:
    """Let every batch fail."""
    files["digit_handler.py"] = files["digit_handler.py"].replace(
        b"        self.context = context\n", b"        1 / 0\n"
    )


def rename_model(files: dict[str, bytes]) -> None:
    """Make it another model's archive."""
    files["MAR-INF/MANIFEST.json"] = files["MAR-INF/MANIFEST.json"].replace(b'"mnist"', b'"cats"')


@pytest.mark.parametrize(
    ("change", "version", "sentence"),
    [
        (empty_weights, "0.2.0", "1.png was read as 0"),
        (cut_weights, "0.2.0", "does not load: RuntimeError: PytorchStreamReader failed reading zip archive"),
        (break_handler, "0.2.0", "Prediction failed"),
        (rename_model, "0.2.0", "holds the model cats, not mnist"),
        (keep, "", "Version 0.1.0 is already there"),
        (keep, "newest", "must have a version such as 1.2.0"),
    ],
)
@pytest.mark.slow
def test_an_archive_that_does_not_work_leaves_the_old_one_serving(
    change: Callable[[dict[str, bytes]], None], version: str, sentence: str, own: Service, built: Path, tmp_path: Path
) -> None:
    bad = remake(built, tmp_path, change, version)
    store = own.config.path.parent
    with load(own.predictions, clients=2) as counts:
        refused = run(own, "deploy", bad)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert set(counts) == {"right"}, counts
    found = status(own)
    assert found["ready"]
    assert [each["version"] for each in found["versions"]] == ["0.1.0"]
    assert [file.name for file in store.glob("*.mar")] == ["mnist.mar"]


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_file_that_is_no_archive_is_one_sentence(content: bytes | None, own: Service, tmp_path: Path) -> None:
    file = tmp_path / "file.mar"
    if content is not None:
        file.write_bytes(content)
    refused = run(own, "deploy", file)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert str(file) in refused.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("rollback",), "no other version"),
        (("undeploy", "0.1.0"), "serves"),
        (("undeploy", "9"), "no version 9"),
    ],
)
def test_what_cannot_be_taken_back_is_one_sentence(words: tuple[str, ...], sentence: str, own: Service) -> None:
    refused = run(own, *words)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_deploy_that_is_broken_off_is_taken_back(own: Service, built: Path, tmp_path: Path) -> None:
    newer = remake(built, tmp_path, keep, "0.2.0")
    command = [str(ROOT / "scripts" / "manage"), "--config", str(own.config.path), "deploy", str(newer)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as broken:
        assert broken.stderr
        assert "registered" in broken.stderr.readline()
        assert "under way" in run(own, "deploy", newer).stderr
        broken.send_signal(signal.SIGTERM)
        assert broken.wait(60) == 1
    assert [each["version"] for each in status(own)["versions"]] == ["0.1.0"]


@pytest.mark.slow
def test_what_was_deployed_serves_again_after_a_restart_and_with_tokens(built: Path, tmp_path: Path) -> None:
    newer = remake(built, tmp_path, keep, "0.2.0")
    folder = tmp_path / "service"
    folder.mkdir()
    first = start(folder)
    assert run(first, "deploy", newer).returncode == 0
    stop(first)
    config = first.config.path.read_text().replace("disable_token_authorization=true", "token_expiration_min=0.05")
    first.config.path.write_text(config)
    second = start(folder, first.config.path)
    refused = requests.post(second.predictions, data=EXAMPLES[7].read_bytes(), timeout=30)
    assert refused.status_code == 400
    key_file = folder / "key_file.json"
    assert key_file.stat().st_mode & 0o777 == 0o600
    keys = json.loads(key_file.read_text())
    assert status(second)["default"] == "0.2.0"
    # Three seconds later both keys have expired.
    poll(lambda: time.time() - key_file.stat().st_mtime > 3.5)
    assert run(second, "scale", "--min", 1, "--wait").returncode == 0
    assert json.loads(key_file.read_text())["management"] != keys["management"]
    assert run(second, "rollback").returncode == 0
    assert status(second)["default"] == "0.1.0"
    stop(second)
