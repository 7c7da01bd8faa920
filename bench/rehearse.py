"""Stage what an operator meets on a service of its own while Prometheus watches, and draw the dashboard.

It takes four minutes: rising load, one more worker, broken uploads, pictures without a digit, killed workers, a full
queue. The curves are those of the dashboard's own queries.
"""

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import psutil

from bench.dashboard import draw
from bench.load import require, run_wrk, send_in_turn
from bench.prometheus import query_range, run_prometheus
from bench.service import find_free_port, find_workers, run_service
from bench.traffic import make_bad, make_good
from evaluate.out_of_distribution import make_out_of_distribution
from evaluate.pictures import png
from operate.client import Client, encode_picture
from operate.config import CONFIG, ROOT, OperatorError, read_config
from train.mnist import read_test

PANELS = (
    *("Requests", "Time of a prediction", "Where the time goes"),
    *("Answers other than 200", "Refused, by reason", "Alerts over time"),
    *("Doubted", "Digits", "Confidence"),
    *("Workers", "Queue", "Requests in a batch"),
)
DRAWN = ROOT / "docs" / "dashboard.png"
# Time before the first event and after the last.
MARGIN_S = 15


def main() -> int:
    """Return 0 when the picture was drawn, 1 with a sentence if it could not be."""
    parser = argparse.ArgumentParser(prog="scripts/rehearse", description=__doc__)
    parser.add_argument("--config", type=Path, default=CONFIG, help="the service's configuration (%(default)s)")
    parser.add_argument("--picture", type=Path, default=DRAWN, help="where to draw it (%(default)s)")
    options = parser.parse_args()
    try:
        require("prometheus", "wrk")
        config = read_config(options.config)
        with (
            tempfile.TemporaryDirectory() as scratch,
            run_service(config) as service,
            run_prometheus(config.metrics.removeprefix("http://"), Path(scratch), find_free_port()) as prometheus,
        ):
            # By then Prometheus has scraped once.
            start_s = int(time.time()) + 2
            events = rehearse(Client(config), service, Path(scratch))
            end_s = int(time.time())
            options.picture.write_bytes(draw(prometheus, PANELS, start_s, end_s, events))
            print_alerts(prometheus, start_s, end_s)
    except (OperatorError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"Wrote {options.picture}.")
    return 0


def rehearse(client: Client, service: psutil.Process, folder: Path) -> dict[int, str]:
    """Stage what an operator meets; return each event by its second since 1970."""
    pixels = read_test()[0][:, 0].numpy()
    good, bad = make_good(client, pixels[:1000]), list(make_bad(client).values())
    odd = [
        (client.predictions, encode_picture(upload))
        for kind in make_out_of_distribution(pixels, 50)
        for upload in kind.uploads
    ]
    for number in range(100):
        (folder / f"{number}.png").write_bytes(png(pixels[number]))
    load = partial(run_wrk, "rehearse.lua", client, PICTURES=str(folder))
    events: dict[int, str] = {}

    def record(event: str) -> None:
        print(f"{event} ...", flush=True)
        events[int(time.time())] = event

    # Requests of every kind keep coming throughout.
    with send_in_turn(client.inference, good), send_in_turn(client.inference, good[::-1]):
        time.sleep(MARGIN_S)
        record("load rises")
        for clients in (4, 16, 64):
            load(clients, 10)
        record("one more worker")
        client.scale(3, 3)
        load(64, 20)
        record("broken uploads")
        with send_in_turn(client.inference, bad):
            time.sleep(20)
        record("no digits")
        with send_in_turn(client.inference, odd):
            time.sleep(20)
        record("two of three workers killed, twice")
        for _ in range(2):
            # As the kernel does when memory runs out.
            for worker in find_workers(service.children(recursive=True))[:2]:
                worker.kill()
            load(32, 15)
        record("2000 clients")
        load(2000, 20)
        record("all is well")
        time.sleep(MARGIN_S)
    return events


def print_alerts(prometheus: str, start_s: int, end_s: int) -> None:
    """Print which alerts were pending or firing, and when."""
    for labels, samples in query_range(prometheus, "ALERTS", start_s, end_s, 1):
        times = f"{samples[0][0] - start_s:.0f} to {samples[-1][0] - start_s:.0f} s"
        print(f"{labels['alertname']}: {labels['alertstate']} from {times}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
