"""The training loop of both nets."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

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


def fit(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    compute_loss: Callable[[Tensor, Tensor], Tensor],
    recipe: Recipe,
    report_every: int,
    report: Callable[[int, float, nn.Module], str],
) -> nn.Module:
    """Train a net for as many steps as there are batches of inputs and targets; return the average of its weights.

    report gets a step, the mean loss since the last report and the average so far, and returns a line to print.
    """
    device = next(net.parameters()).device
    decay = min(EMA_DECAY, 1 - 1 / (1 + recipe.ema_share * steps))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=recipe.weight_decay, fused=True)
    schedule = OneCycleLR(optimizer, recipe.peak_learning_rate, total_steps=steps, pct_start=recipe.rise_share)
    mean_loss = torch.zeros((), device=device)
    with tqdm(batches, total=steps, unit="batch", disable=None) as bar:
        for step, (inputs, targets) in enumerate(bar, 1):
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
    return average.module


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; in software it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
