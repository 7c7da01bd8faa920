"""Train InkNet on made-up pages and write its weights with a record of how they were made."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.ink_input import MASK_PX, make_planes, mask_shape
from model.ink_net import InkNet
from model.weights import INK_WEIGHTS
from train.device import has_bfloat16
from train.hands import Hand, read_hands, read_held_out_hands
from train.options import make_parser, positive
from train.pages import Page, RandomPages
from train.weights import may_write, write

PICTURES = 300_000
QUICK_PICTURES = 40_000
BATCH = 64
# With 10 steps, OneCycleLR divides by zero; fewer than 20 hardly teach anything.
LEAST_BATCHES = 20
# Processes that make pages; training itself takes another core.
WORKERS = 1
PEAK_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
# The moving average of the weights: in short runs it reaches back over this share of the steps.
EMA_DECAY, EMA_SHARE = 0.999, 0.1
# Pages to measure on are made of hands that training never sees; a short run is measured on as many as it learned from.
VALIDATION_PICTURES = 2_000
VALIDATION_SEED = 20_241_001
MEASURE = "validation_dice"


def stack(pages: Sequence[Page]) -> tuple[Tensor, Tensor]:
    """Return what the net sees of pages, (B, 2, 160, 160), and their ink there, (B, 1, 80, 80); both are float16."""
    planes = np.stack([make_planes(page.grey) for page in pages]).astype(np.float16)
    targets = np.stack([make_target(page) for page in pages]).astype(np.float16)
    return torch.from_numpy(planes), torch.from_numpy(targets)


def make_target(page: Page) -> NDArray[np.float32]:
    """Return the ink of a page as the net should see it: (1, 80, 80) float32."""
    rows, columns = mask_shape(page.grey.shape)
    target = np.zeros((1, MASK_PX, MASK_PX), np.float32)
    target[0, :rows, :columns] = cv2.resize(page.ink, (columns, rows), interpolation=cv2.INTER_AREA)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and save unless better weights are already there; return 1 if they are."""
    options = parse_options(arguments)
    if not may_write(options.weights, MEASURE, options.force):
        return 1
    started = time.monotonic()
    net = train(read_hands(), options.pictures, options.seed)
    seconds = time.monotonic() - started
    pages = min(options.pictures, VALIDATION_PICTURES)
    record = {
        "seed": options.seed,
        "pictures": options.pictures,
        MEASURE: round(measure(net, read_held_out_hands(), pages), 4),
        "duration_s": round(seconds, 1),
    }
    return write(net, options.weights, record, MEASURE, options.force)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = make_parser("scripts/train-ink", __doc__, seed=0, weights=INK_WEIGHTS)
    parser.add_argument("--pictures", metavar="N", type=positive, default=PICTURES, help="pages to see (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PICTURES} pages: minutes, and nearly as good")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pictures = QUICK_PICTURES
    if options.pictures < LEAST_BATCHES * BATCH:
        parser.error(f"--pictures needs at least {LEAST_BATCHES * BATCH}, {LEAST_BATCHES} batches")
    return options


def train(hands: list[Hand], pictures: int, seed: int) -> InkNet:
    """Return a net whose weights are the moving average over the last steps of training."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = add_normalisation(InkNet()).to(device).to(memory_format=torch.channels_last)
    steps = pictures // BATCH
    decay = min(EMA_DECAY, 1 - 1 / (1 + EMA_SHARE * steps))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    schedule = OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps, pct_start=0.1)
    pages = RandomPages(hands, steps * BATCH, seed)
    loader = DataLoader(pages, BATCH, num_workers=WORKERS, prefetch_factor=4, collate_fn=stack)
    recent = 0.0
    with tqdm(loader, unit="batch", disable=None) as bar:
        for number, (planes, target) in enumerate(bar):
            planes, target = planes.to(device).float(), target.to(device).float()
            with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
                logits = net(planes.to(memory_format=torch.channels_last))
            loss = ink_loss(logits.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            if number % 50 == 0:
                recent = loss.item()
                bar.set_postfix(loss=f"{recent:.3f}", refresh=False)
            if number % 500 == 0:
                bar.write(f"{number} of {steps}: loss {recent:.4f}")
    return fold(average.module).cpu()


def ink_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return twice the binary cross entropy of (B, 1, h, w) logits plus their Dice loss, which makes thin ink count."""
    ink = torch.sigmoid(logits)
    overlap = 2 * (ink * target).sum((1, 2, 3)) + 8
    dice = 1 - overlap / (ink.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 8)
    return 2 * functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()


def add_normalisation(net: InkNet) -> InkNet:
    """Return a net with batch normalisation after each convolution of a net but the last."""
    for name, layer in list(net.named_children()):
        if name != "last":
            conv = cast("nn.Conv2d", layer)
            setattr(net, name, nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))
    return net


def fold(net: nn.Module) -> InkNet:
    """Return the plain net that computes the same as a trained one in evaluation mode."""
    net.eval()
    for name, layer in list(net.named_children()):
        if isinstance(layer, nn.Sequential):
            conv, normalisation = cast("tuple[nn.Conv2d, nn.BatchNorm2d]", tuple(layer))
            setattr(net, name, fuse_conv_bn_eval(conv, normalisation))
    return cast("InkNet", net)


@torch.inference_mode()
def measure(net: InkNet, hands: list[Hand], pictures: int) -> float:
    """Return the mean Dice overlap 0..1 of a net's ink with the true ink on random pages of hands."""
    loader = DataLoader(RandomPages(hands, pictures, VALIDATION_SEED), BATCH, collate_fn=stack)
    shares = []
    for planes, target in loader:
        ink = (net(planes.float()) > 0).float()
        target = (target > 0.5).float()
        shares.append((2 * (ink * target).sum((1, 2, 3)) + 1) / (ink.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 1))
    return torch.cat(shares).mean().item()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was written.")
