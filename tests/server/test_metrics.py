"""The metrics API counts exactly what was sent."""

import io
import re
import time

import pytest
import requests
from PIL import Image

from tests.services import EXAMPLES, Service, poll
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


@pytest.mark.server
def test_the_counters_move_by_exactly_the_requests_made(service: Service) -> None:
    before = read_settled_series(service)
    blank = io.BytesIO()
    Image.new("L", (100, 100), 255).save(blank, "PNG")
    uploads = [SEVEN] * 7 + [b"no picture"] * 4 + [blank.getvalue(), SEVEN[: len(SEVEN) // 2]]
    for upload in uploads:
        requests.post(service.predictions, data=upload, headers=PNG, timeout=30)
    requests.post(service.predictions.replace("predictions", "explanations"), data=SEVEN, headers=PNG, timeout=30)
    requests.post(service.predictions + "s", data=SEVEN, timeout=30)
    requests.post(service.predictions, data=bytes(service.config.max_request_bytes + 1), timeout=30)
    form = {"Content-Type": 'multipart/form-data; boundary="'}
    requests.post(service.predictions, data=SEVEN, headers=form, timeout=30)
    expected = {
        'digit_requests_total{endpoint="predictions",code="200"}': 7,
        'digit_requests_total{endpoint="predictions",code="400"}': 7,
        'digit_requests_total{endpoint="predictions",code="404"}': 1,
        'digit_requests_total{endpoint="predictions",code="413"}': 1,
        'digit_requests_total{endpoint="explanations",code="200"}': 1,
        'digit_request_ms_count{endpoint="explanations"}': 1,
        "digit_queue_ms_count": 14,
        "digit_batch_ms_count": 14,
        "digit_batch_requests_sum": 14,
        f'digit_answers_total{{digit="7",certain="true",version="{CURRENT}"}}': 8,
        f'digit_confidence_total{{band="0.99-1.0",version="{CURRENT}"}}': 8,
        f'digit_refused_total{{reason="not_a_picture",version="{CURRENT}"}}': 4,
        f'digit_refused_total{{reason="blank",version="{CURRENT}"}}': 1,
        f'digit_refused_total{{reason="damaged",version="{CURRENT}"}}': 1,
        'digit_refused_total{reason="too_large",version=""}': 1,
        'digit_refused_total{reason="malformed_form",version=""}': 1,
        'Requests4XX{Level="Host"}': 8,
    }

    def have_moved() -> bool:
        now = read_series(service)
        moved = {name: now.get(name, 0) - before.get(name, 0) for name in expected}
        return moved == expected

    poll(have_moved, 10)
