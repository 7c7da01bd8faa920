"""Train DigitNet on MNIST and on digits found on made-up pages, and write its weights with a record.

With --more, go on from the shipped weights with pictures that they misread. The folder has a file labels.csv (columns
file and label, perhaps writer) or a sub-folder for each label: 0 to 9, or none for pictures that are not one digit. A
third of them is held out. The weights are replaced if these are read better and nothing else worse.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from model.digit_net import DigitNet
from model.record import WEIGHTS, check_record, compute_hash
from operate.config import OperatorError
from train import more
from train.allographs import ONE_OR_SEVEN
from train.augment import MILD_SHARE, augment, bend, corrupt
from train.comparison import TOLERATED, replace
from train.detected import detect_in_thumbnails, detect_on_sheets
from train.export import load
from train.fit import Recipe, fit
from train.hand import Hand, read_hand
from train.mnist import FIXED_SEED, read_mnist, split
from train.outliers import make_outliers
from train.record import find_checkpoint, make_parser, may_write, positive, write
from train.samples import read_held_out_samples, read_samples
from train.training_net import NormalisedNet, fold

EPOCHS = 45
QUICK_EPOCHS = 7
BATCH = 256
# Batches that a GPU makes at once: each takes it hundreds of steps too small to keep it busy.
GPU_BATCHES = 32
# Processes that make sheets beside the one that reads them.
WORKERS = 1
RECIPE = Recipe(peak_learning_rate=3e-3, weight_decay=0.05, rise_share=0.3, ema_share=0.4)
# Weights that have learned already go on at less.
CONTINUED = Recipe(peak_learning_rate=4e-4, weight_decay=0.05, rise_share=0.1, ema_share=0.4)
OUTLIER_SHARE = 0.15
# In this share of the epochs, the last ones, more of each batch is varied mildly only.
LAST_EPOCHS, LAST_MILD_SHARE = 0.2, 0.8
# The command line and the records call sheets pages, and pen strokes pens.
HANDWRITING = ("pens", "semeion", "allographs")
VARIATIONS = ("styles", "geometry", "elastic", "strokes", "corruptions", "outliers")
INGREDIENTS = ("pages", "thumbnails", *HANDWRITING, *VARIATIONS)
# Beside MNIST: digits found on sheets, and in thumbnails.
SHEETS, THUMBNAILS = 20_000, 16_000
# The probability of each digit 0..9 for the labels 0 to 9, ONE_OR_SEVEN and, last, NOT_ONE_DIGIT.
TARGETS = torch.cat([torch.eye(10), torch.full((2, 10), 0.1)])
TARGETS[ONE_OR_SEVEN] = torch.tensor([0, 0.65, 0, 0, 0, 0, 0, 0.35, 0, 0])
# Pictures of MNIST that the net is quantised with.
SEEN = 600
MEASURE = "validation_accuracy"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and save unless better weights are already there; return 1 if they are."""
    options = parse_options(arguments)
    if not may_write(options.weights, MEASURE, options.force):
        return 1
    hand = read_hand(options.more) if options.more else None
    started = time.monotonic()
    net = learn_more(options, hand) if hand else train(options)
    seconds = time.monotonic() - started
    pixels, digits = read_mnist(train=True)
    held_out = split()[1][: options.limit]

    def measure(net: DigitNet) -> dict[str, float]:
        return {
            MEASURE: round(accuracy(net, pixels[held_out], digits[held_out]), 4),
            "test_accuracy": round(accuracy(net, *(part[: options.limit] for part in read_mnist(train=False))), 4),
        }

    record = {
        "seed": options.seed,
        "epochs": options.epochs,
        "limit": options.limit,
        "without": sorted(options.without),
        "start": compute_hash(options.start) if options.start else None,
        "duration_s": round(seconds, 1),
    }
    seen = pixels[split()[0][:SEEN]]
    if hand:
        return replace(net, hand, seen, record | measure(net), options)
    return write(net, nn.Softmax(1), seen, options.weights, record, measure, options.force)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = make_parser("scripts/train", __doc__, WEIGHTS)
    parser.add_argument(
        "--epochs", type=positive, help=f"passes over the pictures ({EPOCHS}, or {more.EPOCHS} with --more)"
    )
    limited = f"only the first N pictures of each set ({BATCH} or more)"
    parser.add_argument("--limit", metavar="N", type=positive, help=limited)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPOCHS} epochs: minutes, and nearly as good")
    parser.add_argument(
        "--without", action="append", default=[], choices=INGREDIENTS, help="leave out an ingredient; may be repeated"
    )
    parser.add_argument("--start", metavar="FILE", type=Path, help="weights to go on from, exported by this command")
    parser.add_argument("--more", metavar="FOLDER", type=Path, help="labelled pictures to learn, 50 or more")
    options = parser.parse_args(arguments)
    if options.more and not options.more.is_dir():
        parser.error(f"{options.more} is no folder")
    if options.limit is not None and options.limit < BATCH:
        parser.error(f"--limit needs at least {BATCH} pictures, one batch")
    if options.more:
        options.start = options.start or WEIGHTS
        options.epochs = options.epochs or more.EPOCHS
    elif options.quick:
        options.epochs = QUICK_EPOCHS
    options.epochs = options.epochs or EPOCHS
    if options.start:
        try:
            check_record(options.start)
        except RuntimeError as problem:
            parser.error(str(problem))
    return options


