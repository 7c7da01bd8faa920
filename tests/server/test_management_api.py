"""The management API takes models from the model store alone, and refuses parameters that it would ignore."""

import pytest
import requests

from tests.harness.service import EXAMPLES, Service

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()


def test_models_come_only_from_the_model_store(service: Service) -> None:
    models = service.config.management + "/models"
    elsewhere = ("file:///etc/passwd", "http://127.0.0.1:1/x.mar", "https://example.org/x.mar", "../x.mar", "/x.mar")
    for url in elsewhere:
        assert requests.post(f"{models}?url={url}", timeout=30).status_code == 404
    assert requests.post(service.predictions, data=SEVEN, timeout=30).json()["digit"] == 7


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("PUT mnist?min_worker=2&batch_size=4", "batch_size has no effect on this request: leave it out, or use one"),
        ("PUT mnist?min_worker=100000", "min_worker must be one whole number from 0 to 9999."),
        ("PUT mnist?min_worker=two", "min_worker must be one whole number from 0 to 9999."),
        ("PUT mnist?min_worker=2&min_worker=3", "min_worker must be one whole number from 0 to 9999."),
        ("PUT mnist?synchronous=true", "Set min_worker, max_worker or both"),
        ("PUT mnist/1.0/set-default?min_worker=2", "min_worker has no effect on this request: leave it out."),
        ("POST ?url=none.mar&min_worker=1", "min_worker has no effect on this request: leave it out, or use one"),
        ("POST ?url=none.mar&initial_workers=one", "initial_workers must be one whole number from 0 to 9999."),
        ("DELETE none?timeout=1", "timeout has no effect on this request: leave it out."),
    ],
)
def test_what_would_be_ignored_is_refused(line: str, sentence: str, service: Service) -> None:
    method, _, path = line.partition(" ")
    url = f"{service.config.management}/models{path if path.startswith('?') else '/' + path}"
    refused = requests.request(method, url, timeout=30)
    assert refused.status_code == 400
    assert refused.json()["message"].startswith(sentence)
