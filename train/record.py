"""What both training commands share: their options, and weights written with a record unless better ones are there."""

import argparse
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.record import compute_hash, read_record
from train.export import Net, export, load
from train.fit import Checkpoint

CHECKPOINT = ".checkpoint"


def make_parser(prog: str, description: str | None, weights: Path) -> argparse.ArgumentParser:
    """Return a parser of --seed, --weights and --force."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    parser.add_argument("--weights", type=Path, default=weights, help="file to write, its record beside it as .json")
    parser.add_argument("--force", action="store_true", help="replace weights even if they are better")
    return parser


def find_checkpoint(
    options: argparse.Namespace, generator: torch.Generator, suffix: str = CHECKPOINT, **others: str
) -> Checkpoint:
    """Return the checkpoint of a run with these options, and others by their names, beside the weights it writes."""
    named = {name: str(value) for name, value in vars(options).items() if name != "force"}
    return Checkpoint(options.weights.with_suffix(suffix), named | others, generator)


def positive(text: str) -> int:
    """Return text as a whole number above 0, as an argparse type."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def may_write(weights: Path, measure: str, force: bool) -> bool:
    """Return whether weights may be written, or have a record of a measure to compare with; if not, print why."""
    if not weights.parent.is_dir():
        print(f"{weights.parent} is no folder.", file=sys.stderr)
        return False
    if force or not weights.exists() or measure in read_record(weights):
        return True
    print(f"{weights} has no record beside it to compare with: use --force to replace it.", file=sys.stderr)
    return False


def write(
    net: Net,
    last: nn.Module,
    inputs: Tensor,
    weights: Path,
    record: dict[str, Any],
    measure: Callable[[Net], dict[str, Any]],
    force: bool,
    step: int | None = None,
) -> int:
    """Export a net with a last layer, quantised with inputs, and its record; return 1 if a better one is kept.

    measure returns what the record says of the weights as exported; its first entry decides: the higher, the better.
    With a step, height and width of the inputs may be any multiples of that.
    """
    candidate = weights.with_suffix(".worse.onnx")
    export(net, last, inputs, candidate, step)
    write_record(candidate, record)
    measured = measure(load(net, candidate))
    record |= measured | describe_machine()
    write_record(candidate, record)
    print(json.dumps(record, indent=2))
    weights.with_suffix(CHECKPOINT).unlink(missing_ok=True)
    name, value = next(iter(measured.items()))
    kept = 0.0 if force or not weights.exists() else read_record(weights)[name]
    if value < kept:
        print(
            f"Kept {weights}: its {name.replace('_', ' ')} {kept:.2%} is better than {value:.2%}. "
            f"The new weights are in {candidate}: use --force to replace the old ones.",
            file=sys.stderr,
        )
        return 1
    put_in_place(candidate, weights)
    print(f"Wrote {weights}.")
    return 0


def put_in_place(candidate: Path, weights: Path) -> None:
    """Put candidate weights and their record in the place of others."""
    candidate.replace(weights)
    candidate.with_suffix(".json").replace(weights.with_suffix(".json"))


def write_record(weights: Path, record: dict[str, Any]) -> None:
    """Write the record of weights beside them, with their hash."""
    record["sha256"] = compute_hash(weights)
    weights.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def describe_machine() -> dict[str, str]:
    """Return what a record says of the hardware and of the versions that train."""
    return {"device": device_name(), "torch": torch.__version__, "python": platform.python_version()}


def device_name() -> str:
    """Return the name of the hardware."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads, {torch.cpu.get_capabilities().get('cpu_name', platform.machine())}"
