"""What an evaluation found, as the tables and sections of a report."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch

from digit_net import WEIGHTS
from evaluate import figures
from evaluate.corruptions import Hardship
from evaluate.document import Section, Table
from evaluate.metrics import auroc, calibration_error, wilson
from evaluate.predictions import Result

MISTAKES = 24
EXAMPLES = 10

# The answers at each level of a hardship.
Curve = tuple[Hardship, list[Result]]


def percent(share: float, decimals: int = 2) -> str:
    """Return a share 0..1 as a percentage."""
    return f"{100 * share:.{decimals}f} %"


def tabulate(results: Sequence[Result]) -> Table:
    """Return a line for each set; the first one's confidences are what others are told apart from."""
    table = [["pictures", "n", "read right", "95 % interval", "certain", "right when certain", "ECE", "AUROC"]]
    for pictures, answers in results:
        count, certain = len(answers.digits), percent(answers.certain.mean(), 1)
        if not pictures.shows_digits:
            separation = f"{auroc(results[0][1].confidences, answers.confidences):.4f}"
            table.append([pictures.name, f"{count:,}", "", "", certain, "", "", separation])
            continue
        right = pictures.digits == answers.digits
        low, high = wilson(int(right.sum()), count)
        sure = percent(right[answers.certain].mean()) if answers.certain.any() else ""
        error = percent(calibration_error(*pool([(pictures, answers)]))) if answers.answered.any() else ""
        interval = f"{100 * low:.2f} to {percent(high)}"
        table.append([pictures.name, f"{count:,}", percent(right.mean()), interval, certain, sure, error, ""])
    return table


def tabulate_nondigits(results: Sequence[Result], digits: Result) -> Table:
    """Return a line for each kind of picture that is not one digit, and one for digits to compare with."""
    table = [["pictures", "n", "doubted", "refused", "AUROC"]]
    for pictures, answers in (*results, digits):
        doubted, refused = (percent(1 - share.mean(), 1) for share in (answers.certain, answers.answered))
        separation = "" if pictures.shows_digits else f"{auroc(digits[1].confidences, answers.confidences):.4f}"
        table.append([pictures.name, f"{len(answers.digits):,}", doubted, refused, separation])
    return table


def tabulate_curve(curve: Curve) -> Table:
    """Return what was read right, and what was certain yet wrong, at each level of a hardship."""
    hardship, results = curve
    right, wrong = ["read right"], ["certain, yet wrong"]
    for pictures, answers in results:
        correct = pictures.digits == answers.digits
        right.append(percent(correct.mean(), 1))
        wrong.append(percent((answers.certain & ~correct).mean(), 1))
    return [[f"{hardship.title}: {hardship.unit}", *(str(level) for level in hardship.levels)], right, wrong]


def describe(results: Sequence[Result], curves: Sequence[Curve], threshold: float) -> list[Section]:
    """Return the sections of the report."""
    digits = [result for result in results if result[0].shows_digits]
    others = [result for result in results if not result[0].shows_digits]
    mistaken = [(pictures, answers) for pictures, answers in digits if (pictures.digits != answers.digits).any()]
    hard = [result for _, curve in curves for result in curve]
    per_point = len(hard[0][1].digits)
    calibration = {name: pool(chosen) for name, chosen in (("MNIST test", results[:1]), ("hard conditions", hard))}
    return [
        Section(
            "Summary",
            f"The weights have the SHA-256 {hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]}..., the net ran "
            f"with torch {torch.__version__}. An answer is certain from a confidence of {threshold:g}. Intervals are "
            "Wilson's. ECE is the expected calibration error in 15 bins of equal width; refused pictures are left "
            "out of it. AUROC is how often a picture of MNIST has more confidence than one that is not one digit. "
            "A refused picture has the confidence 0 and counts as read wrong.",
            [tabulate(results)],
        ),
        Section(
            "Accuracy",
            "The share of digits read right in each set, with its 95 % interval.",
            figures={"Accuracy of each set": ("accuracy.png", figures.plot_accuracy(digits))},
        ),
        Section(
            "Which digits are taken for which",
            "MNIST's test pictures: each row is a digit, each column what it was read as. Refused ones are left out.",
            figures={"Confusion matrix": ("confusion.png", figures.plot_confusion(results[0]))},
        ),
        Section(
            "Is it right as often as it says?",
            "Of the answers with 80 % confidence, 80 % should be right. The second curve pools the pictures of all "
            "hard conditions below: there the net has reason to doubt. Bins of fewer than "
            "10 answers are not drawn.",
            figures={"Reliability diagram": ("calibration.png", figures.plot_calibration(calibration))},
        ),
        Section(
            "What is not one digit",
            "The recogniser should doubt (no certain answer) or refuse (400) these. Each figure says what was read "
            "and with what confidence; orange is certain, and wrong to be so.",
            [tabulate_nondigits(others, results[0])],
            {
                "Confidences of digits and of other pictures": (
                    "confidence.png",
                    figures.plot_confidences(results[0], others, threshold),
                ),
                "Examples of other pictures": ("nondigits.png", figures.plot_nondigits(others, EXAMPLES)),
            },
        ),
        Section(
            "Hard conditions",
            f"{per_point} MNIST test digits at each level, each written in dark ink on a white-ish page of 280x280 "
            "points, 200 points high, and sent as a file. The band is the 95 % interval.",
            [tabulate_curve(curve) for curve in curves],
            {"Accuracy by hardship": ("hardships.png", figures.plot_hardships(curves))},
        ),
        Section(
            "The worst mistakes",
            "Wrong answers, those of most confidence first: the picture, what the net saw of it, the digit it shows "
            "and what was read. An orange frame: certain.",
            figures={
                f"Mistakes in {pictures.name}": (
                    f"mistakes-{number}.png",
                    figures.plot_mistakes((pictures, answers), MISTAKES),
                )
                for number, (pictures, answers) in enumerate(mistaken, 1)
            },
        ),
    ]


def pool(results: Sequence[Result]) -> figures.Judged:
    """Return the confidences of all answers but refusals, and whether they were right."""
    judged = [
        (answers.confidences, pictures.digits == answers.digits, answers.answered) for pictures, answers in results
    ]
    confidences, right, answered = (np.concatenate(parts) for parts in zip(*judged, strict=True))
    return confidences[answered], right[answered]
