"""The tables and sections of the report of an evaluation."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
import torch

from evaluate import figures
from evaluate.corruptions import Corruption
from evaluate.document import Section, Table
from evaluate.metrics import auroc, calibration_error, wilson
from evaluate.predictions import Result, certain_yet_wrong
from model.record import compute_hash
from model.weights import INK_WEIGHTS, WEIGHTS

MISTAKES = 24
EXAMPLES = 10

# The results at each severity of a corruption.
Curve = tuple[Corruption, list[Result]]


def percent(share: float, decimals: int = 2) -> str:
    """Return a share 0..1 as a percentage."""
    return f"{100 * share:.{decimals}f} %"


def tabulate(results: Sequence[Result]) -> Table:
    """Return a row for each set; the AUROC compares the confidences of the first with those of another."""
    table = [["pictures", "n", "read right", "95 % interval", "certain", "right when certain", "ECE", "AUROC"]]
    for pictures, predictions in results:
        count, certain = len(predictions.digits), percent(predictions.certain.mean(), 1)
        if not pictures.shows_digits:
            separation = f"{auroc(results[0][1].confidences, predictions.confidences):.4f}"
            table.append([pictures.name, f"{count:,}", "", "", certain, "", "", separation])
            continue
        right = pictures.digits == predictions.digits
        low, high = wilson(int(right.sum()), count)
        sure = percent(right[predictions.certain].mean()) if predictions.certain.any() else ""
        error = percent(calibration_error(*pool([(pictures, predictions)]))) if predictions.accepted.any() else ""
        interval = f"{100 * low:.2f} to {percent(high)}"
        table.append([pictures.name, f"{count:,}", percent(right.mean()), interval, certain, sure, error, ""])
    return table


def tabulate_out_of_distribution(results: Sequence[Result], digits: Result) -> Table:
    """Return a row for each out-of-distribution set, and one for digits to compare with."""
    table = [["pictures", "n", "doubted", "refused", "AUROC"]]
    for pictures, predictions in (*results, digits):
        doubted, refused = (percent(1 - share.mean(), 1) for share in (predictions.certain, predictions.accepted))
        separation = "" if pictures.shows_digits else f"{auroc(digits[1].confidences, predictions.confidences):.4f}"
        table.append([pictures.name, f"{len(predictions.digits):,}", doubted, refused, separation])
    return table


def tabulate_kinds(kinds: dict[str, Result]) -> Table:
    """Return a row for each kind of page."""
    table = [["pages", "n", "read right", "95 % interval", "certain", "certain, yet wrong"]]
    for kind, result in kinds.items():
        pictures, predictions = result
        right, count = int((pictures.digits == predictions.digits).sum()), len(pictures.digits)
        low, high = wilson(right, count)
        shares = [percent(share, 1) for share in (predictions.certain.mean(), certain_yet_wrong(result).mean())]
        interval = f"{100 * low:.1f} to {percent(high, 1)}"
        table.append([kind, f"{count:,}", percent(right / count, 1), interval, *shares])
    return table


def tabulate_curve(curve: Curve) -> Table:
    """Return the shares that were read right, and that were certain yet wrong, at each severity of a corruption."""
    corruption, results = curve
    return [
        [f"{corruption.title}: {corruption.unit}", *(str(severity) for severity in corruption.severities)],
        ["read right", *(percent((pictures.digits == read.digits).mean(), 1) for pictures, read in results)],
        ["certain, yet wrong", *(percent(certain_yet_wrong(result).mean(), 1) for result in results)],
    ]


def describe(
    results: Sequence[Result], curves: Sequence[Curve], kinds: dict[str, Result], threshold: float
) -> list[Section]:
    """Return the sections of the report."""
    digits = [result for result in results if result[0].shows_digits]
    others = [result for result in results if not result[0].shows_digits]
    mistaken = [result for result in digits if (result[0].digits != result[1].digits).any()]
    hard = [result for _, curve in curves for result in curve]
    calibration = {"MNIST test": pool(results[:1]), "hard conditions": pool(hard)}
    return [
        Section(
            "Summary",
            f"The SHA-256 of DigitNet's weights begins with {compute_hash(WEIGHTS)[:16]}, that of InkNet's with "
            f"{compute_hash(INK_WEIGHTS)[:16]}; they ran with OpenVINO {version('openvino')}, on MNIST's "
            f"test pictures with torch {torch.__version__}. An answer is certain from a confidence "
            f"of {threshold:g}. Intervals are Wilson's. ECE is the expected calibration error in 15 bins of equal "
            "width, without refused pictures. AUROC is how often a picture of MNIST gets more confidence than one that "
            "is not one digit. A refused picture has a confidence of 0 and counts as read wrong.",
            [tabulate(results)],
        ),
        Section(
            "Accuracy",
            "The share of digits read right in each set, with its 95 % interval.",
            figures={"Accuracy of each set": ("accuracy.png", figures.plot_accuracy(digits))},
        ),
        Section(
            "Which digits are taken for which",
            "MNIST's test pictures: each row is a digit, each column what it was read as, without refused pictures.",
            figures={"Confusion matrix": ("confusion.png", figures.plot_confusion(results[0]))},
        ),
        Section(
            "Is it right as often as it says?",
            "Of the answers with a confidence of 80 %, 80 % should be right. The second curve pools the pictures of "
            "all hard conditions below, where the net has reason to doubt. Bins of fewer than "
            f"{figures.FEWEST_IN_BIN} answers are not drawn.",
            figures={"Reliability diagram": ("calibration.png", figures.plot_calibration(calibration))},
        ),
        Section(
            "What is not one digit",
            "The recogniser should doubt these (give no certain answer) or refuse them (400). Above each example is "
            "what was read, with what confidence; orange ones are certain, and should not be.",
            [tabulate_out_of_distribution(others, results[0])],
            {
                "Confidences of digits and of other pictures": (
                    "confidence.png",
                    figures.plot_confidences(results[0], others, threshold),
                ),
                "Examples of other pictures": (
                    "out-of-distribution.png",
                    figures.plot_out_of_distribution(others, EXAMPLES),
                ),
            },
        ),
        Section(
            "By paper, pen and light",
            "Pages that a program makes up, as training does, but of hands that training never saw: held-out MNIST "
            "digits and held-out writers. Many are harder than photographs: faint, tiny, in deep shadow, or all three.",
            [tabulate_kinds({kind: result for kind, result in kinds.items() if len(result[0].digits)})],
        ),
        Section(
            "Hard conditions",
            f"{len(hard[0][1].digits)} MNIST test digits at each severity, each written 200 pixels high in dark ink "
            "on an off-white page of 280x280 pixels and sent as a file. The band is the 95 % interval.",
            [tabulate_curve(curve) for curve in curves],
            {"Accuracy under corruptions": ("corruptions.png", figures.plot_corruptions(curves))},
        ),
        Section(
            "The worst mistakes",
            "Wrong answers, the most confident first: the picture, the ink that was found, the pixels made of it, the "
            "digit it shows and what was read. An orange frame marks a certain answer.",
            figures={
                f"Mistakes in {result[0].name}": (f"mistakes-{number}.png", figures.plot_mistakes(result, MISTAKES))
                for number, result in enumerate(mistaken, 1)
            },
        ),
    ]


def pool(results: Sequence[Result]) -> figures.Judged:
    """Return the confidences of all predictions for accepted pictures, and whether they were right."""
    confidences = [predictions.confidences[predictions.accepted] for _, predictions in results]
    right = [(pictures.digits == read.digits)[read.accepted] for pictures, read in results]
    return np.concatenate(confidences), np.concatenate(right)
