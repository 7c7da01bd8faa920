"""Real clients of the service's protocols get what they expect: tritonclient, schemathesis, curl and plain HTTP."""

import base64
import gzip
import http.client
import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from handler.tensors import OUTPUTS
from tests.harness.number import NUMBER, TEXT
from tests.harness.service import EXAMPLES, Service
from tests.versions import CURRENT

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="needs curl (Debian: apt install curl)")


@pytest.fixture
def client(service: Service) -> triton.InferenceServerClient:
    """NVIDIA's client of the Open Inference Protocol."""
    return triton.InferenceServerClient(service.config.inference.removeprefix("http://"))


def test_tritonclient_finds_the_service_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    for version, is_ready in (("", True), (CURRENT, True), ("9", False)):
        assert client.is_model_ready("mnist", version) == is_ready
    assert not client.is_model_ready("letters")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    with pytest.raises(InferenceServerException, match="There is no model letters"):
        client.get_model_metadata("letters")


@pytest.mark.parametrize("version", ["", CURRENT])
@pytest.mark.parametrize("is_binary", [True, False])
def test_tritonclient_reads_pixels(is_binary: bool, version: str, client: triton.InferenceServerClient) -> None:
    described = client.get_model_metadata("mnist", version)
    (tensor,) = described["inputs"]
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[:2, 4:24, 12:16] = 255
    given = triton.InferInput(tensor["name"], pixels.shape, tensor["datatype"])
    given.set_data_from_numpy(pixels, binary_data=is_binary)
    wanted = [triton.InferRequestedOutput(each["name"], binary_data=is_binary) for each in described["outputs"]]
    result = client.infer("mnist", [given], version, outputs=wanted, request_id="a7")
    assert result.get_response()["id"] == "a7"
    assert result.as_numpy("digit").tolist() == [1, 1, -1]
    assert result.as_numpy("probabilities").shape == (3, 10)
    assert [bool(error) for error in result.as_numpy("error")] == [False, False, True]
    assert described["outputs"] == [
        {"name": name, "datatype": datatype, "shape": [-1, *sides]} for name, (datatype, sides) in OUTPUTS.items()
    ]
    with pytest.raises(InferenceServerException, match="There is no output logits"):
        client.infer("mnist", [given], version, outputs=[triton.InferRequestedOutput("logits")])


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_reads_picture_files(compression: str | None, client: triton.InferenceServerClient) -> None:
    files = np.array([*(path.read_bytes() for path in EXAMPLES.values()), NUMBER], object)
    given = triton.InferInput("pictures", files.shape, "BYTES")
    given.set_data_from_numpy(files)
    result = client.infer("mnist", [given], request_compression_algorithm=compression)
    assert result.as_numpy("digit").tolist() == [*EXAMPLES, result.as_numpy("digit")[-1]]
    texts = [[number["text"] for number in json.loads(each)] for each in result.as_numpy("numbers")]
    assert texts == [[] for _ in EXAMPLES] + [[TEXT]]


@pytest.mark.slow
def test_schemathesis_finds_nothing_that_the_service_does_not_say_of_itself(service: Service, tmp_path: Path) -> None:
    # No schema can tell which bytes are a picture.
    command = [Path(sys.executable).parent / "schemathesis", "run", f"{service.config.inference}/openapi.json"]
    command += ["--max-examples", "20", "--phases", "coverage,fuzzing", "--exclude-checks", "positive_data_acceptance"]
    run = subprocess.run([str(word) for word in command], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-5000:]
    assert " passed" in run.stdout


def test_the_description_has_every_path_and_no_other(service: Service) -> None:
    description = requests.get(f"{service.config.inference}/openapi.json", timeout=30).json()
    assert description["openapi"].startswith("3.1")
    assert description["info"]["version"] == CURRENT
    assert json.dumps(list(OUTPUTS)) in json.dumps(description)
    for path, methods in description["paths"].items():
        address = service.config.inference + path.format(model="mnist", version=CURRENT)
        assert requests.delete(address, timeout=30).status_code == 405, path
        if "get" in methods:
            assert requests.head(address, timeout=30).status_code == 200, path
        else:
            refused = requests.get(address, timeout=30)
            assert (refused.status_code, refused.headers["Allow"]) == (405, "POST, PUT, OPTIONS"), path


