"""The shipped gateway in front of services, as its image has it."""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from operate.config import ROOT
from operate.gateway import Gateway, find_nginx
from tests.harness.service import free_port

NOBODY = 65534
QUIT_TIMEOUT_S = 60


def read_settings() -> dict[str, str]:
    """Return what docker/Dockerfile sets for the gateway's templates."""
    return dict(re.findall(r'\b(GATEWAY_\w+)="?([^"\\\n]*?)"?(?: \\)?\n', (ROOT / "docker" / "Dockerfile").read_text()))


@contextlib.contextmanager
def run_gateway(
    *services: str, certificates: Path | None = None, settings: dict[str, str] | None = None
) -> Iterator[Gateway]:
    """Run nginx without rights in front of services at http://host:port, or skip the test where there is no nginx.

    Of the settings in docker/Dockerfile, only those given, and those that say where something is, are others.
    """
    if not find_nginx():
        pytest.skip("needs nginx (Debian: apt install nginx)")
    shipped = read_settings()
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        for room in ("web", "examples"):
            shutil.copytree(ROOT / room, folder / room)
        if certificates:
            shutil.copytree(certificates, folder / "certificates")
        server = shipped["GATEWAY_SERVERS"]
        places = {
            "GATEWAY_HTTP": f"127.0.0.1:{free_port()}",
            "GATEWAY_SERVERS": " ".join(server.replace("service:8080 resolve", urlsplit(at).netloc) for at in services),
            "GATEWAY_RESOLVER": "127.0.0.1",
            # As "resolve", newer than Debian's nginx.
            "GATEWAY_KEEPALIVE": "",
            "GATEWAY_FILES": str(folder),
            "GATEWAY_CERTIFICATES": str(folder / "certificates"),
        }
        with (folder / "printed").open("ab") as printed:
            options: dict[str, Any] = {"stdout": printed, "stderr": printed}
            if os.geteuid() == 0:
                options |= {"user": NOBODY, "group": NOBODY}
                for path in (folder, *folder.rglob("*")):
                    os.chown(path, NOBODY, NOBODY)
            with Gateway(shipped | (settings or {}) | places, folder, QUIT_TIMEOUT_S, **options) as gateway:
                yield gateway
        assert gateway.process.returncode == 0
