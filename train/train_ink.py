"""Train InkNet on made-up pages and write its weights with a record of how they were made."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset

from model.ink_input import MASK_PX, make_planes, mask_shape
from model.ink_net import InkNet
from model.record import INK_WEIGHTS
from train.fit import Recipe, fit
from train.mnist import FIXED_SEED
from train.record import find_checkpoint, make_parser, may_write, positive, write
from train.samples import read_held_out_samples, read_samples
from train.sheets.sheet import RandomSheets, Sheet
from train.strokes import Sample
from train.training_net import fold, normalise

PICTURES = 300_000
QUICK_PICTURES = 40_000
BATCH = 64
# With 10 steps, OneCycleLR divides by zero; fewer than 20 hardly teach anything.
LEAST_BATCHES = 20
# Processes that make sheets; training itself takes another core.
WORKERS = 1
RECIPE = Recipe(peak_learning_rate=4e-3, weight_decay=0.02, rise_share=0.1, ema_share=0.1)
# Sheets to measure on have samples that training never sees; a short run is measured on as many as it learned from.
VALIDATION_PICTURES = 2_000
# Sheets that the net is quantised with.
SEEN = 100
MEASURE = "validation_dice"
# Handwriting that only DigitNet learns from.
WITHOUT = frozenset({"semeion", "allographs"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and save unless better weights are already there; return 1 if they are."""
    options = parse_options(arguments)
    if not may_write(options.weights, MEASURE, options.force):
        return 1
    started = time.monotonic()
    samples = read_samples(WITHOUT, options.pictures)
    net = train(samples, options)
    seconds = time.monotonic() - started

    def describe(net: InkNet) -> dict[str, float]:
        share = measure(net, read_held_out_samples(), min(options.pictures, VALIDATION_PICTURES))
        return {MEASURE: round(share, 4)}

    record = {
        "seed": options.seed,
        "pictures": options.pictures,
        "duration_s": round(seconds, 1),
    }
    sheets = RandomSheets(samples, SEEN, FIXED_SEED)
    seen = stack([sheets[number] for number in range(SEEN)])[0].float()
    return write(net, nn.Sigmoid(), seen, options.weights, record, describe, options.force)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = make_parser("scripts/train-ink", __doc__, INK_WEIGHTS)
    parser.add_argument("--pictures", metavar="N", type=positive, default=PICTURES, help="pages to see (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PICTURES} pages: minutes, and nearly as good")
    options = parser.parse_args(arguments)
    if options.quick:
        options.pictures = QUICK_PICTURES
    if options.pictures < LEAST_BATCHES * BATCH:
        parser.error(f"--pictures needs at least {LEAST_BATCHES * BATCH}, {LEAST_BATCHES} batches")
    return options


def train(samples: list[Sample], options: argparse.Namespace) -> InkNet:
    """Return a net whose weights are the moving average over the last steps of training."""
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = normalise(InkNet()).to(device).to(memory_format=torch.channels_last)
    steps = options.pictures // BATCH
    sheets = RandomSheets(samples, steps * BATCH, options.seed)

    def make(done: int) -> Iterator[tuple[Tensor, Tensor]]:
        rest = Subset(sheets, range(done * BATCH, len(sheets)))
        for planes, target in DataLoader(rest, BATCH, num_workers=WORKERS, prefetch_factor=4, collate_fn=stack):
            yield planes.to(device).float().to(memory_format=torch.channels_last), target.to(device).float()

    def report(step: int, loss: float, _: nn.Module) -> str:
        return f"{step} of {steps}: loss {loss:.4f}"

    checkpoint = find_checkpoint(options, torch.default_generator)
    return fold(fit(net, make, steps, ink_loss, RECIPE, steps // 10, report, checkpoint), InkNet())


def stack(sheets: Sequence[Sheet]) -> tuple[Tensor, Tensor]:
    """Return what the net sees of sheets, (B, 2, 160, 160), and their ink there, (B, 1, 80, 80); both are float16."""
    planes = np.stack([make_planes(sheet.grey)[0] for sheet in sheets]).astype(np.float16)
    targets = np.stack([make_target(sheet) for sheet in sheets]).astype(np.float16)
    return torch.from_numpy(planes), torch.from_numpy(targets)


def make_target(sheet: Sheet) -> NDArray[np.float32]:
    """Return the ink of a sheet as the net should see it: (1, 80, 80) float32."""
    rows, columns = mask_shape(sheet.grey.shape)
    target = np.zeros((1, MASK_PX, MASK_PX), np.float32)
    target[0, :rows, :columns] = cv2.resize(sheet.ink, (columns, rows), interpolation=cv2.INTER_AREA)
    return target


def ink_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return twice the binary cross entropy of (B, 1, h, w) logits plus their Dice loss, which makes thin ink count."""
    ink = torch.sigmoid(logits)
    overlap = 2 * (ink * target).sum((1, 2, 3)) + 8
    dice = 1 - overlap / (ink.sum((1, 2, 3)) + target.sum((1, 2, 3)) + 8)
    return 2 * functional.binary_cross_entropy_with_logits(logits, target) + dice.mean()


@torch.inference_mode()
def measure(net: InkNet, samples: list[Sample], pictures: int) -> float:
    """Return the mean Dice overlap 0..1 of a net's ink with the true ink on random sheets of samples."""
    loader = DataLoader(RandomSheets(samples, pictures, FIXED_SEED), BATCH, collate_fn=stack)
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
        sys.exit("Stopped. The same command goes on after the last report.")
