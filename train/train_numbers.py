"""Train NumberNet on made-up pages of numbers, and write its weights with a record."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count, islice
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from model.engine import build_classifier
from model.geometry import Box
from model.ink_input import standardise
from model.number_net import MAPS, NumberNet, Probabilities
from model.numbers import (
    CLASSES,
    INK,
    MARK,
    STEP_PX,
    STRIDE,
    Number,
    find_numbers,
    is_suspect,
    overlap,
)
from model.record import NUMBER_WEIGHTS
from train.allographs import IN_ROWS, build_samples
from train.fit import Recipe, fit
from train.mnist import FIXED_SEED
from train.record import find_checkpoint, make_parser, may_write, positive, write
from train.samples import BUILT, read_held_out_samples, read_samples
from train.sheets.ink import Shape
from train.sheets.numbers import Hand, Page, is_usual, list_numbers, make_page
from train.strokes import Sample
from train.train_ink import LEAST_BATCHES, ink_loss
from train.training_net import fold, normalise

PAGES = 400_000
BATCH = 32
WORKERS = 1
RECIPE = Recipe(peak_learning_rate=3e-3, weight_decay=0.02, rise_share=0.15, ema_share=0.1)
# Pages to measure on, of hands that training never sees; for a shorter run as many fewer.
VALIDATION_PAGES = 1_500
# Batches that the net is quantised with.
SEEN_BATCHES = 4
MEASURE = "validation_exact"
# A number is the one that was written if their boxes overlap by more than this share of their union.
LEAST_OVERLAP = 0.5
# Signs for which a confidence is capped.
CAPPING = ("rim",)
# Of the regression: enough steps to come to its end, and the penalty on its weights.
NEWTON_STEPS, RIDGE = 30, 1.0
# Heights and widths of the pages of a batch, about as large as what the net will see.
SHAPES = ((160, 160), (128, 208), (208, 128), (112, 240), (96, 272), (80, 336), (64, 400), (48, 448))
SHARES = (0.26, 0.16, 0.06, 0.14, 0.12, 0.12, 0.08, 0.06)
# The deviation of a digit's peak, as a share of its box, and at least, in places.
PEAK_SHARE, LEAST_PEAK = 0.13, 0.55
# A box is learned where its peak is at least this high.
BOX_FROM = 0.4
BOX_WEIGHT, INK_WEIGHT = 0.7, 0.6


class RandomBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batches of random pages of one shape; each depends on the seed and its number alone."""

    def __init__(self, samples: list[Sample], numbers: range, seed: int) -> None:
        self.hand, self.numbers, self.seed = Hand(samples), numbers, seed

    def __len__(self) -> int:
        """Return how many batches there are."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Make the batch of an index: planes and targets, both float16."""
        number = self.numbers[index]
        chance = np.random.default_rng((self.seed, number, 3))
        shape = choose_shape(chance)
        pages = [make_page(self.hand, shape, chance) for _ in range(BATCH)]
        planes = np.stack([standardise(page.grey) for page in pages]).astype(np.float16)
        targets = np.stack([make_target(page) for page in pages]).astype(np.float16)
        return torch.from_numpy(planes), torch.from_numpy(targets)


def choose_shape(chance: Generator) -> Shape:
    """Return one of SHAPES, each as often as SHARES says."""
    return SHAPES[int(chance.choice(len(SHAPES), p=SHARES))]


