"""A step that does not come to an end is ended; those that only wait, or only are many, are not."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import time
from handler import limit
limit.STEP_S = 0.5

def work(cpu_s):
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass

with limit.limit_steps():
    {inside}
{after}
"""


def run(inside: str, after: str = "pass") -> int:
    """Return the exit code of a program with steps of half a second."""
    program = PROGRAM.format(inside=inside, after=after)
    return subprocess.run([sys.executable, "-c", program], timeout=120).returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inside", "after", "code"),
    [
        ("work(60)", "pass", -signal.SIGPROF),
        # In C, where Python's own signal handlers would wait for the end.
        ("pow(3, 10 ** 9)", "pass", -signal.SIGPROF),
        ("[(limit.begin_step(), work(0.3)) for _ in range(4)]", "pass", 0),
        ("[work(0.3) for _ in range(4)]", "pass", -signal.SIGPROF),
        ("time.sleep(1)", "pass", 0),
        ("pass", "limit.begin_step(); work(1)", 0),
    ],
)
def test_only_a_step_that_works_too_long_is_ended(inside: str, after: str, code: int) -> None:
    assert run(inside, after) == code
