"""Put a service of our own through what an operator meets, with Prometheus watching, and draw the dashboard.

It takes four minutes: load that rises, one more worker, broken uploads, workers that are killed, a full queue and
pictures that are no digits. The curves are those of the dashboard's own queries.
"""

import argparse
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path

import psutil
import requests
from bench import run_wrk, serving
from dashboard import draw
from management import manage
from mnist import read_test
from nondigits import make_nondigits
from pictures import png
from prometheus import PrometheusError, query_range, run_prometheus
from service import CONFIG, PREDICTIONS, ROOT, ServiceError, connect, read_config
from traffic import Request, make_bad, make_good

PANELS = (
    *("Requests", "Time of a prediction", "Where the time goes"),
    *("Answers other than 200", "Refused, by reason", "Alerts over time"),
    *("Doubted", "Digits", "Confidence"),
    *("Workers", "Queue", "Requests in a batch"),
)
DRAWN = ROOT / "docs" / "dashboard.png"
# Before the first event and after the last.
MARGIN_S = 15


def main() -> int:
    """Return 0 when the picture was drawn, 1 with a sentence if it could not be."""
    parser = argparse.ArgumentParser(prog="scripts/rehearse", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="the service's configuration (%(default)s)")
    parser.add_argument("--picture", type=Path, default=DRAWN, help="where to draw it (%(default)s)")
    options = parser.parse_args()
    for program in ("prometheus", "wrk"):
        if not shutil.which(program):
            print(f"{program} is missing: install it first (Debian: apt install {program}).", file=sys.stderr)
            return 1
    try:
        config = read_config(options.config)
        with (
            tempfile.TemporaryDirectory() as scratch,
            serving(options.config) as service,
            run_prometheus(config["metrics_address"].removeprefix("http://"), Path(scratch), free_port()) as prometheus,
        ):
            # The first look of Prometheus is over by then.
            start_s = int(time.time()) + 2
            events = rehearse(config, service, Path(scratch))
            end_s = int(time.time())
            options.picture.write_bytes(draw(prometheus, PANELS, start_s, end_s, events))
            print_alerts(prometheus, start_s, end_s)
    except (ServiceError, PrometheusError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Wrote {options.picture}.")
    return 0


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def rehearse(config: dict[str, str], service: psutil.Process, folder: Path) -> dict[int, str]:
    """Let happen what an operator meets; return what it was, by its second since 1970."""
    pixels = read_test()[0][:, 0].numpy()
    good = make_good(pixels[:1000])
    strange = [(PREDICTIONS, {"data": file}) for kind in make_nondigits(pixels, 50) for file in kind.uploads]
    for number in range(100):
        (folder / f"{number}.png").write_bytes(png(pixels[number]))
    inference = config["inference_address"]
    load = partial(run_wrk, "rehearse.lua", inference, PICTURES=str(folder))
    events: dict[int, str] = {}

    def happens(event: str) -> None:
        print(f"{event} ...", flush=True)
        events[int(time.time())] = event

    # Somebody asks for this and that all the time.
    with sending(inference, good), sending(inference, good[::-1]):
        time.sleep(MARGIN_S)
        happens("load rises")
        for clients in (4, 16, 64):
            load(clients, 10)
        happens("one more worker")
        with connect(config) as session:
            manage(config, session, "PUT", min_worker=3, max_worker=3)
        load(64, 20)
        happens("broken uploads")
        with sending(inference, list(make_bad().values())):
            time.sleep(20)
        happens("no digits")
        with sending(inference, strange):
            time.sleep(20)
        happens("two of three workers killed, twice")
        for _ in range(2):
            # As a lack of memory does.
            for worker in find_workers(service)[:2]:
                worker.kill()
            load(32, 15)
        happens("2000 clients")
        load(2000, 20)
        happens("all is well")
        time.sleep(MARGIN_S)
    return events


@contextmanager
def sending(address: str, mixture: Sequence[Request]) -> Iterator[None]:
    """Let a client send these requests in turn, whatever becomes of them, while the context lasts."""
    is_over = threading.Event()

    def send() -> None:
        with requests.Session() as session:
            for path, arguments in cycle(mixture):
                if is_over.wait(0.01):
                    return
                try:
                    session.post(address + path, **arguments, timeout=30)
                except requests.RequestException:
                    # Such as a connection that is closed while a body which is too large is being sent.
                    continue

    client = threading.Thread(target=send)
    client.start()
    try:
        yield
    finally:
        is_over.set()
        client.join()


def find_workers(service: psutil.Process) -> list[psutil.Process]:
    """Return the processes of a service that read pictures."""
    family = service.children(recursive=True)
    return [each for each in family if any("model_service_worker" in word for word in each.cmdline())]


def print_alerts(prometheus: str, start_s: int, end_s: int) -> None:
    """Say which alerts there were, and when."""
    for labels, samples in query_range(prometheus, "ALERTS", start_s, end_s, 1):
        times = f"{samples[0][0] - start_s:.0f} to {samples[-1][0] - start_s:.0f} s"
        print(f"{labels['alertname']}: {labels['alertstate']} from {times}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
