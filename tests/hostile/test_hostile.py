"""Hostile input is answered as it should be, refusals have a sentence, and other clients' pictures are read meanwhile.

--hypothesis-profile=soak draws for hours; a failing example is shrunk, and kept in .hypothesis.
"""

import random
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.gateway import run_gateway
from tests.harness.load import PAUSE_S, load
from tests.harness.service import EXAMPLES, Service
from tests.hostile.connections import Answer, Recorder, Stream, ask, converse, read_answer, write_request
from tests.hostile.messages import EXTREME, changed_messages, forms, heads
from tests.hostile.probes import CHUNKED, PROBES
from tests.hostile.uploads import BOMBS, damaged_files

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.soak]

PREDICTIONS = "/predictions/mnist"
JSON_PATHS = (PREDICTIONS, "/v1/models/mnist:predict", "/v2/models/mnist/infer")
# After this pause no further answer to a probe is expected.
QUIET_S = 2.0
HELD_OPEN = 200


@pytest.fixture(scope="module", autouse=True)
def nobody_else_is_affected(own: Service) -> Iterator[None]:
    """Assert that other clients' pictures are read throughout, and that no worker dies."""
    workers = {*own.workers}
    with load(own.predictions, 2, pause_s=PAUSE_S) as counts:
        yield
    assert set(counts) == {"right"}, counts
    assert {*own.workers} == workers


def post(service: Service, body: bytes, path: str = PREDICTIONS, **headers: str) -> Answer:
    """Return the one answer to a POST; the names of headers have _ for -."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    (answer,) = ask(service.config.inference, write_request(path, body, headers=lines))
    return answer


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_would_grow_huge_is_refused(bomb: str, own: Service) -> None:
    post(own, BOMBS[bomb](), Content_Type="application/octet-stream").check({400})


@pytest.mark.parametrize("path", JSON_PATHS)
@pytest.mark.parametrize("message", EXTREME)
def test_json_without_end_is_refused(message: str, path: str, own: Service) -> None:
    answer = post(own, EXTREME[message], path, Content_Type="application/json")
    answer.check({200, 400})
    # Each picture of KServe's v1 protocol gets its own error.
    assert answer.status == 400 or all(list(each) == ["error"] for each in answer.json["predictions"])


@given(head=heads())
def test_an_odd_head_is_answered(head: bytes, own: Service) -> None:
    (answer,) = converse(own.config.inference, head, QUIET_S)
    answer.check()


@given(file=damaged_files())
def test_a_damaged_file_is_read_or_refused(file: bytes, own: Service) -> None:
    post(own, file).check({200, 400})


@given(message=changed_messages(), path=st.sampled_from(JSON_PATHS))
def test_a_message_of_wrong_shapes_and_types_is_read_or_refused(message: bytes, path: str, own: Service) -> None:
    post(own, message, path, Content_Type="application/json").check({200, 400})


@given(form=forms())
def test_a_malformed_form_is_read_or_refused(form: tuple[str, bytes], own: Service) -> None:
    post(own, form[1], Content_Type=form[0]).check({200, 400})


def probe_all(url: str) -> dict[str, list[Answer]]:
    """Return the answers to each probe, sent on its own connection, some at a time."""
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda probe: converse(url, probe.sent, QUIET_S), PROBES.values())
        return dict(zip(PROBES, answers, strict=True))


@pytest.fixture(scope="module")
def at_service(own: Service) -> dict[str, list[Answer]]:
    """What the service answers to each probe."""
    return probe_all(own.config.inference)


@pytest.mark.parametrize("probe", PROBES)
def test_the_service_answers_no_hidden_request(probe: str, at_service: dict[str, list[Answer]]) -> None:
    answers = at_service[probe]
    assert len(answers) <= PROBES[probe].most
    for answer in answers:
        answer.check()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    """What stands in the service's place, since the service does not show what it received."""
    running = Recorder()
    yield running
    running.listener.close()


