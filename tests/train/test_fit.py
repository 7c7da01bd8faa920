"""An interrupted run goes on as if nothing had happened."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from train.fit import Checkpoint, Recipe, fit

RECIPE = Recipe(peak_learning_rate=0.1, weight_decay=0.01, rise_share=0.3, ema_share=0.4)
STEPS, EPOCH = 24, 6


def run(file: Path, seed: int, stop_at: int = STEPS) -> nn.Module:
    """Train a small net, and interrupt that before a step."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))

    def make(done: int) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(done, STEPS):
            if step == stop_at:
                raise KeyboardInterrupt
            inputs = torch.rand(8, 3, generator=generator)
            yield inputs, inputs.sum(1, keepdim=True)

    checkpoint = Checkpoint(file, {"seed": seed}, generator)
    return fit(net, make, STEPS, mse_loss, RECIPE, EPOCH, lambda step, loss, _: f"{step}: {loss}", checkpoint)


def test_an_interrupted_run_ends_with_the_weights_of_a_whole_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 1)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", 1, stop_at=2 * EPOCH + 1)
    resumed = run(tmp_path / "part", 1)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_with_other_options_starts_anew(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", 1, stop_at=2 * EPOCH + 1)
    for one, other in zip(whole.parameters(), run(tmp_path / "part", 2).parameters(), strict=True):
        assert torch.equal(one, other)
