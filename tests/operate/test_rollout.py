"""scripts/manage deploys versions and takes them back; no request is lost, and a failed change is undone."""

import hashlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import onnx
import pytest
import requests

from operate.archive import build
from operate.config import ROOT
from operate.readiness import find_last_error
from tests.harness.load import PAUSE_S, load
from tests.harness.management import manage, remake, status, use_handler
from tests.harness.service import EXAMPLES, Service, poll, start, stop
from tests.versions import CURRENT, NEXT

pytestmark = pytest.mark.server


@pytest.mark.slow
def test_no_request_is_lost_while_workers_and_versions_change(own: Service, built: Path, tmp_path: Path) -> None:
    newer = remake(built, tmp_path, NEXT)
    with load(own.predictions, pause_s=PAUSE_S) as counts:
        poll(lambda: counts["right"] > 100)
        scaling = (("scale", "--min", count, "--wait") for count in (3, 1, 2))
        for words in (*scaling, ("deploy", newer), ("rollback",)):
            before = counts["right"]
            done = manage(own, *words)
            assert done.returncode == 0, done.stderr
            assert counts["right"] > before
    assert set(counts) == {"right"}, counts
    assert status(own)["default"] == CURRENT
    assert manage(own, "undeploy", NEXT).returncode == 0
    assert status(own)["archives"] == []


def empty_weights(files: dict[str, bytes]) -> None:
    """Set the weights of the last layer to 0, and record them."""
    net = onnx.load_from_string(files["model/digit_net.onnx"])
    for part in net.graph.initializer:
        if part.name.startswith("0.fc2"):
            part.raw_data = bytes(len(part.raw_data))
    files["model/digit_net.onnx"] = net.SerializeToString()
    files["model/digit_net.json"] = json.dumps(
        {"sha256": hashlib.sha256(files["model/digit_net.onnx"]).hexdigest()}
    ).encode()


def cut_weights(files: dict[str, bytes]) -> None:
    """Cut off the end of the weights."""
    files["model/digit_net.onnx"] = files["model/digit_net.onnx"][:1_000_000]


@pytest.mark.parametrize(("begun_ms", "reason"), [(700, "ValueError: No."), (701, "see {file}.")])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_reason_is_one_logged_since_the_wait_began(
    form: str, begun_ms: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LOCATION", str(tmp_path))
    file = tmp_path / "model.log"
    logged = datetime(2026, 1, 31, 12, 0, 0, 700_000)
    lines = ["2026-01-31T12:00:00,700 [INFO ] W-9000-stdout MODEL_LOG - ValueError: No."]
    if form == "json":
        lines = [json.dumps({"time": logged.astimezone(UTC).isoformat(), "message": "ValueError: No."})]
    file.write_text("\n".join(['time":"cut off', *lines, ""]))
    assert find_last_error(logged.replace(microsecond=1000 * begun_ms)) == reason.format(file=file)


BROKEN: dict[str, Callable[[Path, Path], Path]] = {
    "1.png was read as 0": lambda built, folder: remake(built, folder, NEXT, empty_weights),
    "does not load: RuntimeError: digit_net.onnx is not the file that digit_net.json": (
        lambda built, folder: remake(built, folder, NEXT, cut_weights)
    ),
    "Prediction failed (request_id=": lambda built, folder: remake(built, folder, NEXT, use_handler("broken")),
    "holds the model cats, not mnist": lambda _built, folder: build(folder, "cats"),
    f"Version {CURRENT} is already registered": lambda built, _folder: built,
    "must have a version such as 1.2.0": lambda built, folder: remake(built, folder, "newest"),
}


@pytest.mark.parametrize("sentence", BROKEN)
@pytest.mark.slow
def test_a_broken_archive_leaves_the_old_version_serving(
    sentence: str, own: Service, built: Path, tmp_path: Path
) -> None:
    bad = BROKEN[sentence](built, tmp_path)
    store = own.config.path.parent
    with load(own.predictions, clients=2, pause_s=PAUSE_S) as counts:
        refused = manage(own, "deploy", bad)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert set(counts) == {"right"}, counts
    found = status(own)
    assert found["ready"]
    assert [each["version"] for each in found["versions"]] == [CURRENT]
    assert [file.name for file in store.glob("*.mar")] == ["mnist.mar"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("deploy", ROOT / "nowhere.mar"), "nowhere.mar cannot be read: No such file"),
        (("deploy", ROOT / "LICENSE"), "LICENSE is not a model archive"),
        (("rollback",), "no other version"),
        (("undeploy", CURRENT), "is serving"),
        (("undeploy", "9"), "no version 9"),
        (("scale", "--min", 0), "are not possible"),
        (("scale", "--min", 3, "--max", 2), "are not possible"),
        (("scale", "--min", 10_000), "are not possible"),
    ],
)
def test_an_impossible_change_is_one_sentence(words: tuple[object, ...], sentence: str, own: Service) -> None:
    refused = manage(own, *words)
    assert refused.returncode == 1
    assert sentence in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.slow