@pytest.fixture(scope="module")
def at_gateway(recorder: Recorder) -> dict[str, list[Answer]]:
    """What the gateway answers to each probe, in front of the recorder."""
    with run_gateway(recorder.address) as gateway:
        return probe_all(gateway.address)


@pytest.mark.parametrize("probe", PROBES)
def test_the_gateway_answers_no_hidden_request(probe: str, at_gateway: dict[str, list[Answer]]) -> None:
    answers = at_gateway[probe]
    # The gateway may take the hidden request for one, and answers it itself then.
    assert sum(answer.body.startswith(b'{"line"') for answer in answers) <= PROBES[probe].most
    for answer in answers:
        assert b"/ping" not in answer.body
        # nginx's own 400 to a malformed chunk: an error_page for it would replace the service's 400s as well.
        if answer.status != 400 or CHUNKED not in PROBES[probe].sent:
            answer.check()


def test_only_plain_requests_pass_the_gateway(at_gateway: dict[str, list[Answer]], recorder: Recorder) -> None:
    for head, _ in recorder.requests:
        first, *lines = head.split(b"\r\n")
        names = [line.partition(b":")[0].lower() for line in lines]
        assert first.startswith((b"POST /predictions/mnist HTTP/", b"GET /v2/health/ready HTTP/")), head
        assert all(name.replace(b"-", b"").isalnum() for name in names), head
        assert b"transfer-encoding" not in names, head
        assert names.count(b"content-length") <= 1, head
        assert not set(head.replace(b"\r\n", b"")) & set(b"\r\n\0"), head
        assert b"hidden" not in head, head
    # All that came were whole requests, as many as clients got answers of the recorder's.
    whole = sum(len(head) + 4 + len(body) for head, body in recorder.requests)
    assert whole == sum(map(len, recorder.streams))
    passed = [answer for answers in at_gateway.values() for answer in answers if answer.body.startswith(b'{"line"')]
    assert len(passed) == len(recorder.requests) > 0


@pytest.fixture(scope="module")
def entries(own: Service) -> Iterator[dict[str, str]]:
    """Where a client may reach the service."""
    with run_gateway(own.config.inference) as gateway:
        yield {"the service": own.config.inference, "the gateway": gateway.address}


@pytest.mark.parametrize("entry", ["the service", "the gateway"])
def test_pipelined_requests_get_their_answers_in_order(entry: str, entries: dict[str, str]) -> None:
    for seed in range(20):
        digits = random.Random(seed).sample(range(10), 8)
        requests = [write_request(PREDICTIONS, EXAMPLES[digit].read_bytes()) for digit in digits]
        sent = b"".join(request.replace(b"Connection: close\r\n", b"") for request in requests[:-1]) + requests[-1]
        assert [answer.json["digit"] for answer in ask(entries[entry], sent, len(digits))] == digits


def test_many_slow_connections_keep_nobody_waiting(own: Service) -> None:
    host, port = own.config.inference.removeprefix("http://").split(":")
    sent = write_request(PREDICTIONS, EXAMPLES[7].read_bytes())
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(HELD_OPEN)]
        # A read picture after each piece shows that the service has waited for the rest.
        for place in range(0, len(sent), -(-len(sent) // 8)):
            for connection in slow:
                connection.sendall(sent[place : place + -(-len(sent) // 8)])
            assert post(own, EXAMPLES[1].read_bytes()).json["digit"] == 1
        for connection in slow:
            assert read_answer(Stream(socket.SocketIO(connection, "r"))).json["digit"] == 7


@pytest.mark.parametrize("share", [0.01, 0.5, 1])
def test_a_connection_that_is_reset_disturbs_no_other(share: float, own: Service) -> None:
    host, port = own.config.inference.removeprefix("http://").split(":")
    sent = write_request(PREDICTIONS, EXAMPLES[7].read_bytes())
    for _ in range(50):
        with socket.create_connection((host, int(port)), 10) as connection:
            connection.sendall(sent[: int(share * len(sent))])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert post(own, EXAMPLES[7].read_bytes()).json["digit"] == 7
