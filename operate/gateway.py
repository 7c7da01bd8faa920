"""Runs the gateway: nginx with the templates of docker/gateway."""

import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

from operate.child import end_child, start_child
from operate.config import ROOT, OperatorError

POLL_S = 0.05


def find_nginx() -> str | None:
    """Return the path of nginx, which only root has on its PATH in Debian, or None."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


class Gateway:
    """nginx with its own folder while the context lasts; options are those of subprocess.Popen."""

    def __init__(self, settings: dict[str, str], folder: Path, quit_timeout_s: float, **options: Any) -> None:  # noqa: ANN401
        self.settings, self.folder, self.quit_timeout_s, self.options = settings, folder, quit_timeout_s, options

    @property
    def address(self) -> str:
        """Where this machine reaches it."""
        return f"http://127.0.0.1:{self.settings['GATEWAY_HTTP'].rpartition(':')[2]}"

    def __enter__(self) -> "Gateway":
        """Start it and return when it listens. Raises OperatorError."""
        self.folder.mkdir(exist_ok=True)
        fill_templates(self.settings, self.folder)
        self.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        """Stop it."""
        self.stop()

    def start(self) -> None:
        """Start nginx and return when it listens. Raises OperatorError."""
        nginx = find_nginx()
        if not nginx:
            raise OperatorError("nginx is missing (Debian: apt install nginx).")
        command = [nginx, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]
        self.process = start_child(command, **self.options)
        while not self.is_listening():
            self.check()
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Accept no more requests and answer the accepted ones, but cut off clients that are too slow."""
        end_child(self.process, signal.SIGQUIT, self.quit_timeout_s)

    def check(self) -> None:
        """Raise OperatorError if it has ended."""
        if self.process.poll() is not None:
            raise OperatorError(f"nginx ended with code {self.process.returncode}.")

    def is_listening(self) -> bool:
        """Return whether it accepts connections."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", int(self.address.rpartition(":")[2]))) == 0


def fill_templates(settings: dict[str, str], folder: Path) -> None:
    """Write the gateway's configuration into a folder; missing settings become empty."""
    for template in (ROOT / "docker" / "gateway").glob("*.template"):
        filled = re.sub(r"\$\{(GATEWAY_\w+)\}", lambda name: settings.get(name[1], ""), template.read_text())
        (folder / template.stem).write_text(filled)
