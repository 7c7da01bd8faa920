"""No child outlives the program that started it, however that ends."""

import signal
import subprocess
import sys

import psutil

from operate.child import end_child, start_child
from tests.harness.service import poll

PROGRAM = """
import time
from operate.child import start_child

print(start_child(["sleep", "1000"]).pid, flush=True)
time.sleep(1000)
"""


def test_a_child_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        poll(lambda: child.name() == "sleep")
        parent.kill()
        poll(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_what_a_child_prints_need_not_be_utf_8() -> None:
    child = start_child(["printf", "seven \\377\\n"], stdout=subprocess.PIPE)
    assert child.stdout
    with child.stdout as printed:
        assert printed.read() == "seven \ufffd\n"
    end_child(child, signal.SIGTERM, 1)
