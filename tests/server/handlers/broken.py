"""The shipped handler, but for a fault that every batch meets."""

from handler.digit_handler import DigitHandler
from handler.requests import Request, Row


class BrokenHandler(DigitHandler):
    """A handler that answers no batch."""

    def preprocess(self, data: list[Row]) -> list[Request]:
        """Raise RuntimeError."""
        raise RuntimeError(f"{len(data)} requests.")
