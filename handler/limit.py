"""Ends a worker whose decoder or net does not come to an end, so that another worker takes its requests.

The limit is the processor's time, not the clock's: a core that others use too makes no step longer. It is the system
that ends the process, also in the middle of a decoder's own code.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

# The slowest step measured, a JPEG 2000 of 25 megapixels and 8 MB, takes 2.3 s of a core of an AMD EPYC. To find 200
# digits in it, for which it is decoded again, takes a second more.
STEP_S = 10.0


@contextmanager
def limit_steps() -> Iterator[None]:
    """While the context lasts, end the process with SIGPROF once a step takes STEP_S seconds of processor time."""
    signal.setitimer(signal.ITIMER_PROF, STEP_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def begin_step() -> None:
    """Begin the next step, such as one picture; outside limit_steps it has no limit."""
    if signal.getitimer(signal.ITIMER_PROF)[0]:
        signal.setitimer(signal.ITIMER_PROF, STEP_S)
