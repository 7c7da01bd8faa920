"""The management API takes models from the model store alone."""

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
