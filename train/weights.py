"""Writing weights with a record of how they were made, unless better ones are already there."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from model.record import compute_hash
from train.device import device_name


def may_write(weights: Path, measure: str, force: bool) -> bool:
    """Return whether weights may be written, or have a record of a measure to be better than; if not, say why."""
    if not weights.parent.is_dir():
        print(f"{weights.parent} is no folder.", file=sys.stderr)
        return False
    if force or not weights.exists() or measure in read_record(weights):
        return True
    print(f"{weights} has no record beside it to compare with: use --force to replace it.", file=sys.stderr)
    return False


def read_record(weights: Path) -> dict[str, Any]:
    """Return the record beside weights, empty if there is none."""
    path = weights.with_suffix(".json")
    return dict(json.loads(path.read_text())) if path.exists() else {}


def write(net: nn.Module, weights: Path, record: dict[str, Any], measure: str, force: bool) -> int:
    """Write a net's weights, and the record beside them; return 1 if better ones are kept.

    measure is the entry of the record that tells which are better: the higher, the better.
    """
    record |= {
        "device": device_name(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(record, indent=2))
    kept = 0.0 if force or not weights.exists() else read_record(weights)[measure]
    refused = record[measure] < kept
    target = weights.with_suffix(".worse.pt") if refused else weights
    torch.save({name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}, target)
    record["sha256"] = compute_hash(target)
    target.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    if refused:
        print(
            f"Kept {weights}: its {measure.replace('_', ' ')} {kept:.2%} is better than {record[measure]:.2%}. "
            f"The new weights are in {target}: use --force to replace the old ones.",
            file=sys.stderr,
        )
        return 1
    print(f"Wrote {target}.")
    return 0
