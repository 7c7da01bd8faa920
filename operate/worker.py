"""The process of a worker, which server/worker starts: TorchServe's own without torch, and with less in its way."""

import faulthandler
import logging
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ts.service import Service

# Read from the server at once.
PIECE_BYTES = 1 << 18
LENGTH = struct.Struct("!i")

Read = Callable[[int], bytes]
# By name: what a request holds, or its headers.
Fields = dict[str, Any]


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


def read_batch(read: Read) -> tuple[list[str], list[Fields], list[Fields]]:
    """Return the ids of a batch of requests, what each holds, and its headers. Raises struct.error if the server left.

    TorchServe's own function does the same with a system call and three others for each field, some thirty a request.
    """
    ids, rows, headers = [], [], []
    while (request := read_text(read)) is not None:
        sent: Fields = {name: read_text(read) for name in iter(partial(read_text, read), None)}
        types: Fields = {}
        row: Fields = {}
        for name in iter(partial(read_text, read), None):
            types[name] = {"content-type": read_text(read)}
            row[name] = read_field(read)
        ids.append(request)
        rows.append(row)
        headers.append(types | sent)
    return ids, rows, headers


def read_text(read: Read) -> str | None:
    """Return the next field as text, or None at the end of a list."""
    field = read_field(read)
    return None if field is None else field.decode()


def read_field(read: Read) -> bytes | None:
    """Return the next field, which follows its length, or None at the end of a list, where that is negative."""
    (length,) = LENGTH.unpack(read(LENGTH.size))
    return None if length < 0 else read(length)


def answer(service: "Service", ids: list[str], rows: list[Fields], headers: list[Fields]) -> bytearray:
    """Return the message with a handler's answers to a batch, or with why there are none.

    As Service.predict, but without a metric for each batch, which costs as much as reading ten pictures.
    """
    from ts.context import RequestProcessor
    from ts.protocol.otf_message_handler import create_predict_response
    from ts.utils.util import PredictionException

    context = service.context
    named = context.request_ids = context.metrics.request_ids = dict(enumerate(ids))
    context.request_processor = [RequestProcessor(each) for each in headers]
    context.cl_socket = service.cl_socket
    message, code = "Prediction failed", 503
    try:
        answers = service._entry_point(rows, context)
        if isinstance(answers, list) and len(answers) == len(rows):
            return create_predict_response(answers, named, "Prediction success", 200, context=context)
        message = "The handler must return a list with one answer for each request."
        logging.warning("%s %s", message, name_requests(headers))
    except PredictionException as cause:
        message, code = cause.message, cause.error_code
        logging.exception("The handler refused a batch. %s", name_requests(headers))
    except MemoryError:
        message, code = "Out of resources", 507
        logging.exception("There is no memory for a batch. %s", name_requests(headers))
    except Exception:
        logging.exception("The handler failed. %s", name_requests(headers))
    return create_predict_response(None, named, message, code)


def name_requests(headers: list[Fields]) -> str:
    """Return the ids of a batch's requests, as log lines have them."""
    return "request_id=" + ",".join(str(each.get("x-request-id")) for each in headers)


def main() -> int:
    """Serve the server that started this process until it closes the connection; return 1 after a failure."""
    from ts.arg_parser import ArgParser

    class Worker(import_worker()):  # type: ignore[misc]
        """TorchServe's worker, which reads what it is sent in large pieces."""

        def handle_connection(self, cl_socket: socket.socket) -> None:
            """Load the model and answer batches until the server closes the connection."""
            from ts.protocol import otf_message_handler

            read = cl_socket.makefile("rb", PIECE_BYTES).read
            service = None
            while command := read(1):
                if command == b"I":
                    try:
                        batch = read_batch(read)
                    except struct.error:
                        break
                    cl_socket.sendall(answer(service, *batch))
                    continue
                order = otf_message_handler._retrieve_load_msg(SimpleNamespace(recv=read))
                service, message, code = self.load_model(order)
                cl_socket.sendall(otf_message_handler.create_load_model_response(code, message))
                if service is None:
                    raise RuntimeError(f"{code} - {message}")
                service.set_cl_socket(cl_socket)
            sys.exit(0)

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
