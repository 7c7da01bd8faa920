"""Train DigitNet on MNIST and on digits found on made-up pages, and write its weights with a record."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from model.digit_net import DigitNet
from model.weights import WEIGHTS
from train.accuracy import accuracy
from train.augment import MILD_SHARE, augment, bend, corrupt
from train.device import has_bfloat16
from train.found import find_in_thumbnails, find_on_pages
from train.hands import read_hands
from train.mnist import read_test, read_training, split
from train.normalised_net import NormalisedNet, fold
from train.options import make_parser, positive
from train.outliers import make_outliers
from train.pages import NOT_ONE_DIGIT
from train.weights import may_write, write

EPOCHS = 150
QUICK_EPOCHS = 7
BATCH = 256
# Batches that a GPU makes at once: each takes it hundreds of steps too small to keep it busy.
GPU_BATCHES = 32
# Processes that make pages beside the one that reads them.
WORKERS = 1
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
# The moving average of the weights: in runs of fewer than 2,500 steps it reaches back over this share of them.
EMA_DECAY = 0.999
EMA_SHARE = 0.4
OUTLIER_SHARE = 0.15
# In this share of the epochs, the last ones, more of each batch is varied mildly only.
LAST_EPOCHS, LAST_MILD_SHARE = 0.2, 0.8
INGREDIENTS = ("pages", "pens", "thumbnails", "styles", "geometry", "elastic", "strokes", "corruptions", "outliers")
# Beside MNIST: digits found on pages, and in thumbnails.
PAGES, THUMBNAILS = 16_000, 6_000
MEASURE = "validation_accuracy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and save unless better weights are already there; return 1 if they are."""
    options = parse_options(arguments)
    if not may_write(options.weights, MEASURE, options.force):
        return 1
    started = time.monotonic()
    net = train(options.epochs, options.seed, frozenset(options.without), options.limit)
    seconds = time.monotonic() - started
    pixels, digits = read_training()
    held_out = split()[1][: options.limit]
    record = {
        "seed": options.seed,
        "epochs": options.epochs,
        "limit": options.limit,
        "without": sorted(options.without),
        MEASURE: round(accuracy(net, pixels[held_out], digits[held_out]), 4),
        "test_accuracy": round(accuracy(net, *(part[: options.limit] for part in read_test())), 4),
        "duration_s": round(seconds, 1),
    }
    return write(net, options.weights, record, MEASURE, options.force)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = make_parser("scripts/train", __doc__, seed=0, weights=WEIGHTS)
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help="passes over the pictures (%(default)s)")
    limited = f"only the first N pictures of each set ({BATCH} or more)"
    parser.add_argument("--limit", metavar="N", type=positive, help=limited)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPOCHS} epochs: minutes, and nearly as good")
    parser.add_argument(
        "--without", action="append", default=[], choices=INGREDIENTS, help="leave out an ingredient; may be repeated"
    )
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < BATCH:
        parser.error(f"--limit needs at least {BATCH} pictures, one batch")
    if options.quick:
        options.epochs = QUICK_EPOCHS
    return options


