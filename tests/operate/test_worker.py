"""A worker is TorchServe's, without torch, and reads what it is sent whole however it arrives."""

import io
import random
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import ts.service
from ts.context import Context
from ts.protocol import otf_message_handler

from operate.worker import PIECE_BYTES, answer, read_batch
from tests.harness.service import Service
from tests.versions import CURRENT

# As a worker's process would do it.
IMPORT = """
import sys
from operate.worker import import_worker
print(import_worker().__name__, "torch" in sys.modules)
"""


def test_torchserves_worker_is_imported_without_torch() -> None:
    printed = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["TorchModelServiceWorker", "False"]


def pack(field: bytes) -> bytes:
    """Return a field of a message as the server sends it."""
    return struct.pack("!i", len(field)) + field


def test_a_batch_is_read_as_torchserve_reads_it_however_it_arrives() -> None:
    chance = random.Random(0)
    end = struct.pack("!i", -1)
    sent = b""
    for number in range(30):
        sent += pack(b"id %d" % number)
        for name in chance.sample(["explain", "x-é", "body"], number % 4):
            sent += pack(name.encode()) + pack("wért".encode())
        sent += end
        for name in chance.sample(["body", "mask", "data"], (number + 1) % 4):
            size = chance.choice([0, 1, 300, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES])
            sent += pack(name.encode()) + pack(chance.choice([b"", b"image/png"])) + pack(chance.randbytes(size))
        sent += end
    sent += end
    theirs = otf_message_handler._retrieve_inference_msg(SimpleNamespace(recv=io.BytesIO(sent).read))
    processors, rows, ids = ts.service.Service.retrieve_data_for_inference(theirs)
    headers = [processor.get_request_properties() for processor in processors]
    server, worker = socket.socketpair()

    def send() -> None:
        position = 0
        while position < len(sent):
            end = position + chance.choice([1, 100, 70_000, 900_000])
            server.sendall(sent[position:end])
            position = end
        server.close()

    sender = threading.Thread(target=send)
    sender.start()
    read = worker.makefile("rb", PIECE_BYTES).read
    assert read_batch(read) == (list(ids.values()), rows, headers)
    sender.join()
    with pytest.raises(struct.error):
        read_batch(read)
    worker.close()


def test_a_handler_that_fails_or_returns_too_little_fails_its_batch_only(caplog: pytest.LogCaptureFixture) -> None:
    def handle(rows: list[dict[str, bytes]], context: Context) -> object:
        context.set_response_header(0, "content-type", "text/plain")
        return {b"good": [b"yes", b"no"], b"short": [b"yes"], b"none": None}[rows[0]["body"]]

    metrics = SimpleNamespace(request_ids=None)
    service = ts.service.Service("echo", ".", None, handle, None, 2, metrics_cache=metrics)
    service.set_cl_socket(None)
    bodies = (b"good", b"short", b"none", b"bad")
    answers = [bytes(answer(service, ["a", "b"], [{"body": body}] * 2, [{}, {}])) for body in bodies]
    assert [struct.unpack("!i", text[:4])[0] for text in answers] == [200, 503, 503, 503]
    assert b"yes" in answers[0]
    assert b"text/plain" in answers[0]
    assert all(b"one answer for each" in text for text in answers[1:3])
    assert "KeyError" in caplog.text


@pytest.mark.server
def test_no_worker_has_torch_in_its_memory(service: Service) -> None:
    workers = service.client.list_versions()[1][CURRENT]["workers"]
    assert workers
    for worker in workers:
        mapped = Path(f"/proc/{worker['pid']}/maps").read_text()
        assert "libopenvino.so" in mapped
        assert "torch" not in mapped
