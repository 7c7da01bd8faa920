"""Measure the shipped weights on MNIST's test pictures and on folders of labelled pictures.

A folder has a file labels.csv (columns file and label) or one sub-folder of pictures for each label. A label of two
digits or more, such as 0156, is a number to be read. Any label that is not made of digits, such as none, marks
pictures without digits: these should be doubted or refused, and no number in them be certain.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from evaluate import allographs
from evaluate.corruptions import CORRUPTIONS, make_uploads
from evaluate.document import align, write_report
from evaluate.numbers import make_pages, make_strings
from evaluate.out_of_distribution import make_out_of_distribution
from evaluate.pictures import PictureSet, png, read_folder
from evaluate.predictions import Predictor, predict_in_process, predict_pixels, predict_with_service
from evaluate.report import Curve, describe, tabulate, tabulate_numbers
from evaluate.sheets import make_sheets, split_by_kind, to_pictures
from evaluate.without_digits import make_without_digits
from operate.client import Client
from operate.command import run
from operate.config import read_config, read_model_config
from train.mnist import read_mnist
from train.samples import read_held_out_samples

# How many pictures are measured at each severity of a corruption, of each out-of-distribution kind, and of sheets.
CORRUPTED = 300
OUT_OF_DISTRIBUTION = 500
SHEETS = 2_000
# Of strings of digits, of pages with numbers, and of each kind of picture without digits.
STRINGS, PAGES = 500, 200
WITHOUT_DIGITS = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and report; return 1 if the service reads MNIST differently. Raises OperatorError, OSError."""
    options = parse_options(arguments)
    if options.report:
        options.report.mkdir(parents=True, exist_ok=True)
    return evaluate(options.folders, options.url, options.limit, options.report)


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line. Raises SystemExit with status 2 if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="*", type=Path, help="folder of labelled pictures")
    parser.add_argument("--url", help="measure the service at this address, such as http://127.0.0.1:8080")
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N pictures of each set")
    parser.add_argument("--report", metavar="FOLDER", type=Path, help="write report.md and figures there (minutes)")
    options = parser.parse_args(arguments)
    if options.limit is not None and options.limit < 1:
        parser.error("--limit needs a whole number above 0")
    return options


def evaluate(folders: Sequence[Path], url: str | None, limit: int | None, report: Path | None) -> int:
    """Print the tables and write the report if wanted; return 1 if the service and the net differ on MNIST.

    Raises OperatorError, OSError.
    """
    threshold = float(read_model_config()["handler"]["certain_from"])
    predict: Predictor = partial(predict_in_process, threshold)
    predict_numbers: Predictor = partial(predict_in_process, threshold, with_numbers=True)
    if url:
        predict = predict_numbers = partial(predict_with_service, Client(read_config(), url))
    sets = [pictures for folder in folders for pictures in read_folder(folder, limit)]
    test, digits = (part[:limit] for part in read_mnist(train=False))
    pixels = test[:, 0].numpy()
    mnist = PictureSet("MNIST test", [png(picture) for picture in pixels], digits.numpy())
    from_net = predict_pixels(threshold, test.numpy())
    results = [(mnist, predict(mnist.uploads, mnist.name) if url else from_net)]
    different = int((results[0][1].digits != from_net.digits).sum())
    if report:
        samples = read_held_out_samples()
        sheets = make_sheets(samples, min(SHEETS, len(pixels)))
        drawings = allographs.make_drawings()[:limit]
        sets += [to_pictures(sheets), allographs.to_pictures(drawings), allographs.read_scans(limit)]
        sets += make_out_of_distribution(pixels, mnist.digits, min(OUT_OF_DISTRIBUTION, len(pixels)))
        sets += make_without_digits(min(WITHOUT_DIGITS, len(pixels)))
        sets.append(make_strings(pixels, mnist.digits, min(STRINGS, len(pixels))))
        sets.append(make_pages(samples, min(PAGES, len(pixels))))
    for pictures in sets:
        look = predict if pictures.shows_digits else predict_numbers
        results.append((pictures, look(pictures.uploads, pictures.name)))
    print(align(tabulate(results)))
    if numbers := [result for result in results if result[0].texts]:
        print("\n" + align(tabulate_numbers(numbers)))
    if url:
        print(f"{different} of {len(pixels):,} MNIST digits are read differently by the service and by the net.")
    if report:
        kinds = split_by_kind(sheets, results)
        by_allograph = allographs.count_by_allograph(drawings, results)
        curves = measure_corruptions(predict, mnist, pixels)
        write_report(report, "How well the digits are read", describe(results, curves, kinds, by_allograph, threshold))
        print(f"Wrote {report / 'report.md'}.")
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
                # One sheet is kept to be shown.
                results.append((PictureSet(corruption.title, uploads[:1], mnist.digits[chosen]), predictions))
                bar.update()
            curves.append((corruption, results))
    return curves


if __name__ == "__main__":
    run(main)
