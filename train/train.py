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
from accuracy import WEIGHTS, accuracy
from augment import augment
from digit_net import DigitNet
from mnist import read_test, read_training, split
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

EPOCHS = 40
BATCH = 256
PEAK_LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.02
EMA_DECAY = 0.998


def main() -> int:
    """Train, measure, and save unless better weights are already there."""
    options = parse_options()
    record_path = options.weights.with_suffix(".json")
    if options.weights.exists() and not record_path.exists() and not options.force:
        print(f"{options.weights} has no record beside it to compare with; --force replaces it.", file=sys.stderr)
        return 1
    started = time.monotonic()
    net = train(options.epochs, options.seed)
    seconds = time.monotonic() - started

    pixels, digits = read_training()
    held_out = split()[1]
    validation = accuracy(net, pixels[held_out], digits[held_out])
    test = accuracy(net, *read_test())
    record = {
        "seed": options.seed,
        "epochs": options.epochs,
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
    parser.add_argument("--seed", type=int, default=0, help="of the first weights, order and variations (%(default)s)")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="file to write, its record beside it as .json")
    parser.add_argument("--force", action="store_true", help="replace weights even if they are better")
    return parser.parse_args()


def positive(text: str) -> int:
    """Return text as a whole number above 0, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def train(epochs: int, seed: int) -> DigitNet:
    """Return a net whose weights are the moving average over the last steps of training."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator(device).manual_seed(seed)
    pixels, digits = (tensor.to(device) for tensor in read_training())
    learned_from, held_out = (indices.to(device) for indices in split())
    net = DigitNet().to(device).to(memory_format=torch.channels_last)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    smooth = cast("DigitNet", average.module)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=WEIGHT_DECAY, fused=True)
    batches = len(learned_from) // BATCH
    schedule = OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=epochs * batches)

    with tqdm(total=epochs * batches, unit="batch", disable=None) as bar:
        for epoch in range(1, epochs + 1):
            epoch_loss = 0.0
            order = learned_from[torch.randperm(len(learned_from), generator=generator, device=device)]
            for indices in order[: batches * BATCH].view(batches, BATCH):
                varied = augment(pixels[indices], generator)
                with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16()):
                    logits = net(varied)
                loss = cross_entropy(logits.float(), digits[indices])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                average.update_parameters(net)
                epoch_loss += loss.item() / batches
                bar.update()
            held_out_accuracy = accuracy(smooth, pixels[held_out], digits[held_out].cpu())
            bar.set_postfix(loss=f"{epoch_loss:.3f}", accuracy=f"{held_out_accuracy:.2%}")
            bar.write(f"epoch {epoch}/{epochs}: loss {epoch_loss:.3f}, validation accuracy {held_out_accuracy:.2%}")
    return smooth


def has_bfloat16() -> bool:
    """Tell whether the device multiplies bfloat16 in hardware; in software it is slower than float32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


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
