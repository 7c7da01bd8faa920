"""Train DigitNet on MNIST and write its weights together with a record of how they came about."""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import cast

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from digit_net import WEIGHTS, DigitNet, has_bfloat16
from train.accuracy import accuracy
from train.augment import augment, bend, damage
from train.mnist import read_test, read_training, split
from train.normalised_net import NormalisedNet, fold
from train.outliers import strangers

EPOCHS = 80
QUICK_EPOCHS = 12
BATCH = 256
PEAK_LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05
EMA_DECAY = 0.999
# The share of a batch that is no digit.
STRANGER_SHARE = 0.08
INGREDIENTS = ("styles", "geometry", "elastic", "strokes", "damage", "strangers")


def main() -> int:
    """Train, measure, and save unless better weights are already there."""
    options = parse_options()
    record_path = options.weights.with_suffix(".json")
    if options.weights.exists() and not record_path.exists() and not options.force:
        print(f"{options.weights} has no record beside it to compare with; --force replaces it.", file=sys.stderr)
        return 1
    started = time.monotonic()
    net = train(options.epochs, options.seed, frozenset(options.without))
    seconds = time.monotonic() - started

    pixels, digits = read_training()
    held_out = split()[1]
    validation = accuracy(net, pixels[held_out], digits[held_out])
    test = accuracy(net, *read_test())
    record = {
        "seed": options.seed,
        "epochs": options.epochs,
        "without": sorted(options.without),
        "validation_accuracy": round(validation, 4),
        "test_accuracy": round(test, 4),
        "duration_s": round(seconds, 1),
        "device": device_name(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }
    print(json.dumps(record, indent=2))

    target = options.weights
    kept = json.loads(record_path.read_text())["validation_accuracy"] if record_path.exists() else 0.0
    refused = validation < kept and not options.force
    if refused:
        target = target.with_suffix(".worse.pt")
    torch.save({name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}, target)
    target.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    if refused:
        print(
            f"Kept {options.weights}: its validation accuracy {kept:.2%} is better than {validation:.2%}. "
            f"The new weights are in {target}; --force replaces the old ones.",
            file=sys.stderr,
        )
        return 1
    print(f"Wrote {target}.")
    return 0


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/train", description=__doc__)
    parser.add_argument("--epochs", type=positive, default=EPOCHS, help="passes over the pictures (%(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_EPOCHS} epochs: minutes, and nearly as good")
    parser.add_argument(
        "--without", action="append", default=[], choices=INGREDIENTS, help="leave an ingredient out; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first weights, order and variations (%(default)s)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="file to write, its record beside it as .json")
    parser.add_argument("--force", action="store_true", help="replace weights even if they are better")
    options = parser.parse_args()
    if options.quick:
        options.epochs = QUICK_EPOCHS
    return options


def positive(text: str) -> int:
    """Return text as a whole number above 0, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def train(epochs: int, seed: int, without: frozenset[str] = frozenset()) -> DigitNet:
    """Return a calibrated net whose weights are the moving average over the last steps of training.

    without names ingredients to leave out, to see what each of them is good for.
    """
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(seed)
    pixels, digits = (tensor.to(device) for tensor in read_training())
    learned_from, held_out = (indices.to(device) for indices in split())
    net = NormalisedNet().to(device).to(memory_format=torch.channels_last)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    smooth = cast("NormalisedNet", average.module)
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, weight_decay=WEIGHT_DECAY, fused=True)
    batches = len(learned_from) // BATCH
    schedule = OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=epochs * batches)
    with tqdm(total=epochs * batches, unit="batch", disable=None) as bar:
        for epoch in range(1, epochs + 1):
            epoch_loss = torch.zeros((), device=device)
            order = learned_from[torch.randperm(len(learned_from), generator=generator, device=device)]
            for indices in order[: batches * BATCH].view(batches, BATCH):
                varied, targets = make_batch(pixels[indices], digits[indices], generator, without)
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
            share = f"{accuracy(fold(smooth), pixels[held_out], digits[held_out].cpu()):.2%}"
            bar.set_postfix(loss=f"{epoch_loss.item():.3f}", accuracy=share)
            bar.write(f"epoch {epoch}/{epochs}: loss {epoch_loss.item():.3f}, validation accuracy {share}")
    trained = fold(smooth)
    calibrate(trained, pixels[held_out], digits[held_out])
    return trained


def make_batch(
    pixels: Tensor, digits: Tensor, generator: torch.Generator, without: frozenset[str]
) -> tuple[Tensor, Tensor]:
    """Vary (B, 1, 28, 28) uint8 pixels; return them as floats with (B, 10) target probabilities.

    The first of them become shapes that are no digit, whose target is ten times a tenth: outlier exposure
    (Hendrycks et al. 2019).
    """
    strange = 0 if "strangers" in without else int(STRANGER_SHARE * len(pixels))
    targets = one_hot(digits, 10).float()
    varied = augment(pixels[strange:], digits[strange:], generator, without)
    if strange:
        targets[:strange] = 0.1
        shapes = strangers(bend(pixels[:strange].float(), generator), digits[:strange], generator)
        varied = torch.cat([damage(shapes, generator), varied])
    return varied, targets


@torch.inference_mode()
def calibrate(net: DigitNet, pixels: Tensor, digits: Tensor) -> None:
    """Divide the net's logits by the temperature that suits held-out pictures best (Guo et al. 2017).

    The temperature becomes part of the last layer's weights, so that softmax alone gives calibrated probabilities.
    """
    logits = torch.cat([net(batch) for batch in pixels.split(BATCH)])
    temperatures = torch.logspace(-1, 1, 401, base=2).tolist()
    best = min(temperatures, key=lambda temperature: cross_entropy(logits / temperature, digits).item())
    for parameter in net.fc2.parameters():
        parameter.div_(best)


def device_name() -> str:
    """Return what the record calls the hardware."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads, {torch.cpu.get_capabilities().get('cpu_name', platform.machine())}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped; nothing was written.")
