"""Measure the shipped weights on the 10,000 MNIST test pictures, in process and through the running service."""

import argparse
import io
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import requests
import torch
from accuracy import load_net, read_digits
from mnist import read_test
from PIL import Image
from torch import Tensor
from tqdm import tqdm

CLIENTS = 16


def main() -> int:
    """Print the accuracies; with a URL also how many digits differ, and return 1 if any does."""
    parser = argparse.ArgumentParser(prog="scripts/evaluate", description=__doc__)
    parser.add_argument("--url", help="address of an inference API to POST every picture to as a PNG file")
    options = parser.parse_args()
    pixels, digits = read_test()
    in_process = read_digits(load_net(), pixels)
    report = {"pictures": len(digits), "in_process": share_right(in_process, digits)}
    if options.url:
        try:
            served = read_through_service(options.url.rstrip("/"), pixels)
        except requests.RequestException as error:
            print(f"{options.url} cannot be asked: {error}", file=sys.stderr)
            return 1
        report |= {
            "through_service": share_right(served, digits),
            "different_digits": int((served != in_process).sum()),
        }
    print(json.dumps(report, indent=2))
    return 1 if report.get("different_digits") else 0


def share_right(read: Tensor, digits: Tensor) -> float:
    """Return the share 0..1 of (N,) digits that were read right."""
    return round((read == digits).double().mean().item(), 4)


def read_through_service(url: str, pixels: Tensor) -> Tensor:
    """POST each of (N, 1, 28, 28) uint8 pixels as a PNG file; return the digits (N,) int64 of the answers.

    Raises requests.RequestException, also for an answer that is no digit.
    """
    local = threading.local()

    def read(picture: Tensor) -> int:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        file = io.BytesIO()
        Image.fromarray(picture[0].numpy()).save(file, "PNG")
        response = local.session.post(
            f"{url}/predictions/mnist", data=file.getvalue(), headers={"Content-Type": "image/png"}, timeout=30
        )
        response.raise_for_status()
        return int(response.json()["digit"])

    with ThreadPoolExecutor(CLIENTS) as clients:
        return torch.tensor(list(tqdm(clients.map(read, pixels), total=len(pixels), unit="picture", disable=None)))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
