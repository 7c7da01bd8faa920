"""Serves the page: the files of web/, the shipped pictures, and config.json, which describes the service to scripts."""

import http.server
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from operate.config import ROOT, Config, keep_folder
from operate.examples import list_examples


@contextmanager
def serve_page(config: Config) -> Iterator[None]:
    """Serve the page at the configured origin, from a thread, while the context lasts."""
    handler = partial(PageHandler, directory=str(ROOT / "web"), config=config)
    with PageServer(config.split_address("cors_allowed_origin"), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


class PageServer(http.server.ThreadingHTTPServer):
    """Serves at an IPv4 or IPv6 address."""

    def __init__(self, address: tuple[str, int], handler: Callable[..., Any]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Print an error, unless it is that a client went away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class PageHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the files of web/, the shipped pictures, and config.json."""

    # Seconds for a request to arrive.
    timeout = 30
    # Python 3.11 and 3.12 do not know it.
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {".webp": "image/webp"}

    def __init__(self, *args: Any, config: Config, **kwargs: Any) -> None:  # noqa: ANN401
        self.config = config
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        """Answer with a file, or redirect a browser that uses another host name (localhost) to the configured one."""
        if self.headers.get("Host") != urlsplit(self.config.page).netloc:
            self.send_response(http.HTTPStatus.TEMPORARY_REDIRECT)
            self.send_header("Location", self.config.page + "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/config.json":
            settings = {
                "inference": self.config.inference,
                "model": self.config.model,
                "max_request_bytes": self.config.max_request_bytes,
                "keeps": keep_folder() is not None,
            }
            content = json.dumps(settings).encode()
            self.send_response(http.HTTPStatus.OK)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        else:
            super().do_GET()

    def translate_path(self, path: str) -> str:
        """Return the file of a path: a shipped picture, or one of web/."""
        example = ROOT / path.removeprefix("/")
        return str(example) if example in list_examples().values() else super().translate_path(path)

    def list_directory(self, path: str | os.PathLike[str]) -> None:  # noqa: ARG002
        """Refuse to list a folder."""
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Let the page load its own files and call the inference API, and nothing else."""
        # A policy cannot name an IPv6 address.
        send_policy(self, re.sub(r"\[.*]", "*", self.config.inference))
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


def send_policy(handler: http.server.BaseHTTPRequestHandler, *called: str) -> None:
    """Send the headers that let a page load its own files, call other origins, and nothing else."""
    policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    policy += " ".join(("connect-src 'self'", *called)) + "; "
    policy += "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    handler.send_header("Content-Security-Policy", policy)
    handler.send_header("X-Content-Type-Options", "nosniff")
    handler.send_header("Referrer-Policy", "no-referrer")