ENCODINGS = {
    "gzip": gzip.compress(SEVEN),
    "x-gzip": gzip.compress(SEVEN),
    "deflate": zlib.compress(SEVEN),
    "identity": SEVEN,
    "Deflate": zlib.compress(SEVEN)[2:-4],
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_packed_body_is_unpacked(encoding: str, service: Service) -> None:
    headers = {"Content-Encoding": encoding}
    answer = requests.post(service.predictions, data=ENCODINGS[encoding], headers=headers, timeout=30)
    assert answer.json()["digit"] == 7


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(bytes(100_000_000)), 413),
        ("deflate", zlib.compress(bytes(100_000_000)), 413),
        ("gzip", gzip.compress(SEVEN)[:-100], 400),
        ("gzip", SEVEN, 400),
        ("deflate", b"", 400),
        ("br", SEVEN, 415),
    ],
)
def test_a_body_that_cannot_be_unpacked_gets_a_sentence(
    encoding: str, body: bytes, status: int, service: Service
) -> None:
    answer = requests.post(service.predictions, data=body, headers={"Content-Encoding": encoding}, timeout=30)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_bad_picture_leaves_the_connection_open(service: Service) -> None:
    connection = http.client.HTTPConnection(service.config.inference.removeprefix("http://"), timeout=30)
    for path, body, status in [
        ("/predictions/mnist", b"no picture", 400),
        ("/predictions/letters", SEVEN, 404),
        ("/predictions/mnist", SEVEN, 200),
        ("/v2/models/mnist/infer", b"{}", 400),
        ("/predictions/mnist", SEVEN, 200),
    ]:
        connection.request("POST", path, body)
        socket = connection.sock
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        assert answer.headers["Connection"] != "close"
        assert connection.sock is socket is not None
    connection.close()


def test_long_addresses_and_headers_get_sentences(service: Service) -> None:
    for address, headers, status in [
        (service.predictions + "?" + "a" * 5000, {}, 414),
        (service.predictions, {"X-Long": "a" * 9000}, 431),
    ]:
        answer = requests.post(address, data=SEVEN, headers=headers, timeout=30)
        assert answer.status_code == status
        assert "at most" in answer.json()["error"]


@needs_curl
@pytest.mark.parametrize("options", ["--http1.0", "--http2", "-H Expect:100-continue", "-H Transfer-Encoding:chunked"])
def test_curl_uploads_in_every_way(options: str, service: Service) -> None:
    # --http2 offers an upgrade, which the service may ignore.
    command = ["curl", "-sS", "--max-time", "10", *options.split()] + ["-T", str(EXAMPLES[7]), service.predictions] * 2
    answers = subprocess.run(command, capture_output=True, check=True).stdout
    assert answers.count(b'"digit":7') == 2


@needs_curl
def test_http2_alone_is_refused_at_once(service: Service) -> None:
    command = ["curl", "-sS", "--max-time", "10", "--http2-prior-knowledge", f"{service.config.inference}/v2"]
    # 28: the time is over.
    assert subprocess.run(command, capture_output=True).returncode not in (0, 28)


@needs_curl
def test_torchserves_own_commands_work(service: Service, tmp_path: Path) -> None:
    text = base64.b64encode(SEVEN).decode()
    bodies = [{"data": text}, {"data": {"b64": text}}, {"image": {"b64": text}}]
    for number, body in enumerate(bodies):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(body))
        command = ["curl", "-sS", service.predictions, "-T", file, "-H", "Content-Type: application/json"]
        answer = subprocess.run([str(word) for word in command], capture_output=True, check=True).stdout
        assert json.loads(answer)["digit"] == 7
        file.write_text(json.dumps({"instances": [body]}))
        for verb in ("predict", "explain"):
            address = f"{service.config.inference}/v1/models/mnist:{verb}"
            command = ["curl", "-sS", "-H", "Content-Type: application/json", "--data", f"@{file}", address]
            answer = subprocess.run([str(word) for word in command], capture_output=True, check=True).stdout
            assert json.loads(answer)["predictions"][0]["digit"] == 7


@pytest.mark.parametrize("query", ["min_worker=abc", "", "min_worker=-1", "max_worker=1.5", "min_worker="])
def test_scaling_to_no_number_changes_nothing(query: str, service: Service) -> None:
    model = f"{service.config.management}/models/mnist"
    before = requests.get(model, timeout=30).json()[0]
    answer = requests.put(f"{model}?{query}", timeout=30)
    assert answer.status_code == 400
    assert "worker" in answer.json()["message"]
    after = requests.get(model, timeout=30).json()[0]
    assert [after[key] for key in ("minWorkers", "maxWorkers")] == [before[key] for key in ("minWorkers", "maxWorkers")]
