"""The process of a worker, which server/worker starts: TorchServe's own, without torch and with few system calls."""

import faulthandler
import logging
import signal
import socket
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

PIECE_BYTES = 1 << 18


class BufferedConnection:
    """A worker's connection to the server, read in large pieces.

    TorchServe reads each field of a request with one system call, thirty a request.
    """

    def __init__(self, connection: socket.socket) -> None:
        # As a socket's, but it returns as many bytes as wanted, or fewer once the server has closed the connection.
        self.recv = connection.makefile("rb", PIECE_BYTES).read
        self.sendall = connection.sendall


class Formatter(logging.Formatter):
    """Writes the message of an exception in one line, where operate/readiness.py finds it."""

    def formatException(self, problem: Any) -> str:  # noqa: ANN401, N802
        """Return a traceback."""
        *lines, message = traceback.format_exception(*problem)
        return "".join(lines) + " ".join(message.split())


def import_worker() -> type:
    """Return the class of TorchServe's worker, imported without torch.

    It imports torch only to recognise tensors among answers, of which this service has none. torch itself would take
    350 MB and a second; the handler can still import it.
    """
    stand_in = ModuleType("torch")
    vars(stand_in)["Tensor"] = type("Tensor", (), {})
    sys.modules["torch"] = stand_in
    try:
        from ts.model_service_worker import TorchModelServiceWorker
    finally:
        del sys.modules["torch"]
    return TorchModelServiceWorker


def main() -> int:
    """Serve the server that started this process until it closes the connection; return 1 after a failure."""
    from ts.arg_parser import ArgParser

    class Worker(import_worker()):  # type: ignore[misc]
        """TorchServe's worker, whose connection is buffered."""

        def handle_connection(self, cl_socket: socket.socket) -> None:
            """Answer the server's requests."""
            super().handle_connection(BufferedConnection(cl_socket))

    # The server reads the log from standard output, and waits for some of its lines.
    logging.basicConfig(stream=sys.stdout, level=logging.INFO)
    logging.getLogger().handlers[0].setFormatter(Formatter())
    # handler/limit.py ends the process with this signal: print where it was.
    faulthandler.register(signal.SIGPROF, sys.stderr, chain=True)
    options = ArgParser.model_service_worker_args().parse_args()
    try:
        Worker(options.sock_type, options.sock_name, options.host, options.port, options.metrics_config).run_server()
    except TimeoutError:
        logging.error("The server did not connect to this worker.")
    except Exception:
        logging.exception("The worker ends.")
    finally:
        if options.sock_name:
            with suppress(OSError):
                Path(options.sock_name).unlink()
    return 1


if __name__ == "__main__":
    sys.exit(main())
