"""Label the pictures of a folder in a browser, one key each: those that a service kept, or any others.

Each label is saved at once in the folder's labels.csv, which scripts/train --more reads. Pictures that have a line
there are not shown again.
"""

import argparse
import http.server
import io
import json
import secrets
import shlex
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from PIL import Image

from model.decode import load_grey, open_image
from model.errors import BadImage
from operate.command import run
from operate.config import ROOT, OperatorError
from operate.labelling import LabelTable, find_pictures, read_answer
from operate.labels import CHOICES, LABELS
from operate.page import PageServer, send_policy

# What the page consists of.
FILES = {
    "": (ROOT / "operate" / "review.html", "text/html; charset=utf-8"),
    "review.js": (ROOT / "operate" / "review.js", "text/javascript"),
    "review.css": (ROOT / "operate" / "review.css", "text/css"),
    "style.css": (ROOT / "web" / "style.css", "text/css"),
    "icon.svg": (ROOT / "web" / "icon.svg", "image/svg+xml"),
}


def main() -> int:
    """Serve the page until Ctrl-C and return 0. Raises OperatorError, or OSError for a folder that cannot be read."""
    parser = argparse.ArgumentParser(prog="scripts/review", description=__doc__)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="that of scripts/serve --keep, or any of pictures")
    parser.add_argument("--port", type=int, default=0, help="port of the page on 127.0.0.1 (one that is free)")
    options = parser.parse_args()
    folder, train = options.folder, f"scripts/train --more {shlex.quote(str(options.folder))}"
    table = LabelTable(folder)
    known = {Path(file) for file in table.list_files()}
    pictures = [file for file in find_pictures(folder) if Path(file) not in known]
    if not pictures:
        print(f"Every picture in {folder} has a line in {LABELS}. Next: {train}")
        return 0
    review = Review(folder, table, pictures, train)
    with start_server(options.port, review) as server:
        print(f"Pictures to label: {len(pictures)}. Open http://127.0.0.1:{server.server_port}/{review.token}/")
        print("Each label is saved at once. Ctrl-C ends this.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"\nLabelled: {len(review.labels)} of {len(pictures)}, in {table.path}. Next: {train}")
    return 0


@dataclass
class Review:
    """A review: its folder, pictures by their paths in it, and what was labelled."""

    folder: Path
    table: LabelTable
    pictures: list[str]
    # The command that comes next.
    train: str
    # The labels by the index of the picture.
    labels: dict[int, str] = field(default_factory=dict)
    # Other pages in the browser do not know it.
    token: str = field(default_factory=partial(secrets.token_urlsafe, 16))


def start_server(port: int, review: Review) -> PageServer:
    """Return the server of the page. Raises OperatorError if the port cannot be used."""
    try:
        return PageServer(("127.0.0.1", port), partial(ReviewHandler, review=review))
    except (OSError, OverflowError) as cause:
        raise OperatorError(f"Port {port} cannot be used ({cause}): name another with --port.") from cause


def read_png(path: Path) -> bytes:
    """Return a picture file as the service reads it, in grey and reduced, as a PNG. Raises BadImage, OSError."""
    grey, _ = load_grey(open_image(path.read_bytes()))
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG", compress_level=1)
    return file.getvalue()


class ReviewHandler(http.server.BaseHTTPRequestHandler):
    """Serves the page and its pictures, and takes the labels."""

    # Seconds for a request to arrive.
    timeout = 30

    def __init__(self, *args: Any, review: Review, **kwargs: Any) -> None:  # noqa: ANN401
        self.review = review
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        """Answer with a file of the page, the list of pictures, or a picture."""
        path, review = self.find_path(), self.review
        if path in FILES:
            file, kind = FILES[path]
            self.answer(HTTPStatus.OK, file.read_bytes(), kind)
        elif path == "pictures.json":
            pictures = [{"file": file} | read_answer(review.folder / file) for file in review.pictures]
            self.answer(HTTPStatus.OK, json.dumps({"pictures": pictures, "train": review.train}).encode())
        elif (index := self.find_index("pictures/")) is not None:
            try:
                self.answer(HTTPStatus.OK, read_png(review.folder / review.pictures[index]), "image/png")
            except BadImage as problem:
                self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
            except OSError as problem:
                self.refuse(HTTPStatus.UNPROCESSABLE_ENTITY, f"{problem.strerror}.")
        else:
            self.refuse(HTTPStatus.NOT_FOUND, "Open the address that scripts/review printed.")

    def do_PUT(self) -> None:
        """Save the label of a picture, which is the body."""
        index = self.find_index("labels/")
        length = self.headers.get("Content-Length", "")
        label = self.rfile.read(min(int(length), 10)).decode(errors="replace") if length.isdecimal() else ""
        if index is None or label not in CHOICES:
            self.refuse(HTTPStatus.BAD_REQUEST, "Send a label from 0 to 9, or none.")
        else:
            self.change(index, label)

    def do_DELETE(self) -> None:
        """Remove the label of a picture."""
        index = self.find_index("labels/")
        if index is None:
            self.refuse(HTTPStatus.NOT_FOUND, "There is no such picture.")
        else:
            self.change(index, "")

    def change(self, index: int, label: str) -> None:
        """Give a picture another label, "" for none, and answer."""
        review = self.review
        file = review.pictures[index]
        try:
            if index in review.labels:
                review.table.remove(file, review.labels[index])
                del review.labels[index]
            if label:
                review.table.add(file, label)
                review.labels[index] = label
        except OSError as problem:
            sentence = f"{review.table.path} cannot be written: {problem.strerror}."
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, sentence)
        else:
            self.answer(HTTPStatus.NO_CONTENT)

    def find_path(self) -> str | None:
        """Return the requested path below the token, or None for a request without it or for another host."""
        host = self.headers.get("Host", "").partition(":")[0]
        token, _, path = self.path.removeprefix("/").partition("/")
        is_known = secrets.compare_digest(token.encode(), self.review.token.encode())
        return path if is_known and host in ("127.0.0.1", "localhost") else None

    def find_index(self, start: str) -> int | None:
        """Return the index of the picture at a path with this start, or None."""
        number = (self.find_path() or "").removeprefix(start)
        return int(number) if number.isdecimal() and int(number) < len(self.review.pictures) else None

    def refuse(self, status: HTTPStatus, sentence: str) -> None:
        """Answer with an error."""
        self.answer(status, json.dumps({"error": sentence}).encode())

    def answer(self, status: HTTPStatus, body: bytes = b"", kind: str = "application/json") -> None:
        """Answer with a body."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        send_policy(self)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Print nothing."""


if __name__ == "__main__":
    run(main)
