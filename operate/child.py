"""Starts a server as a child process, which ends when this program does, and ends it."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

# Runs a command that gets SIGTERM when standard input ends, and with it this program, even if that was killed.
TIED = 'exec 3<&0 </dev/null; (read -r _ <&3; kill $$) >/dev/null 2>&1 & exec "$@" 3<&-'


def start_child(command: Sequence[str], **options: Any) -> "subprocess.Popen[str]":  # noqa: ANN401
    """Start a command; options are those of subprocess.Popen."""
    tied = ["/bin/sh", "-c", TIED, "sh", *command]
    # Its own session: Ctrl-C in the terminal reaches only this program, which then ends the child in order.
    return subprocess.Popen(tied, stdin=subprocess.PIPE, start_new_session=True, text=True, errors="replace", **options)


def end_child(process: "subprocess.Popen[str]", way: signal.Signals, timeout_s: float) -> None:
    """Send a signal after which the child finishes its requests, and after a time kill what is left of its session."""
    process.send_signal(way)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()
