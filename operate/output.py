"""Lets a service print without waiting for its reader: a full disk, a stopped terminal, a pipe that nobody reads."""

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

# What waits to be printed: so many pieces, each of at most so many bytes.
PIECES, PIECE_BYTES = 500, 1 << 14
# Within which the last of it must be printed.
END_TIMEOUT_S = 0.5


@contextmanager
def relay_output() -> Iterator[None]:
    """Relay what this process and its children print while the context lasts; what cannot be printed is counted."""
    # Files that are opened would take the places of closed streams.
    while os.open(os.devnull, os.O_RDWR) <= 2:
        pass
    with relay(1), relay(2):
        try:
            yield
        finally:
            print(end="", flush=True)


@contextmanager
def relay(stream: int) -> Iterator[None]:
    """Replace a stream by a pipe that is always read."""
    target = os.dup(stream)
    reader, writer = os.pipe()
    os.dup2(writer, stream)
    os.close(writer)
    pieces: queue.Queue[bytes] = queue.Queue(PIECES)

    def read() -> None:
        pass_on(iter(partial(os.read, reader, PIECE_BYTES), b""), pieces.put_nowait)
        pieces.put(b"")

    threading.Thread(target=read, daemon=True).start()
    printing = threading.Thread(target=pass_on, args=(iter(pieces.get, b""), partial(os.write, target)), daemon=True)
    printing.start()
    try:
        yield
    finally:
        os.dup2(target, stream)
        printing.join(END_TIMEOUT_S)


def pass_on(pieces: Iterable[bytes], send: Callable[[bytes], object]) -> None:
    """Send pieces of text; before the first one after some that could not be sent, say how many lines they had."""
    lost = 0
    for piece in pieces:
        try:
            send((b"\n[%d lines could not be printed.]\n" % lost if lost else b"") + piece)
            lost = 0
        except (OSError, queue.Full):
            lost += piece.count(b"\n")
