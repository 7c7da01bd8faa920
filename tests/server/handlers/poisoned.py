"""The shipped handler, but for two uploads: "deadly" ends its worker, "endless" keeps it busy for ever."""

import os

import handler.limit
from handler.digit_handler import DigitHandler
from handler.requests import Request, Row


class PoisonedHandler(DigitHandler):
    """A handler with two faults that no picture is known to cause."""

    def preprocess(self, data: list[Row]) -> list[Request]:
        """Do what the poison does, or else what the shipped handler does."""
        uploads = [row.get("body") for row in data]
        if b"deadly" in uploads:
            os._exit(1)
        if b"endless" in uploads:
            # The shipped ten would only make the test longer.
            handler.limit.STEP_S = 1.0
            handler.limit.begin_step()
        while b"endless" in uploads:
            pass
        return super().preprocess(data)
