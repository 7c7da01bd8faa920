"""Reads what the Java server sends to the worker in large pieces."""

import socket
import sys

from ts.protocol import otf_message_handler

PIECE_BYTES = 1 << 18


def read_in_large_pieces() -> None:
    """Make TorchServe's worker take fields from a buffer: its own way is a system call for each, thirty a request.

    A worker has one connection, and the server waits for an answer before it sends more.
    """
    received = b""
    position = 0

    def retrieve(connection: socket.socket, length: int) -> bytes:
        """Return the next bytes of a message; end the worker if the server has closed the connection."""
        nonlocal received, position
        end = position + length
        if end > len(received):
            pieces = [received[position:]]
            missing = end - len(received)
            while missing > 0:
                piece = connection.recv(max(PIECE_BYTES, missing))
                if not piece:
                    sys.exit(0)
                pieces.append(piece)
                missing -= len(piece)
            received, position, end = b"".join(pieces), 0, length
        field = received[position:end]
        position = end
        return field

    otf_message_handler._retrieve_buffer = retrieve