def train(options: argparse.Namespace) -> DigitNet:
    """Return a calibrated net whose weights are the moving average over the last steps of training."""
    epochs, seed, without, limit = options.epochs, options.seed, frozenset(options.without), options.limit
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(seed)
    everything, labels = read_mnist(train=True)
    held_out = split()[1][:limit]
    pixels, digits = (tensor.to(device) for tensor in gather(everything, labels, without, limit, seed))
    held_pixels, held_digits = everything[held_out].to(device), labels[held_out].to(device)
    net = load(DigitNet(), options.start) if options.start else NormalisedNet()
    net.train().to(device).to(memory_format=torch.channels_last)
    batches = len(pixels) // BATCH

    def report(step: int, loss: float, average: nn.Module) -> str:
        share = accuracy(fold(average, DigitNet().to(device)), held_pixels, held_digits.cpu())
        return f"epoch {step // batches}/{epochs}: loss {loss:.3f}, validation accuracy {share:.2%}"

    def make(done: int) -> Iterator[tuple[Tensor, Tensor]]:
        return make_epochs(pixels, digits, range(done // batches + 1, epochs + 1), epochs, generator, without)

    recipe = CONTINUED if options.start else RECIPE
    checkpoint = find_checkpoint(options, generator)
    average = fit(net, make, epochs * batches, cross_entropy, recipe, batches, report, checkpoint)
    trained = fold(average, DigitNet().to(device))
    calibrate(trained, *gather_held_out(augment(held_pixels, held_digits, generator, without, 1.0), held_digits))
    return trained


def learn_more(options: argparse.Namespace, hand: Hand) -> DigitNet:
    """Return a net that goes on from options.start and learns a hand among a part of what it was made with.

    It goes as far towards what was learned as held-out pictures of others are still read; if forced, all the way.
    """
    torch.manual_seed(options.seed)
    generator, without = torch.Generator().manual_seed(options.seed), frozenset(options.without)
    pixels, digits = gather(*read_mnist(train=True), without, options.limit or more.FEW, options.seed)
    batches = len(pixels) // BATCH

    def replay(done: int) -> Iterator[tuple[Tensor, Tensor]]:
        chosen = range(done // batches + 1, options.epochs + 1)
        return make_epochs(pixels, digits, chosen, options.epochs, generator, without)

    learned, old = more.learn(hand, replay, batches, generator, options), load(DigitNet(), options.start)
    if options.force:
        return learned
    held_out = split()[1][: options.limit]
    others = gather_held_out(*(part[held_out] for part in read_mnist(train=True)))
    enough = accuracy(old, *others) - TOLERATED
    for share in more.SHARES:
        net = more.interpolate(old, learned, share)
        if accuracy(net, *others) >= enough:
            break
    print(f"Went {share:.0%} of the way to the weights that were learned.")
    return net


def gather(
    everything: Tensor, labels: Tensor, without: frozenset[str], limit: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the pictures to learn from, (n, 1, 28, 28) uint8, and their labels (n,), as of TARGETS."""
    learned_from = split()[0][:limit]
    parts = [(everything[learned_from], labels[learned_from])]
    samples = read_samples(without, limit) if {"pages", "thumbnails"} - without else []
    if "pages" not in without:
        parts.append(detect_on_sheets(samples, min(SHEETS, limit or SHEETS), seed, workers=WORKERS))
    if "thumbnails" not in without:
        parts.append(detect_in_thumbnails(samples, min(THUMBNAILS, limit or THUMBNAILS), seed))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def gather_held_out(ink: Tensor, digits: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures to calibrate with, (n, 1, 28, 28) 0..255, and their digits (n,), none of them learned from.

    That are MNIST's, given as (m, 1, 28, 28) varied ink and (m,) digits, and as many of held-out writers.
    """
    samples, count = read_held_out_samples(), len(ink) // 2
    parts = [
        detect_in_thumbnails(samples, count, FIXED_SEED),
        detect_on_sheets(samples, count, FIXED_SEED, workers=WORKERS),
    ]
    written = torch.cat([labels for _, labels in parts])
    others = torch.cat([pixels for pixels, _ in parts])[written >= 0].to(ink)
    return torch.cat([ink, others]), torch.cat([digits, written[written >= 0].to(digits)])


def make_epochs(
    pixels: Tensor, digits: Tensor, chosen: range, epochs: int, generator: torch.Generator, without: frozenset[str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of the chosen ones of all epochs, as make_batch does, each epoch in another order."""
    at_once = BATCH * (GPU_BATCHES if pixels.is_cuda else 1)
    used = len(pixels) // BATCH * BATCH
    for epoch in chosen:
        mild_share = MILD_SHARE if epoch <= (1 - LAST_EPOCHS) * epochs else LAST_MILD_SHARE
        order = torch.randperm(len(pixels), generator=generator, device=pixels.device)
        for indices in order[:used].split(at_once):
            yield from make_batches(pixels[indices], digits[indices], generator, without, mild_share)


def make_batches(
    pixels: Tensor, digits: Tensor, generator: torch.Generator, without: frozenset[str], mild_share: float
) -> list[tuple[Tensor, Tensor]]:
    """Return (n * 256, 1, 28, 28) uint8 pixels of digits (n * 256,) as n batches of the same mixture."""
    ink, targets = make_batch(pixels, digits, generator, without, mild_share)
    count = len(pixels) // BATCH
    return [(ink[first::count], targets[first::count]) for first in range(count)]


def make_batch(
    pixels: Tensor, digits: Tensor, generator: torch.Generator, without: frozenset[str], mild_share: float
) -> tuple[Tensor, Tensor]:
    """Return (B, 1, 28, 28) uint8 pixels of (B,) digits as varied ink 0..255, with (B, 10) target probabilities.

    The first ones become outliers, whose target is 0.1 for every digit: outlier exposure (Hendrycks et al. 2019).
    """
    count = 0 if "outliers" in without else int(OUTLIER_SHARE * len(pixels))
    targets = TARGETS.to(digits.device)[digits]
    ink = augment(pixels[count:], digits[count:], generator, without, mild_share)
    if count:
        targets[:count] = 0.1
        outliers = make_outliers(bend(pixels[:count].float(), generator), digits[:count], generator)
        ink = torch.cat([corrupt(outliers, generator), ink])
    return ink, targets


@torch.inference_mode()
def accuracy(net: DigitNet, pixels: Tensor, digits: Tensor) -> float:
    """Return the share 0..1 of (N, 1, 28, 28) uint8 pixels that the net classifies as their digit (N,)."""
    device = net.fc1.weight.device
    classified = torch.cat([net(batch.to(device)).argmax(1).cpu() for batch in pixels.split(1_000)])
    return (classified == digits).double().mean().item()


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
    except OperatorError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on after the last epoch.")
