"""Types of command-line options."""

import argparse


def positive(text: str) -> int:
    """Return text as a whole number above 0, as an argparse type."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
