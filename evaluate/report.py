"""The tables and sections of the report of an evaluation."""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from evaluate import figures
from evaluate.allographs import Allograph
from evaluate.corruptions import Corruption
from evaluate.document import Section, Table
from evaluate.metrics import accuracy_by_share, auroc, calibration_error, wilson
from evaluate.predictions import Result, certain_but_wrong, count_correct, find_correct, find_exact
from model.record import INK_WEIGHTS, NUMBER_WEIGHTS, WEIGHTS, compute_hash

MISTAKES = 24
# Of pictures of numbers, the most certain ones, in percent.
KEPT = (55, 65, 75, 85, 100)

# The results at each severity of a corruption.
Curve = tuple[Corruption, list[Result]]


def tabulate(results: Sequence[Result]) -> Table:
    """Return a row for each set but those of numbers; the AUROC compares the first's confidences with another's."""
    shares = ["correct %", "95 % interval", "certain %", "correct when certain %"]
    table = [["pictures", "n", *shares, "ECE %", "AUROC", "certain number %"]]
    for result in results:
        pictures, predictions = result
        if pictures.texts:
            continue
        row = [pictures.name, f"{len(predictions.digits):,}"]
        certain = percent(predictions.certain.mean(), 1)
        if pictures.shows_digits:
            correct = find_correct(result)
            sure = percent(correct[predictions.certain].mean()) if predictions.certain.any() else ""
            error = percent(calibration_error(*pool([result]))) if predictions.accepted.any() else ""
            row += [percent(correct.mean()), interval(*count_correct(result)), certain, sure, error, "", ""]
        else:
            area = f"{auroc(results[0][1].confidences, predictions.confidences):.4f}"
            row += ["", "", certain, "", "", area, percent(predictions.any_certain.mean(), 1)]
        table.append(row)
    return table


def tabulate_numbers(results: Sequence[Result]) -> Table:
    """Return a row for each set of pictures of numbers."""
    shares = ["exact %", "95 % interval", "certain %", "exact when certain %", "95 % interval"]
    table = [["numbers", "n", *shares, "certain as one digit %"]]
    for result in results:
        pictures, predictions = result
        exact, certain = find_exact(result), predictions.all_certain
        sure = exact[certain]
        row = [pictures.name, f"{len(exact):,}", percent(exact.mean()), interval(int(exact.sum()), len(exact))]
        row += [percent(certain.mean(), 1)]
        row += [percent(sure.mean()), interval(int(sure.sum()), len(sure))] if len(sure) else ["", ""]
        table.append([*row, percent(predictions.certain.mean(), 1)])
    return table


def tabulate_kept(results: Sequence[Result]) -> Table:
    """Return the share that is exact among the most certain pictures of numbers, a row for each set."""
    table = [["numbers: exact % of the share kept", *(f"{share} %" for share in KEPT)]]
    for result in results:
        accuracies = accuracy_by_share(result[1].number_confidences, find_exact(result))
        last = [max(0, round(share / 100 * len(accuracies)) - 1) for share in KEPT]
        table.append([result[0].name, *(percent(accuracies[each], 1) for each in last)])
    return table


def count_certain_numbers(results: Sequence[Result]) -> tuple[int, int]:
    """Return in how many pictures without digits there is a certain number, and how many there are, but thumbnails."""
    parts = [
        predictions
        for pictures, predictions in results
        if not pictures.shows_digits and not pictures.texts and not predictions.are_thumbnails
    ]
    return sum(int(each.any_certain.sum()) for each in parts), sum(len(each.digits) for each in parts)


def tabulate_confusion(result: Result) -> Table:
    """Return how often each digit was read as each."""
    counts = np.zeros((10, 10), int)
    accepted = result[1].accepted
    np.add.at(counts, (result[0].digits[accepted], result[1].digits[accepted]), 1)
    return [["", *map(str, range(10))], *([str(digit), *map(str, row)] for digit, row in enumerate(counts))]


def tabulate_kinds(kinds: dict[str, Result]) -> Table:
    """Return a row for each kind of sheet that there is."""
    table = [["sheets", "n", "correct %", "95 % interval", "certain %", "certain but wrong %"]]
    for kind, result in kinds.items():
        if count := len(result[0].digits):
            shares = (find_correct(result), result[1].certain, certain_but_wrong(result))
            correct, certain, wrong = (percent(share.mean(), 1) for share in shares)
            table.append([kind, f"{count:,}", correct, interval(*count_correct(result), 1), certain, wrong])
    return table


def tabulate_curve(curve: Curve) -> Table:
    """Return the shares that were correct, and that were certain but wrong, at each severity of a corruption."""
    corruption, results = curve
    return [
        [f"{corruption.title}: {corruption.unit}", *(str(severity) for severity in corruption.severities)],
        ["correct %", *(percent(find_correct(result).mean(), 1) for result in results)],
        ["certain but wrong %", *(percent(certain_but_wrong(result).mean(), 1) for result in results)],
    ]


