"""The metrics API counts exactly what was sent."""

import base64
import io
import re
import time

import pytest
import requests
from PIL import Image

from tests.harness.number import NUMBER
from tests.harness.service import EXAMPLES, Service, poll
from tests.versions import CURRENT

SEVEN = EXAMPLES[7].read_bytes()
PNG = {"Content-Type": "image/png"}


def read_series(service: Service) -> dict[str, float]:
    """Return each series of the metrics endpoint, without the label Hostname."""
    text = requests.get(service.config.metrics + "/metrics", timeout=30).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {re.sub(r'(,Hostname="[^"]*")?,}', "}", name): float(value) for name, value in lines}


def read_settled_series(service: Service) -> dict[str, float]:
    """Return the series once workers have printed their counts of all earlier requests, which takes a second."""
    before = read_series(service)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        now = read_series(service)
        answers = {name for name in now if name.startswith("digit_answers") and now[name] != before.get(name)}
        if answers:
            before, deadline = now, time.monotonic() + 1.5
        time.sleep(0.1)
    return read_series(service)


def write_blank(size: tuple[int, int]) -> bytes:
    """Return a PNG file without ink."""
    with io.BytesIO() as file:
        Image.new("L", size, 255).save(file, "PNG")
        return file.getvalue()


@pytest.mark.server
def test_the_counters_move_by_exactly_the_requests_made(service: Service) -> None:
    before = read_settled_series(service)
    blanks = [write_blank(size) for size in ((100, 100), (2, 2), (5001, 5000))]
    for upload in [SEVEN] * 4 + [b"no picture"] * 4 + [*blanks, SEVEN[: len(SEVEN) // 2]]:
        requests.post(service.predictions, data=upload, headers=PNG, timeout=30)
    for truth in ("7", "1", "none"):
        requests.post(service.predictions, data=SEVEN, headers=PNG | {"Truth": truth}, timeout=30)
    explanations = service.predictions.replace("predictions", "explanations")
    confidence = requests.post(explanations, data=SEVEN, headers=PNG, timeout=30).json()["confidence"]
    number = requests.post(service.predictions, data=NUMBER, headers=PNG, timeout=30).json()
    (found,) = number["numbers"]
    instances = [{"b64": base64.b64encode(SEVEN).decode()}] * 2
    for name, pictures in (("instances", instances), ("instances", []), ("pictures", [])):
        requests.post(f"{service.config.inference}/v1/models/mnist:predict", json={name: pictures}, timeout=30)
    requests.post(service.predictions + "s", data=SEVEN, timeout=30)
    requests.post(service.predictions, data=bytes(service.config.max_request_bytes + 1), timeout=30)
    requests.get(service.config.inference + "/nothing", timeout=30)
    form = {"Content-Type": 'multipart/form-data; boundary="'}
    requests.post(service.predictions, data=SEVEN, headers=form, timeout=30)
    seven = f'digit="7",certain="true",model="mnist",version="{CURRENT}"'
    expected = {
        'digit_requests_total{endpoint="predictions",code="200"}': 8,
        'digit_requests_total{endpoint="predictions",code="400"}': 9,
        'digit_requests_total{endpoint="predictions",code="404"}': 1,
        'digit_requests_total{endpoint="predictions",code="413"}': 1,
        'digit_requests_total{endpoint="explanations",code="200"}': 1,
        'digit_requests_total{endpoint="v1",code="200"}': 1,
        'digit_requests_total{endpoint="v1",code="400"}': 2,
        'digit_request_ms_count{endpoint="explanations"}': 1,
        'digit_request_ms_count{endpoint="v1"}': 3,
        'digit_requests_total{endpoint="other",code="404"}': 1,
        "digit_queue_ms_count": 20,
        'digit_queue_ms_bucket{le="10000.0"}': 20,
        "digit_batch_ms_count": 20,
        "digit_batch_requests_sum": 20,
        f"digit_answers_total{{{seven}}}": 10,
        # Read as a number, or else doubted.
        f'digit_numbers_total{{certain="{str(found["certain"]).lower()}",model="mnist",version="{CURRENT}"}}': 1,
        f'digit_answers_total{{digit="{number["digit"]}",certain="false",model="mnist",version="{CURRENT}"}}': int(
            not found["certain"]
        ),
        f"digit_expected_right_total{{{seven}}}": 10 * confidence,
        f'digit_confidence_total{{band="0.99-1.0",model="mnist",version="{CURRENT}"}}': 10,
        **{
            f'digit_corrected_{name},model="mnist",version="{CURRENT}"}}': count
            for truth in ("7", "1", "none")
            for name, count in (
                (f'total{{truth="{truth}",right="true"', int(truth == "7")),
                (f'total{{truth="{truth}",right="false"', int(truth != "7")),
                (f'expected_total{{truth="{truth}"', confidence),
            )
        },
        f'digit_refused_total{{reason="not_a_picture",model="mnist",version="{CURRENT}"}}': 4,
        f'digit_refused_total{{reason="blank",model="mnist",version="{CURRENT}"}}': 1,
        f'digit_refused_total{{reason="too_small",model="mnist",version="{CURRENT}"}}': 1,
        f'digit_refused_total{{reason="too_many_megapixels",model="mnist",version="{CURRENT}"}}': 1,
        f'digit_refused_total{{reason="damaged",model="mnist",version="{CURRENT}"}}': 1,
        f'digit_refused_total{{reason="too_many_pictures",model="mnist",version="{CURRENT}"}}': 1,
        f'digit_refused_total{{reason="malformed_request",model="mnist",version="{CURRENT}"}}': 1,
        'digit_refused_total{reason="too_large",model="",version=""}': 1,
        'digit_refused_total{reason="malformed_form",model="",version=""}': 1,
        'Requests4XX{Level="Host"}': 14,
    }

    def have_moved() -> bool:
        now = read_series(service)
        moved = {name: now.get(name, 0) - before.get(name, 0) for name in expected}
        return moved == pytest.approx(expected, abs=1e-4)

    poll(have_moved, 10)
