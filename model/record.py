"""Tells whether weights are the ones that their record describes."""

import hashlib
import json
from pathlib import Path
from typing import Any

# The exported nets that are shipped, DigitNet, InkNet and NumberNet.
WEIGHTS, INK_WEIGHTS, NUMBER_WEIGHTS = (
    Path(__file__).with_name(f"{name}_net.onnx") for name in ("digit", "ink", "number")
)


def check_record(weights: Path) -> None:
    """Raise RuntimeError unless the record beside weights, a .json, has their SHA-256."""
    record = weights.with_suffix(".json")
    try:
        wanted = json.loads(record.read_text())["sha256"]
        found = compute_hash(weights)
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise RuntimeError(f"{weights.name} and {record.name}, its record, cannot be compared: {cause!r}.") from cause
    if found != wanted:
        raise RuntimeError(
            f"{weights.name} is not the file that {record.name} describes: its SHA-256 begins with {found[:12]}, "
            f"not {wanted[:12]}."
        )


def compute_hash(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_record(weights: Path) -> dict[str, Any]:
    """Return the record beside weights, empty if there is none."""
    path = weights.with_suffix(".json")
    return dict(json.loads(path.read_text())) if path.exists() else {}
