"""Load on a service: many clients of wrk, or one client that sends a mixture of requests in turn."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import requests

from bench.traffic import Request
from operate.client import Client, ServiceError
from operate.config import OperatorError

PAUSE_S = 0.01


def run_wrk(script: str, client: Client, clients: int, seconds: float, **environment: str) -> str:
    """Run wrk with a Lua script of this folder and that many clients; return what it prints. Raises ServiceError."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    command += ["-s", str(Path(__file__).with_name(script)), client.inference + client.predictions]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ServiceError(f"wrk failed: {(run.stderr or run.stdout).strip()}")
    return run.stdout


def require(*programs: str) -> None:
    """Raise OperatorError if one of these programs is not installed."""
    for program in programs:
        if not shutil.which(program):
            raise OperatorError(f"{program} is missing: install it first (Debian: apt install {program}).")


@contextmanager
def send_in_turn(address: str, mixture: Sequence[Request], pause_s: float = PAUSE_S) -> Iterator[None]:
    """Send these requests to http://host:port in turn, whatever the answers, while the context lasts."""
    is_over = threading.Event()

    def send() -> None:
        with requests.Session() as session:
            for path, (body, headers) in cycle(mixture):
                if is_over.wait(pause_s):
                    return
                try:
                    session.post(address + path, data=body, headers=headers, timeout=30)
                except requests.RequestException:
                    # For example, the server closes the connection while it receives a body that is too large.
                    continue

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        sender.join()
