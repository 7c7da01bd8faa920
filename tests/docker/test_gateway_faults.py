"""The shipped gateway asks again, or explains, while the real TorchServe is slow, not ready or gone."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from operate.config import ROOT
from operate.gateway import Gateway
from tests.docker.ask import PREDICTIONS, Answer, ask
from tests.harness.gateway import run_gateway
from tests.harness.service import EXAMPLES, Service, frozen, poll, start, stop, write_config
from tests.versions import CURRENT

pytestmark = pytest.mark.server
SEVEN = EXAMPLES[7].read_bytes()


@pytest.mark.slow
def test_a_service_that_fails_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    running = start(tmp_path, write_config(tmp_path, ROOT / "docker" / "config.properties"))
    with run_gateway(running.config.inference) as gateway:

        def status(wanted: int) -> Answer:
            answer = ask(gateway, f"POST {PREDICTIONS}", body=SEVEN)
            assert ask(gateway, "GET /ready").status == answer.status == wanted
            return answer

        assert not [name for name in status(200).headers if name.startswith("access-control")]

        workers = running.config.management + "/models/mnist?synchronous=true"
        requests.put(workers + "&min_worker=0&max_worker=0", timeout=60)
        assert status(503).error == "The service is not ready: try again in a few seconds."
        refused = requests.post(running.predictions, data=SEVEN, timeout=30)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["error"] == "No worker of this model is running: try again in a few seconds."
        for path in ("health", "models/mnist", f"models/mnist/versions/{CURRENT}"):
            answer = requests.get(f"{running.config.inference}/v2/{path}/ready", timeout=30)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert not requests.get(f"{running.config.inference}/v1/models/mnist", timeout=30).json()["ready"]
        assert requests.get(f"{running.config.inference}/v2/health/live", timeout=30).ok
        requests.put(workers + "&min_worker=1&max_worker=1", timeout=60)
        status(200)

        stop(running)
        gone = status(503)
        assert gone.headers["retry-after"] == "5"
        assert gone.error == "The service is not ready: try again in a few seconds."
        assert requests.get(gateway.address, timeout=30).ok

        again = start(tmp_path, running.config.path)
        status(200)
        stop(again)


@pytest.mark.slow
def test_a_service_is_asked_twice_in_15_s_before_it_is_too_slow(service: Service) -> None:
    def ask_slow(gateway: Gateway) -> tuple[Answer, float]:
        begun = time.monotonic()
        return ask(gateway, f"POST {PREDICTIONS}", body=SEVEN), time.monotonic() - begun

    with (
        run_gateway(service.config.inference, settings={"GATEWAY_TIMEOUT": "3s"}) as patient_twice,
        run_gateway(service.config.inference, settings={"GATEWAY_TIMEOUT": "15s"}) as patient_once,
        ThreadPoolExecutor() as clients,
    ):
        with frozen(service.java):
            asked = list(clients.map(ask_slow, (patient_twice, patient_once)))
        for (late, after_s), expected_s in zip(asked, (6, 15), strict=True):
            assert expected_s <= after_s < expected_s + 2
            assert (late.status, late.headers["retry-after"]) == (504, "5")
            assert late.error == "The service is too slow: try again in a few seconds."


@pytest.mark.slow
def test_a_request_is_answered_at_the_second_try(service: Service) -> None:
    with (
        run_gateway(service.config.inference, settings={"GATEWAY_TIMEOUT": "3s"}) as gateway,
        ThreadPoolExecutor(1) as client,
    ):
        with frozen(service.java):
            answer = client.submit(ask, gateway, f"POST {PREDICTIONS}", body=SEVEN)
            poll(lambda: "upstream timed out" in (gateway.folder / "printed").read_text())
        assert answer.result().status == 200
