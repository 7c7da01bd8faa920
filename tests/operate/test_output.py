"""A service prints without waiting for its reader, and says how much it could not print."""

import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

# Prints more than is kept, itself and by a child, and then, if wanted, until its input ends.
PROGRAM = """
import select, subprocess, sys
from operate.output import relay_output

with relay_output():
    for number in range(20_000):
        print(f"{number:01000}", file=sys.stderr)
    subprocess.run(["seq", "20000"], stdout=2)
    print("printed")
    while sys.argv[1:] and not select.select([sys.stdin], [], [], 0.01)[0]:
        print("again", file=sys.stderr)
"""
COMMAND = [sys.executable, "-c", PROGRAM]


@pytest.mark.parametrize("reader", ["a full disk", "one that left", "one that waits", "a stopped terminal"])
def test_what_cannot_be_printed_stops_nothing(reader: str) -> None:
    ours, theirs = pty.openpty() if reader == "a stopped terminal" else os.pipe()
    if reader == "a stopped terminal":
        termios.tcflow(theirs, termios.TCOOFF)
    elif reader == "one that left":
        os.close(ours)
    elif reader == "a full disk":
        os.close(theirs)
        theirs = os.open("/dev/full", os.O_WRONLY)
    try:
        assert subprocess.run(COMMAND, stdout=theirs, stderr=theirs, timeout=30).returncode == 0
    finally:
        for end in (ours, theirs):
            with suppress(OSError):
                os.close(end)


def test_closed_streams_stop_nothing() -> None:
    assert subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *COMMAND], timeout=30).returncode == 0


def test_every_line_is_printed_or_counted() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, "again"], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        assert program.stdin
        assert program.stdout
        assert program.stderr
        assert program.stdout.readline() == "printed\n"
        printed = list(iter(program.stderr.readline, "again\n"))
        program.stdin.close()
        printed += program.stderr
    assert printed[:2] == [f"{0:01000}\n", f"{1:01000}\n"]
    lost = [int(match[1]) for line in printed if (match := re.search(r"\[(\d+) lines could not be printed\.]", line))]
    assert sum(lost) > 1000
    assert len(printed) + sum(lost) >= 40_000
