"""Makes Java's AOT cache: the server's classes as they are after a training run, so that Java starts fast and warm."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path

from operate.archive import build
from operate.client import TIMEOUT_S, Client
from operate.config import CONFIG, ROOT, OperatorError, read_config
from operate.examples import list_examples
from operate.torchserve import AOT_CACHE, CLASSES, JAVA, TorchServe

# The training run. A shorter one makes the cache slower than none.
SECONDS = 5.0
CLIENTS = 8


def provide_cache() -> None:
    """Make the cache in a process of its own if it is missing, or older than what it was made from."""
    made_from = max(file.stat().st_mtime for file in (*CLASSES, JAVA))
    if AOT_CACHE.exists() and AOT_CACHE.stat().st_mtime > made_from:
        return
    if not os.access(AOT_CACHE.parent, os.W_OK):
        print(f"{AOT_CACHE.parent} cannot be written: Java will need some seconds to become fast.", file=sys.stderr)
        return
    print("Training Java, once ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="aot-cache-", dir=AOT_CACHE.parent) as folder:
        # TorchServe's logs stay out of the service's.
        environment = os.environ | {"LOG_LOCATION": folder}
        command = [sys.executable, "-m", __name__, folder]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as training:
            try:
                _, problem = training.communicate()
            finally:
                # After a signal to this process; it ends its own ones.
                training.terminate()
    if training.returncode:
        print(f"Java will need some seconds to become fast: {problem.strip()}", file=sys.stderr)


def make(folder: Path) -> None:
    """Train the server, with free ports and an archive of its own in a folder, and keep the cache.

    Raises OperatorError.
    """
    values = read_config().values | {"model_store": str(folder)}
    with ExitStack() as ports:
        for name in ("inference_address", "management_address", "metrics_address"):
            port = ports.enter_context(socket.socket())
            port.bind(("127.0.0.1", 0))
            values[name] = f"http://127.0.0.1:{port.getsockname()[1]}"
    file = folder / CONFIG.name
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    config = read_config(file)
    build(folder, config.model)
    made = folder / AOT_CACHE.name
    # Java writes the cache when it ends.
    with TorchServe(config, f"-XX:AOTCacheOutput={made}") as torchserve:
        torchserve.wait_until_ready()
        client = Client(config)
        with ThreadPoolExecutor(CLIENTS) as clients:
            end = time.monotonic() + SECONDS
            list(clients.map(partial(ask_until, end, client), range(CLIENTS)))
    made.replace(AOT_CACHE)


def ask_until(end: float, client: Client, first: int) -> None:
    """Send shipped pictures over one connection until a time.monotonic(), without requests, which is slower."""
    pictures = [picture.read_bytes() for picture in list_examples().values()]
    with closing(HTTPConnection(client.inference.removeprefix("http://"), timeout=TIMEOUT_S)) as connection:
        for picture in cycle(pictures[first:] + pictures[:first]):
            connection.request("POST", client.predictions, picture)
            connection.getresponse().read()
            if time.monotonic() > end:
                return


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        make(Path(sys.argv[1]))
    except (OperatorError, OSError) as error:
        sys.exit(str(error))
