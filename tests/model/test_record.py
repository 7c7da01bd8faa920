"""Weights are used only if they are those that their record describes."""

import json
from pathlib import Path

import pytest

from model.record import check_record, compute_hash


@pytest.mark.parametrize("record", ["", "[]", "{}", None], ids=["empty", "list", "no hash", "missing"])
def test_without_a_record_weights_are_not_used(record: str | None, tmp_path: Path) -> None:
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"weights")
    if record is not None:
        weights.with_suffix(".json").write_text(record)
    with pytest.raises(RuntimeError, match=r"^net\.onnx and net\.json, its record, cannot be compared: "):
        check_record(weights)


def test_one_changed_bit_is_found(tmp_path: Path) -> None:
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"weights")
    weights.with_suffix(".json").write_text(json.dumps({"sha256": compute_hash(weights)}))
    check_record(weights)
    weights.write_bytes(b"weighus")
    with pytest.raises(
        RuntimeError, match=r"^net\.onnx is not the file that net\.json describes: its SHA-256 begins with "
    ):
        check_record(weights)
