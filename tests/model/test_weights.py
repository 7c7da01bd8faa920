"""Weights are read without torch as torch reads them; a file that holds anything else is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.weights import INK_WEIGHTS, WEIGHTS, load_weights


def test_weights_are_read_as_by_torch(tmp_path: Path) -> None:
    views = tmp_path / "views.pt"
    whole = torch.arange(24.0)
    torch.save({"part": whole[3:15].view(3, 4), "turned": whole.view(4, 6).t(), "one": torch.tensor(2.0)}, views)
    for file in (WEIGHTS, INK_WEIGHTS, views):
        exact = torch.load(file, weights_only=True)
        found = load_weights(file)
        assert list(found) == list(exact)
        assert all(np.array_equal(found[name], exact[name].numpy()) for name in exact)
        assert all(tensor.dtype == np.float32 and tensor.flags.c_contiguous for tensor in found.values())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": Path("x")}, "it holds pathlib"),
        ({"a": torch.nn.Linear(1, 1)}, "it holds torch.nn"),
        ({"a": torch.ones(2, dtype=torch.float64)}, "it holds torch.DoubleStorage"),
        (b"no weights", "not a zip file"),
        (b"", "not a zip file"),
    ],
    ids=["object", "module", "dtype", "text", "empty"],
)
def test_anything_else_is_refused(content: Any, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(RuntimeError, match=f"^weights.pt cannot be read as weights: .*{reason}"):
        load_weights(file)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    whole = INK_WEIGHTS.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200_000] + bytes(1000) + whole[201_000:]):
        file.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="cannot be read as weights"):
            load_weights(file)
