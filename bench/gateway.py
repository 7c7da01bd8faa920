"""The gateway as its image has it, in front of services on this machine."""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from operate.config import ROOT
from operate.gateway import Gateway

NOBODY = 65534
QUIT_TIMEOUT_S = 60


def read_settings() -> dict[str, str]:
    """Return what docker/Dockerfile sets for the gateway's templates."""
    return dict(re.findall(r'\b(GATEWAY_\w+)="?([^"\\\n]*?)"?(?: \\)?\n', (ROOT / "docker" / "Dockerfile").read_text()))


def make_gateway(folder: Path, port: int, *services: str, **settings: str) -> Gateway:
    """Return a gateway without rights, with its files in a folder, in front of services at http://host:port.

    Of the settings in docker/Dockerfile, only those given, and those that say where something is, are others.
    """
    shipped = read_settings()
    for name in ("web", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    server = shipped["GATEWAY_SERVERS"]
    places = {
        "GATEWAY_HTTP": f"127.0.0.1:{port}",
        "GATEWAY_SERVERS": " ".join(
            server.replace("service:8080 resolve", urlsplit(service).netloc) for service in services
        ),
        "GATEWAY_RESOLVER": "127.0.0.1",
        # As "resolve", newer than Debian's nginx.
        "GATEWAY_KEEPALIVE": "",
        "GATEWAY_FILES": str(folder),
    }
    user = NOBODY if os.geteuid() == 0 else None
    return Gateway(shipped | settings | places, folder, QUIT_TIMEOUT_S, user, "printed")