def percent(share: float, decimals: int = 2) -> str:
    """Return a share 0..1 in percent."""
    return f"{100 * share:.{decimals}f}"


def interval(correct: int, count: int, decimals: int = 2) -> str:
    """Return the 95 % interval, in percent, of a share that was correct."""
    return " to ".join(percent(bound, decimals) for bound in wilson(correct, count))


def describe(
    results: Sequence[Result],
    curves: Sequence[Curve],
    kinds: dict[str, Result],
    allographs: Sequence[Allograph],
    threshold: float,
) -> list[Section]:
    """Return the sections of the report."""
    others = [result for result in results if not result[0].shows_digits]
    numbers = [result for result in results if result[0].texts]
    found, searched = count_certain_numbers(results)
    mistaken = [result for result in results if result[0].shows_digits and not find_correct(result).all()]
    hard = [result for _, curve in curves for result in curve]
    calibration = {"MNIST test": pool(results[:1]), "hard conditions": pool(hard)}
    return [
        Section(
            "Summary",
            f"The SHA-256 of DigitNet's weights begins with {compute_hash(WEIGHTS)[:16]}, that of InkNet's with "
            f"{compute_hash(INK_WEIGHTS)[:16]}, that of NumberNet's with {compute_hash(NUMBER_WEIGHTS)[:16]}. They "
            f"ran with OpenVINO {version('openvino')}. An answer is "
            f"certain from a confidence of {threshold:g}. Intervals are Wilson's. ECE is the "
            "expected calibration error in 15 bins of equal width, without refused pictures. AUROC is how often a "
            "picture of MNIST gets more confidence than one that is not one digit; a refused picture has 0. In "
            "pictures without digits no number should be certain, either.",
            [tabulate(results)],
        ),
        Section(
            "Numbers",
            "What is read by default: numbers are looked for in pictures that are not certain to show one digit. A "
            "picture is exact if the digits of all its numbers in reading order are those that it shows, and certain "
            "if all its numbers are. A third of the strings of MNIST test digits touch. The pages are made up like "
            "those of training, but in hands that training never saw, and many are harder than photographs. The "
            "second table and the curves keep the pictures whose least certain number has the most confidence. Of the "
            f"{searched:,} pictures above that show no digits, without thumbnails, which are not searched for numbers, "
            f"{found} ({percent(found / searched, 1)} %, 95 % interval {interval(found, searched, 1)}) give a certain "
            "number.",
            [tabulate_numbers(numbers), tabulate_kept(numbers)],
            {"Exact numbers over the share that is kept": ("numbers.png", figures.plot_kept(numbers))},
        ),
        Section(
            "Confusion",
            "MNIST's test pictures: a row for each digit, a column for each answer, without refused pictures.",
            [tabulate_confusion(results[0])],
        ),
        Section(
            "Calibration",
            "Of the answers with a confidence of 80 %, 80 % should be correct. The second curve pools all hard "
            f"conditions below. Bins of fewer than {figures.FEWEST_IN_BIN} answers are not drawn.",
            figures={"Reliability diagram": ("calibration.png", figures.plot_calibration(calibration))},
        ),
        Section(
            "Out of distribution",
            "Pictures that do not show one digit should be doubted (not certain) or refused (400).",
            figures={"Confidences": ("confidence.png", figures.plot_confidences(results[0], others, threshold))},
        ),
        Section(
            "Paper, pen and light",
            "Synthetic sheets like those of training, but by writers that training never saw. Many are harder than "
            "photographs: faint, tiny, in deep shadow, or all three.",
            [tabulate_kinds(kinds)],
        ),
        Section(
            "Allographs",
            "The forms in which people write each digit, drawn with a pen of 6 pixels on a canvas: first those of pen "
            "strokes by held-out writers, grouped by shape, then those of the catalogue, built anew. Below each is the "
            "number of drawings, in orange how many of them were right.",
            figures={"Allographs": ("allographs.png", figures.plot_allographs(allographs))},
        ),
        Section(
            "Hard conditions",
            f"{len(hard[0][1].digits)} MNIST test digits at each severity, each written 200 pixels high in dark ink "
            "on an off-white sheet of 280x280 pixels. The band is the 95 % interval.",
            [tabulate_curve(curve) for curve in curves],
            {"Accuracy under corruptions": ("corruptions.png", figures.plot_corruptions(curves))},
        ),
        Section(
            "The worst mistakes",
            "The most confident wrong answers: the picture, its ink, the pixels made of it, the digit and the answer. "
            "An orange frame marks a certain answer.",
            figures={
                f"Mistakes in {result[0].name}": (f"mistakes-{number}.png", figures.plot_mistakes(result, MISTAKES))
                for number, result in enumerate(mistaken, 1)
            },
        ),
    ]


def pool(results: Sequence[Result]) -> figures.Judged:
    """Return the confidences of all predictions for accepted pictures, and whether they were correct."""
    confidences = [predictions.confidences[predictions.accepted] for _, predictions in results]
    correct = [find_correct(result)[result[1].accepted] for result in results]
    return np.concatenate(confidences), np.concatenate(correct)
