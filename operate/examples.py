"""The shipped pictures, one per digit, which every working service reads correctly."""

from pathlib import Path

from operate.config import ROOT


def list_examples() -> dict[int, Path]:
    """Return the picture file of each digit 0 to 9."""
    return {int(path.stem): path for path in sorted((ROOT / "examples").glob("[0-9].*"))}
