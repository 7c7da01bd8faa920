"""The client sends what the handler reads, and distinguishes a busy service from a bad picture."""

import re

import numpy as np
import pytest

from handler.requests import parse_request
from model.decode import Picture, decode
from model.geometry import Ink
from operate.client import Body, Client, ServiceError, encode_v1, encode_v2
from operate.config import OperatorError, read_config
from tests.harness.service import EXAMPLES

PICTURES = [path.read_bytes() for path in EXAMPLES.values()]
PIXELS = np.random.default_rng(0).integers(1, 256, (len(PICTURES), 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("body", "protocol", "wanted"),
    [(encode_v1(PICTURES, "numbers"), "v1", "numbers"), (encode_v2(PIXELS), "v2", "auto")],
    ids=["v1", "v2"],
)
def test_the_handler_reads_what_the_client_encodes(body: Body, protocol: str, wanted: str) -> None:
    content, headers = body
    request = parse_request({"body": content}, headers)
    assert (request.protocol, request.read) == (protocol, wanted)
    for read, picture, pixels in zip(request.pictures, PICTURES, PIXELS, strict=True):
        if protocol == "v1":
            decoded = decode(picture)
            assert isinstance(read, Picture)
            assert isinstance(decoded, Picture)
            assert np.array_equal(read.grey, decoded.grey)
        else:
            assert isinstance(read, Ink)
            assert np.array_equal(read.pixels[0], pixels)


def test_a_status_says_who_is_to_blame() -> None:
    errors = [ServiceError("A sentence.", status) for status in (400, 404, 413, 429, 503, 500, 0)]
    assert [error.status for error in errors if error.is_client_error] == [400, 404, 413]
    assert [error.status for error in errors if error.is_busy] == [429, 503]


def test_without_a_service_a_sentence_says_how_to_start_one() -> None:
    client = Client(read_config(), "http://127.0.0.1:9/")
    assert not client.is_running()
    with pytest.raises(ServiceError, match=r"^No service answers at http://127.0.0.1:9: start it with scripts/serve.$"):
        client.predict(PICTURES[7])


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9", "http://localhost:9/", "http://[::1]:9"])
def test_services_on_this_machine_need_no_proxy(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for there, proxies in ((url, set()), ("http://a.example", {"http"})):
        client = Client(read_config(), there)
        settings = client.session.merge_environment_settings(client.inference, {}, None, None, None)
        assert settings["proxies"].keys() == proxies


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost"),
        ("http://h:8080/predictions/mnist", "http://h:8080"),
        ("https://h/?a=b", "https://h"),
        ("ftp://h", "http://h"),
        ("/predictions", "http://127.0.0.1:8080"),
    ],
)
def test_a_url_that_is_no_address_is_answered_with_one(url: str, advice: str) -> None:
    with pytest.raises(
        OperatorError, match=f"^{re.escape(repr(url))} is not the address of a service: write {advice}.$"
    ):
        Client(read_config(), url)


@pytest.mark.parametrize("url", ["http://h:99999", "http://[::1", "http://[h]:1"])
def test_an_impossible_address_is_a_sentence(url: str) -> None:
    with pytest.raises(ServiceError, match=r"cannot be reached"):
        Client(read_config(), url).predict(PICTURES[7])
