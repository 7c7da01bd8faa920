"""The training loop of all nets."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

# Of the moving average of the weights.
EMA_DECAY = 0.999


class Recipe(NamedTuple):
    """How a net is trained."""

    peak_learning_rate: float
    weight_decay: float
    # The share of the steps in which the learning rate rises.
    rise_share: float
    # In short runs the moving average reaches back over this share of the steps.
    ema_share: float


class Checkpoint(NamedTuple):
    """A file from which an interrupted run goes on, if it has the same options."""

    file: Path
    options: dict[str, Any]
    # Draws the random numbers of the batches, besides torch's own.
    generator: torch.Generator

    def save(self, parts: dict[str, Any], step: int) -> None:
        """Write the states of all parts after a step."""
        random = {"torch": torch.get_rng_state(), "batches": self.generator.get_state()}
        states = {name: part.state_dict() for name, part in parts.items()}
        whole = self.file.with_suffix(".part")
        torch.save({"options": self.options, "step": step, "random": random, "states": states}, whole)
        whole.replace(self.file)

    def load(self, parts: dict[str, Any], device: torch.device) -> int:
        """Bring all parts to the states of the file; return after how many steps that was, 0 without such a file."""
        if not self.file.exists():
            return 0
        saved = torch.load(self.file, device, weights_only=True)
        if saved["options"] != self.options:
            return 0
        for name, part in parts.items():
            part.load_state_dict(saved["states"][name])
        torch.set_rng_state(saved["random"]["torch"].cpu())
        self.generator.set_state(saved["random"]["batches"].cpu())
        print(f"Going on after batch {saved['step']}, from {self.file}.")
        return int(saved["step"])


def fit(
    net: nn.Module,
    make_batches: Callable[[int], Iterable[tuple[Tensor, Tensor]]],
    steps: int,
    compute_loss: Callable[[Tensor, Tensor], Tensor],
    recipe: Recipe,
    report_every: int,
    report: Callable[[int, float, nn.Module], str],
    checkpoint: "Checkpoint",
) -> nn.Module:
    """Train a net for so many steps and return the average of its weights.

    make_batches gets how many steps are done and yields inputs and targets for the others. report gets a step, the
    mean loss since the last report and the average so far, and returns a line to print; then a checkpoint is written.
    """
    device = next(net.parameters()).device
    decay = min(EMA_DECAY, 1 - 1 / (1 + recipe.ema_share * steps))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=recipe.weight_decay, fused=True)
    schedule = OneCycleLR(optimizer, recipe.peak_learning_rate, total_steps=steps, pct_start=recipe.rise_share)
    mean_loss = torch.zeros((), device=device)
    parts = {"net": net, "average": average, "optimizer": optimizer, "schedule": schedule}
    done = checkpoint.load(parts, device)
    with tqdm(make_batches(done), total=steps, initial=done, unit="batch", disable=None) as bar:
        for step, (inputs, targets) in enumerate(bar, done + 1):
            with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
                outputs = net(inputs)
            loss = compute_loss(outputs.float(), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            mean_loss += loss.detach() / report_every
            if step % report_every == 0:
                bar.write(report(step, mean_loss.item(), average.module))
                mean_loss.zero_()
                checkpoint.save(parts, step)
    return average.module


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; in software it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