def test_an_interrupted_deploy_is_undone(own: Service, built: Path, tmp_path: Path) -> None:
    newer = remake(built, tmp_path, NEXT)
    command = [str(ROOT / "scripts" / "manage"), "--config", str(own.config.path), "deploy", str(newer)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as interrupted:
        assert interrupted.stderr
        assert "registered" in interrupted.stderr.readline()
        assert "under way" in manage(own, "deploy", newer).stderr
        interrupted.send_signal(signal.SIGTERM)
        assert interrupted.wait(60) == 130
    assert [each["version"] for each in status(own)["versions"]] == [CURRENT]


@pytest.mark.slow
def test_what_was_deployed_serves_again_after_a_restart_and_with_tokens(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = remake(built, tmp_path, NEXT)
    folder = tmp_path / "service"
    folder.mkdir()
    first = start(folder)
    assert manage(first, "deploy", newer).returncode == 0
    stop(first)
    config = first.config.path.read_text().replace("disable_token_authorization=true", "token_expiration_min=0.05")
    first.config.path.write_text(config)
    second = start(folder, first.config.path)
    assert "Page        none: tokens are required" in second.output
    announced = re.search("Try it: *(.*)", second.output)
    assert announced
    assert '"digit":7' in subprocess.run(["sh", "-c", announced[1]], capture_output=True, text=True).stdout
    refused = requests.post(second.predictions, data=EXAMPLES[7].read_bytes(), timeout=30)
    assert refused.status_code == 400
    key_file = folder / "key_file.json"
    assert key_file.stat().st_mode & 0o777 == 0o600
    keys = json.loads(key_file.read_text())
    assert status(second)["default"] == NEXT
    # Three seconds later both keys have expired.
    poll(lambda: time.time() - key_file.stat().st_mtime > 3.5)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("http_proxy", "http://127.0.0.1:9")
        assert manage(second, "scale", "--min", 1, "--wait").returncode == 0
    assert json.loads(key_file.read_text())["management"] != keys["management"]
    assert manage(second, "rollback").returncode == 0
    assert status(second)["default"] == CURRENT
    # Another process renews the token that a request on its way holds.
    monkeypatch.setenv("LOG_LOCATION", str(folder))
    session = second.client.session
    request = session.prepare_request(requests.Request("POST", second.predictions, data=EXAMPLES[7].read_bytes()))
    held = request.headers["Authorization"]
    keys = json.loads(key_file.read_text())
    renew = f"{second.config.management}/token?type=inference"
    assert requests.get(renew, headers={"Authorization": f"Bearer {keys['API']['key']}"}, timeout=30).ok
    assert requests.post(second.predictions, headers={"Authorization": held}, timeout=30).status_code == 400
    assert session.send(request).json()["digit"] == 7
    stop(second)
