"""Measure the shipped weights on MNIST's test pictures and on folders of labelled pictures.

A folder has a file labels.csv (columns file and label) or one sub-folder of pictures for each class. Labels other
than 0 to 9 stand for what is not one digit: there it is right to doubt or to refuse.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from digit_net import load_net
from evaluate.corruptions import HARDSHIPS, make_uploads
from evaluate.document import align, write_report
from evaluate.out_of_distribution import make_out_of_distribution
from evaluate.pictures import PictureSet, png, read_folder
from evaluate.predictions import Ask, ask_service, read_here, read_pixels, read_threshold
from evaluate.report import Curve, describe, tabulate
from operate.client import Client
from operate.config import OperatorError, read_config
from train.mnist import read_test

POINT_PICTURES = 300
KIND_PICTURES = 500


def main() -> int:
    """Measure, print and report; return 1 if that is impossible or the service reads MNIST differently."""
    options = parse_options()
    try:
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
        return evaluate(options.folders, options.url, options.limit, options.report)
    except OperatorError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
    return 1


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path, help="folder of labelled pictures")
    parser.add_argument("--url", help="ask the service at this address (http://127.0.0.1:8080), not the net itself")
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N pictures of each set")
    parser.add_argument(
        "--report", metavar="FOLDER", type=Path, help="write report.md, report.html and figures there (some minutes)"
    )
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error("--limit needs a whole number above 0")
    return options


def evaluate(folders: Sequence[Path], url: str | None, limit: int | None, report: Path | None) -> int:
    """Print the table and write the report, if any; return 1 if the service and the net differ on MNIST.

    Raises OperatorError, OSError.
    """
    threshold = read_threshold()
    net = load_net()
    ask: Ask = partial(ask_service, Client(read_config(), url)) if url else partial(read_here, net, threshold)
    sets = [found for folder in folders for found in read_folder(folder, limit)]
    test, test_digits = read_test()
    test, test_digits = test[:limit], test_digits[:limit]
    pixels = test[:, 0].numpy()
    mnist = PictureSet("MNIST test", [png(picture) for picture in pixels], test_digits.numpy())
    itself = read_pixels(net, threshold, test)
    results = [(mnist, ask(mnist.uploads, mnist.name) if url else itself)]
    if report:
        sets += make_out_of_distribution(pixels, min(KIND_PICTURES, limit or KIND_PICTURES))
    results += [(pictures, ask(pictures.uploads, pictures.name)) for pictures in sets]
    print(align(tabulate(results)))
    different = int((results[0][1].digits != itself.digits).sum())
    if url:
        print(f"{different} of {len(pixels):,} MNIST digits differ between the service and the net itself.")
    if report:
        curves = measure(ask, mnist, pixels)
        write_report(report, "How well the digits are read", describe(results, curves, threshold))
        print(f"Wrote {report / 'report.md'} and {report / 'report.html'}.")
    return 1 if different else 0


def measure(ask: Ask, mnist: PictureSet, pixels: NDArray[np.uint8]) -> list[Curve]:
    """Return the answers to MNIST digits, spread over the (N, 28, 28) pixels, at each level of each hardship."""
    chosen = np.linspace(0, len(pixels) - 1, min(POINT_PICTURES, len(pixels))).astype(int)
    points = [(hardship, level) for hardship in HARDSHIPS for level in hardship.levels]
    curves: list[Curve] = [(hardship, []) for hardship in HARDSHIPS]
    for hardship, level in tqdm(points, "hardships", unit="point", leave=False, disable=None):
        uploads = make_uploads(hardship, level, pixels[chosen])
        answers = ask(uploads, f"{hardship.title} {level}")
        # One page is kept to be shown.
        shown = PictureSet(hardship.title, uploads[:1], mnist.digits[chosen])
        curves[HARDSHIPS.index(hardship)][1].append((shown, answers))
    return curves


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
