"""Measure the shipped weights on MNIST's test pictures and on folders of labelled pictures.

A folder has a file labels.csv (columns file and label) or one sub-folder of pictures for each class. Labels other
than 0 to 9 mark what is not one digit: such a picture should be doubted or refused.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from evaluate.corruptions import CORRUPTIONS, make_uploads
from evaluate.document import align, write_report
from evaluate.out_of_distribution import make_out_of_distribution
from evaluate.pages import make_pages, split_by_kind, to_pictures
from evaluate.pictures import PictureSet, png, read_folder
from evaluate.predictions import Predictor, predict_in_process, predict_pixels, predict_with_service, read_threshold
from evaluate.report import Curve, describe, tabulate
from model.digit_net import load_net
from operate.client import Client
from operate.config import OperatorError, read_config
from train.mnist import read_test

# How many pictures are measured at each severity of a corruption, of each out-of-distribution kind, and made-up pages.
CORRUPTED = 300
OUT_OF_DISTRIBUTION = 500
PAGES = 2_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and report; return 1 if that is impossible or the service reads MNIST differently."""
    options = parse_options(arguments)
    try:
        if options.report:
            options.report.mkdir(parents=True, exist_ok=True)
        return evaluate(options.folders, options.url, options.limit, options.report)
    except OperatorError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"{error.filename}: {error.strerror}.", file=sys.stderr)
    return 1


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path, help="folder of labelled pictures")
    parser.add_argument("--url", help="measure the service at this address, such as http://127.0.0.1:8080")
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N pictures of each set")
    parser.add_argument(
        "--report", metavar="FOLDER", type=Path, help="write report.md, report.html and figures there (takes minutes)"
    )
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        parser.error("--limit needs a whole number above 0")
    return options


def evaluate(folders: Sequence[Path], url: str | None, limit: int | None, report: Path | None) -> int:
    """Print the table and write the report if wanted; return 1 if the service and the net differ on MNIST.

    Raises OperatorError, OSError.
    """
    threshold = read_threshold()
    net = load_net()
    predict: Predictor = partial(predict_in_process, threshold)
    if url:
        predict = partial(predict_with_service, Client(read_config(), url))
    sets = [pictures for folder in folders for pictures in read_folder(folder, limit)]
    test, digits = (part[:limit] for part in read_test())
    pixels = test[:, 0].numpy()
    mnist = PictureSet("MNIST test", [png(picture) for picture in pixels], digits.numpy())
    from_net = predict_pixels(net, threshold, test)
    results = [(mnist, predict(mnist.uploads, mnist.name) if url else from_net)]
    place_of_pages = 1 + len(sets)
    pages = make_pages(min(PAGES, limit or PAGES)) if report else []
    if report:
        sets.append(to_pictures(pages))
        sets += make_out_of_distribution(pixels, min(OUT_OF_DISTRIBUTION, limit or OUT_OF_DISTRIBUTION))
    results += [(pictures, predict(pictures.uploads, pictures.name)) for pictures in sets]
    print(align(tabulate(results)))
    different = int((results[0][1].digits != from_net.digits).sum())
    if url:
        print(f"{different} of {len(pixels):,} MNIST digits are read differently by the service and by the net.")
    if report:
        curves = measure_corruptions(predict, mnist, pixels)
        kinds = split_by_kind(pages, results[place_of_pages])
        write_report(report, "How well the digits are read", describe(results, curves, kinds, threshold))
        print(f"Wrote {report / 'report.md'} and {report / 'report.html'}.")
    return 1 if different else 0


def measure_corruptions(predict: Predictor, mnist: PictureSet, pixels: NDArray[np.uint8]) -> list[Curve]:
    """Return the results for digits spread over MNIST's (n, 28, 28) pixels at each severity of each corruption."""
    chosen = np.linspace(0, len(pixels) - 1, min(CORRUPTED, len(pixels))).astype(int)
    curves: list[Curve] = []
    steps = sum(len(corruption.severities) for corruption in CORRUPTIONS)
    with tqdm(desc="corruptions", total=steps, leave=False, disable=None) as bar:
        for corruption in CORRUPTIONS:
            results = []
            for severity in corruption.severities:
                uploads = make_uploads(corruption, severity, pixels[chosen])
                predictions = predict(uploads, f"{corruption.title} {severity}")
                # One page is kept to be shown.
                results.append((PictureSet(corruption.title, uploads[:1], mnist.digits[chosen]), predictions))
                bar.update()
            curves.append((corruption, results))
    return curves


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