def train(epochs: int, seed: int, without: frozenset[str] = frozenset(), limit: int | None = None) -> DigitNet:
    """Return a calibrated net whose weights are the moving average over the last steps of training.

    without names ingredients to leave out, to see what each contributes; limit is how many pictures to learn from.
    """
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(seed)
    everything, labels = read_training()
    held_out = split()[1][:limit]
    pixels, digits = (tensor.to(device) for tensor in gather(everything, labels, without, limit, seed))
    held_pixels, held_digits = everything[held_out].to(device), labels[held_out].to(device)
    net = NormalisedNet().to(device).to(memory_format=torch.channels_last)
    batches = len(pixels) // BATCH
    at_once = GPU_BATCHES if device.type == "cuda" else 1
    steps = epochs * batches
    decay = min(EMA_DECAY, 1 - 1 / (1 + EMA_SHARE * steps))
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    smooth = cast("NormalisedNet", average.module)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    with tqdm(total=steps, unit="batch", disable=None) as bar:
        for epoch in range(1, epochs + 1):
            epoch_loss = torch.zeros((), device=device)
            mild_share = MILD_SHARE if epoch <= (1 - LAST_EPOCHS) * epochs else LAST_MILD_SHARE
            order = torch.randperm(len(pixels), generator=generator, device=device)
            for indices in order[: batches * BATCH].split(at_once * BATCH):
                made = make_batches(pixels[indices], digits[indices], generator, without, mild_share)
                for varied, targets in made:
                    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
                        logits = net(varied)
                    loss = cross_entropy(logits.float(), targets)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    average.update_parameters(net)
                    epoch_loss += loss.detach() / batches
                    bar.update()
            share = f"{accuracy(fold(smooth), held_pixels, held_digits.cpu()):.2%}"
            bar.set_postfix(loss=f"{epoch_loss.item():.3f}", accuracy=share)
            bar.write(f"epoch {epoch}/{epochs}: loss {epoch_loss.item():.3f}, validation accuracy {share}")
    trained = fold(smooth)
    calibrate(trained, augment(held_pixels, held_digits, generator, without, mild_share=1.0), held_digits)
    return trained


def gather(
    everything: Tensor, labels: Tensor, without: frozenset[str], limit: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the pictures to learn from, (n, 1, 28, 28) uint8, and their digits (n,), NOT_ONE_DIGIT for some."""
    learned_from = split()[0][:limit]
    parts = [(everything[learned_from], labels[learned_from])]
    hands = read_hands("pens" not in without) if {"pages", "thumbnails"} - without else []
    if "pages" not in without:
        parts.append(find_on_pages(hands, min(PAGES, limit or PAGES), seed, workers=WORKERS))
    if "thumbnails" not in without:
        parts.append(find_in_thumbnails(hands, min(THUMBNAILS, limit or THUMBNAILS), seed))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def make_batches(
    pixels: Tensor, digits: Tensor, generator: torch.Generator, without: frozenset[str], mild_share: float
) -> list[tuple[Tensor, Tensor]]:
    """Return (n * 256, 1, 28, 28) uint8 pixels of digits (n * 256,) as n batches, alike in what they are made of."""
    ink, targets = make_batch(pixels, digits, generator, without, mild_share)
    count = len(pixels) // BATCH
    return [(ink[first::count], targets[first::count]) for first in range(count)]


def make_batch(
    pixels: Tensor,
    digits: Tensor,
    generator: torch.Generator,
    without: frozenset[str],
    mild_share: float = MILD_SHARE,
) -> tuple[Tensor, Tensor]:
    """Return (B, 1, 28, 28) uint8 pixels of (B,) digits as varied ink 0..255, with (B, 10) target probabilities.

    The first ones become outliers, whose target is 0.1 for every digit: outlier exposure (Hendrycks et al. 2019).
    """
    count = 0 if "outliers" in without else int(OUTLIER_SHARE * len(pixels))
    targets = one_hot(digits.clamp(min=0), 10).float()
    targets[digits == NOT_ONE_DIGIT] = 0.1
    ink = augment(pixels[count:], digits[count:], generator, without, mild_share)
    if count:
        targets[:count] = 0.1
        outliers = make_outliers(bend(pixels[:count].float(), generator), digits[:count], generator)
        ink = torch.cat([corrupt(outliers, generator), ink])
    return ink, targets


@torch.inference_mode()
def calibrate(net: DigitNet, pixels: Tensor, digits: Tensor) -> None:
    """Divide the net's logits by the temperature with the least loss on held-out pictures (Guo et al. 2017).

    pixels are (N, 1, 28, 28) 0..255 of digits (N,). The temperature, 0.5 to 2, becomes part of the last layer's
    weights, so that softmax alone gives calibrated probabilities.
    """
    logits = torch.cat([net(batch) for batch in pixels.split(BATCH)])
    temperatures = torch.logspace(-1, 1, 401, base=2).tolist()
    best = min(temperatures, key=lambda temperature: cross_entropy(logits / temperature, digits).item())
    for parameter in net.fc2.parameters():
        parameter.div_(best)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was written.")
