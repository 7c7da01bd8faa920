"""Fine-tuning: the weights learn somebody's pictures, and answer what they were made with as before.

Those answers are the targets of all other pictures (learning without forgetting: Li & Hoiem 2016).
"""

import argparse
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from model.digit_net import DigitNet
from model.record import compute_hash
from train.augment import augment
from train.export import load
from train.fit import Recipe, fit
from train.hand import Hand, Known
from train.record import find_checkpoint
from train.sheets.layout import NOT_ONE_DIGIT
from train.training_net import fold

# Pictures of each kind, MNIST's, on sheets and in thumbnails, among which the others are learned, and how often.
FEW, EPOCHS = 4_000, 2
# Pictures to learn beside each batch of those.
OWN = 8
# Apart from that of a whole training, which takes hours.
CHECKPOINT = ".more.checkpoint"
# Of the labels: once a picture is certain, it changes nothing more (label smoothing: Szegedy et al. 2016).
SMOOTHING = 0.1
# How far to go from the old weights to the new ones: as far as held-out pictures allow.
SHARES = (1.0, 0.75, 0.5, 0.25)
RECIPE = Recipe(peak_learning_rate=1e-4, weight_decay=0.0, rise_share=0.1, ema_share=0.4)

# Returns the batches, (n, 1, 28, 28) ink 0..255 with targets, that are left after so many.
Replay = Callable[[int], Iterable[tuple[Tensor, Tensor]]]


def learn(
    hand: Hand, replay: Replay, batches: int, generator: torch.Generator, options: argparse.Namespace
) -> DigitNet:
    """Return a net that goes on from options.start for options.epochs, each of so many batches."""
    net, old = (load(DigitNet(), options.start).to(memory_format=torch.channels_last) for _ in range(2))
    # What a picture is seen by is common to all hands; only what it tells is learned.
    for layer in (net.conv1, net.conv2):
        layer.requires_grad_(False)
    begun = {"pictures": hand.digest, "weights_before": compute_hash(options.start)}
    checkpoint = find_checkpoint(options, generator, CHECKPOINT, **begun)
    average = fit(
        net,
        lambda done: mix(hand.learned, replay(done), old, generator),
        options.epochs * batches,
        cross_entropy,
        RECIPE,
        batches,
        lambda step, loss, _: f"epoch {step // batches}/{options.epochs}: loss {loss:.3f}",
        checkpoint,
    )
    return fold(average, DigitNet())


def interpolate(old: DigitNet, new: DigitNet, share: float) -> DigitNet:
    """Return a net a share of the way from old to new weights (Wortsman et al. 2022)."""
    net, target = DigitNet(), new.state_dict()
    net.load_state_dict({name: torch.lerp(tensor, target[name], share) for name, tensor in old.state_dict().items()})
    return net.eval()


def mix(
    learned: list[Known], replayed: Iterable[tuple[Tensor, Tensor]], old: DigitNet, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each batch that is replayed, with the old net's answers as targets, and some pictures to learn beside."""
    pixels = torch.from_numpy(np.stack([known.ink.pixels for known in learned]))
    labels = torch.tensor([known.label for known in learned])
    sure = torch.where(labels[:, None] == NOT_ONE_DIGIT, 0.1, one_hot(labels.clamp(min=0), 10))
    targets = (1 - SMOOTHING) * sure + SMOOTHING / 10
    for ink, _ in replayed:
        chosen = torch.randint(len(labels), (OWN,), generator=generator)
        own = augment(pixels[chosen], labels[chosen], generator, frozenset({"styles"}), mild_share=1.0)
        with torch.no_grad():
            answers = old(ink).softmax(1)
        yield torch.cat([ink, own]), torch.cat([answers, targets[chosen]])
