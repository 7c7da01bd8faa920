"""The management API scales workers and takes models from the model store alone."""

import pytest
import requests

from tests.services import EXAMPLES, Service, poll

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()


def test_workers_scale_up_and_down_and_predictions_go_on(service: Service) -> None:
    model = service.config.management + "/models/mnist"

    def workers() -> list[str]:
        return [worker["status"] for worker in requests.get(model, timeout=30).json()[0]["workers"]]

    poll(lambda: workers() == ["READY"] * 2)
    for count in (3, 2):
        scaled = requests.put(f"{model}?min_worker={count}&max_worker={count}&synchronous=true", timeout=120)
        assert scaled.status_code == 200
        poll(lambda count=count: workers() == ["READY"] * count)  # type: ignore[misc]
        assert requests.post(service.predictions, data=SEVEN, timeout=30).json()["digit"] == 7


def test_models_come_only_from_the_model_store(service: Service) -> None:
    models = service.config.management + "/models"
    elsewhere = ("file:///etc/passwd", "http://127.0.0.1:1/x.mar", "https://example.org/x.mar", "../x.mar", "/x.mar")
    for url in elsewhere:
        assert requests.post(f"{models}?url={url}", timeout=30).status_code == 404
    assert requests.post(service.predictions, data=SEVEN, timeout=30).json()["digit"] == 7
