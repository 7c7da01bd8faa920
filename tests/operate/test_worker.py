"""A worker is TorchServe's, without torch, and reads what it is sent whole however it arrives."""

import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ts.protocol import otf_message_handler

from operate.worker import PIECE_BYTES, BufferedConnection
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


def test_what_arrives_in_pieces_is_read_whole() -> None:
    chance = random.Random(0)
    lengths = [chance.choice([0, 1, 4, 300, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES]) for _ in range(60)]
    sent = chance.randbytes(sum(lengths))
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
    connection = BufferedConnection(worker)
    assert b"".join(connection.recv(length) for length in lengths) == sent
    sender.join()
    with pytest.raises(SystemExit):
        otf_message_handler._retrieve_buffer(connection, 1)
    worker.close()


@pytest.mark.server
def test_no_worker_has_torch_in_its_memory(service: Service) -> None:
    workers = service.client.list_versions()[1][CURRENT]["workers"]
    assert workers
    for worker in workers:
        mapped = Path(f"/proc/{worker['pid']}/maps").read_text()
        assert "libopenvino.so" in mapped
        assert "torch" not in mapped