def make_target(page: Page) -> NDArray[np.float32]:
    """Return the maps that the net should give, (19, h/4, w/4): ink 0..1, peaks 0..1, and logarithms of sides."""
    height, width = (side // STRIDE for side in page.grey.shape)
    target = np.zeros((INK + CLASSES + 4, height, width), np.float32)
    ink = cv2.resize(page.ink, (2 * width, 2 * height), interpolation=cv2.INTER_AREA)
    target[:INK] = ink.reshape(height, 2, width, 2).transpose(1, 3, 0, 2).reshape(INK, height, width)
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    highest = np.zeros((height, width), np.float32)
    for label, box in zip(page.labels.tolist(), (page.boxes / STRIDE).tolist(), strict=True):
        left, top, right, bottom = box
        middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
        # The peak is at the middle of a place, so that it is 1 there.
        peak_x, peak_y = min(int(middle_x), width - 1) + 0.5, min(int(middle_y), height - 1) + 0.5
        wide = max(LEAST_PEAK, PEAK_SHARE * min(right - left, 1.5 * (bottom - top)))
        tall = max(LEAST_PEAK, PEAK_SHARE * min(bottom - top, 1.5 * (right - left)))
        peak = np.exp(-0.5 * (((x - peak_x) / wide) ** 2 + ((y - peak_y) / tall) ** 2)).astype(np.float32)
        target[INK + label] = np.maximum(target[INK + label], peak)
        rows, columns = np.nonzero((peak > BOX_FROM) & (peak > highest))
        highest = np.maximum(highest, peak)
        own_x, own_y = x[0, columns], y[rows, 0]
        sides = [own_x - left, own_y - top, right - own_x, bottom - own_y]
        target[-4:, rows, columns] = np.log(np.maximum(sides, 0.25))
    return target


def number_loss(maps: Tensor, target: Tensor) -> Tensor:
    """Return the loss of (B, 20, h, w) maps, to which each page contributes alike however many digits it has.

    It is focal for the middles (Zhou et al. 2019), cross entropy for the digits, L1 for the sides, and that of ink.
    """
    ink, middles, classes, sides = maps.split(MAPS, 1)
    true_ink, peaks, true_sides = target.split([INK, CLASSES, 4], 1)
    digits, marks = peaks.split([MARK, 1], 1)
    heights, digit = digits.max(1, keepdim=True)
    true_middles = torch.cat([heights, marks], 1)
    is_middle = (true_middles > 0.999).float()
    probabilities = torch.sigmoid(middles)
    found = functional.logsigmoid(middles) * (1 - probabilities) ** 2 * is_middle
    others = functional.logsigmoid(-middles) * probabilities**2 * (1 - true_middles) ** 4
    focal = (-(found + others).sum((1, 2, 3)) / is_middle.sum((1, 2, 3)).clamp(min=1)).mean()
    read = functional.cross_entropy(classes, digit[:, 0], reduction="none")
    near = heights[:, 0] * (heights[:, 0] > BOX_FROM)
    reading = average(read, near)
    boxes = functional.smooth_l1_loss(sides, true_sides, reduction="none", beta=0.1).mean(1)
    placing = average(boxes, (true_middles.amax(1) > BOX_FROM).float())
    return focal + reading + BOX_WEIGHT * placing + INK_WEIGHT * ink_loss(ink, true_ink)


def average(losses: Tensor, weights: Tensor) -> Tensor:
    """Return the mean over pages of the weighted mean of (B, h, w) losses in each."""
    return ((losses * weights).sum((1, 2)) / weights.sum((1, 2)).clamp(min=1)).mean()


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, and save unless better weights are already there; return 1 if they are."""
    options = parse_options(arguments)
    if not may_write(options.weights, MEASURE, options.force):
        return 1
    started = time.monotonic()
    samples = read_samples(limit=options.pages) + build_samples(BUILT, seed=0, forms=IN_ROWS)
    net = train(samples, options)
    record = {
        "seed": options.seed,
        "pages": options.pages,
        "duration_s": round(time.monotonic() - started, 1),
    }
    batches = RandomBatches(samples, range(options.pages // BATCH, options.pages // BATCH + 100), options.seed)
    seen = (planes for planes, _ in map(batches.__getitem__, range(100)) if planes.shape[2:] == SHAPES[0])
    calibrate = torch.cat(list(islice(seen, SEEN_BATCHES))).float()
    pages = max(1, VALIDATION_PAGES * min(options.pages, PAGES) // PAGES)
    return write(
        net, Probabilities(), calibrate, options.weights, record, partial(measure, pages), options.force, STEP_PX
    )


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = make_parser("scripts/train-numbers", __doc__, NUMBER_WEIGHTS)
    parser.add_argument("--pages", metavar="N", type=positive, default=PAGES, help="pages to see (%(default)s)")
    options = parser.parse_args(arguments)
    if options.pages < LEAST_BATCHES * BATCH:
        parser.error(f"--pages needs at least {LEAST_BATCHES * BATCH}, {LEAST_BATCHES} batches")
    return options


def train(samples: list[Sample], options: argparse.Namespace) -> NumberNet:
    """Return a net whose weights are the moving average over the last steps of training."""
    torch.manual_seed(options.seed)
    net = normalise(NumberNet()).train().to(memory_format=torch.channels_last)
    steps = options.pages // BATCH

    def make(done: int) -> Iterator[tuple[Tensor, Tensor]]:
        batches = RandomBatches(samples, range(done, steps), options.seed)
        for planes, target in DataLoader(batches, None, num_workers=WORKERS, prefetch_factor=8):
            yield planes.float().to(memory_format=torch.channels_last), target.float()

    def report(step: int, loss: float, _: nn.Module) -> str:
        return f"{step} of {steps}: loss {loss:.4f}"

    checkpoint = find_checkpoint(options, torch.default_generator)
    return fold(fit(net, make, steps, number_loss, RECIPE, max(1, steps // 40), report, checkpoint), NumberNet())


def measure(pages: int, net: NumberNet) -> dict[str, Any]:
    """Return the share of numbers that a net reads on usual pages of held-out hands, and by what to judge its numbers.

    Training has harder pages, on which signs of a wrong number say little of the pictures that people send.
    """
    served, classify = nn.Sequential(net, Probabilities()).eval(), build_classifier()

    @torch.inference_mode()
    def detect(planes: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(served(torch.from_numpy(planes)))

    written, right = 0, 0
    signs, is_right = [], []
    usual = islice(filter(is_usual, make_validation_pages()), pages)
    for page in tqdm(usual, "validation", pages, unit="page", leave=False, disable=None):
        truth = list_numbers(page)
        found = find_numbers(page.grey, detect, classify, {"bias": 0.0})
        matches = [any(is_same(each, other) for other in truth) for each in found]
        written, right = written + len(truth), right + sum(matches)
        signs += [each.signs for each in found]
        is_right += matches
    return {MEASURE: round(right / max(1, written), 4), "certainty": fit_certainty(signs, is_right)}


def make_validation_pages() -> Iterator[Page]:
    """Yield pages in hands that training never sees, the same ones each time."""
    hand = Hand(read_held_out_samples())
    for number in count():
        chance = np.random.default_rng((FIXED_SEED, number))
        yield make_page(hand, choose_shape(chance), chance)


def is_same(number: Number, written: tuple[str, Box]) -> bool:
    """Return whether a number that was found is the one that was written with a text in a box."""
    text, box = written
    return number.text == text and float(overlap(np.array([number.box, box], np.float32))[0, 1]) > LEAST_OVERLAP


def fit_certainty(signs: list[dict[str, float]], is_right: list[bool]) -> dict[str, float]:
    """Return the weights of a logistic regression that says from a number's signs how probably it is right.

    By Newton's method; numbers whose confidence is capped are left out.
    """
    free = [number for number, each in enumerate(signs) if not is_suspect(each)]
    names = [name for name in (signs[0] if signs else {}) if name not in CAPPING]
    rows = np.array([[signs[number][name] for name in names] for number in free]).reshape(len(free), len(names))
    right = np.array(is_right)[free].astype(float)
    weights = np.zeros(len(names))
    for _ in range(NEWTON_STEPS if free else 0):
        probable = 1 / (1 + np.exp(-(rows @ weights).clip(-30, 30)))
        slope = rows.T @ (right - probable) - RIDGE * weights
        curve = (rows * (probable * (1 - probable))[:, None]).T @ rows + RIDGE * np.eye(len(names))
        weights = weights + np.linalg.solve(curve, slope)
    return dict(zip(names, weights.round(4).tolist(), strict=True))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command goes on after the last report.")
