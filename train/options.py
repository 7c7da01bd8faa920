"""What the command lines of both training programs share."""

import argparse
from pathlib import Path


def make_parser(prog: str, description: str | None, seed: int, weights: Path) -> argparse.ArgumentParser:
    """Return a parser of --seed, --weights and --force with these defaults."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--seed", type=int, default=seed, help="of all random numbers (%(default)s)")
    parser.add_argument("--weights", type=Path, default=weights, help="file to write, its record beside it as .json")
    parser.add_argument("--force", action="store_true", help="replace weights even if they are better")
    return parser


def positive(text: str) -> int:
    """Return text as a whole number above 0, as an argparse type."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
