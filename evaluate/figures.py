"""The figures of the report, each a small PNG file."""

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from evaluate.allographs import Allograph
from evaluate.corruptions import Corruption
from evaluate.metrics import accuracy_by_share, calibration_error, reliability, wilson
from evaluate.predictions import (
    REFUSED,
    Result,
    certain_but_wrong,
    count_correct,
    find_correct,
    find_exact,
    read_upload,
)

BLUE, ORANGE, GREY, INK, FRAME = "#1f5fbf", "#d9680a", "#8a8f98", "#22262b", "#c4c8ce"
COLOURS = 48
# A decorator for functions that draw a figure.
in_style = mpl.rc_context(
    {
        "font.size": 9,
        "text.color": INK,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.edgecolor": FRAME,
        "axes.labelcolor": INK,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": "#e8eaed",
        "xtick.color": "#555b63",
        "ytick.color": "#555b63",
        "legend.frameon": False,
        "figure.dpi": 110,
    }
)
# Bins of fewer predictions are not drawn: their shares mean little.
FEWEST_IN_BIN = 10

# The confidences (n,) of predictions, and whether they were correct.
Judged = tuple[NDArray[np.float64], NDArray[np.bool_]]


@in_style
def plot_calibration(judged: dict[str, Judged]) -> bytes:
    """Draw the share that was correct by confidence, for up to two named sets, above the number of predictions."""
    figure = Figure(figsize=(5.2, 5.4))
    diagram, counts_below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    diagram.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    text_style = {"rotation": 45, "transform_rotates_text": True, "rotation_mode": "anchor", "color": GREY}
    diagram.text(0.18, 0.2, "as correct as confident", text_style)
    line_style = {"marker": "o", "markersize": 4.5, "linewidth": 1.4, "elinewidth": 1, "alpha": 0.9}
    for (name, (confidences, correct)), colour in zip(judged.items(), (BLUE, ORANGE), strict=False):
        counts, sums, hits = reliability(confidences, correct)
        used = np.nonzero(counts >= FEWEST_IN_BIN)[0]
        shares = hits[used] / counts[used]
        bounds = np.array([wilson(int(hits[number]), int(counts[number])) for number in used])
        label = f"{name}: ECE {100 * calibration_error(confidences, correct):.2f} %"
        middle, reach = sums[used] / counts[used], np.abs(bounds.T - shares)
        diagram.errorbar(middle, shares, reach, color=colour, label=label, **line_style)
        width = 0.4 / len(counts)
        shift = width / 2 * (-1 if colour == BLUE else 1)
        counts_below.bar((np.arange(len(counts)) + 0.5) / len(counts) + shift, counts, width, color=colour)
    diagram.set(xlim=(0, 1.01), ylim=(0, 1.02), ylabel="correct (bar: 95 % interval)")
    diagram.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    diagram.legend(loc="upper left")
    counts_below.set(yscale="log", ylabel="answers", xlabel="confidence, 15 bins of equal width")
    counts_below.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return save(figure)


@in_style
def plot_confidences(digits: Result, others: Sequence[Result], threshold: float) -> bytes:
    """Draw histograms of the confidences in digits and in each kind of other picture, with the threshold."""
    rows = [digits, *others]
    figure = Figure(figsize=(6.5, 0.5 + 0.82 * len(rows)))
    every = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (pictures, predictions) in zip(every, rows, strict=True):
        colour = BLUE if pictures.shows_digits else ORANGE
        shares, edges = np.histogram(predictions.confidences, 40, (0, 1))
        axes.bar(edges[:-1], shares / len(predictions.digits), 1 / 40, align="edge", color=colour, alpha=0.85)
        axes.axvline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 2)))
        doubted, refused = (100 - 100 * share.mean() for share in (predictions.certain, predictions.accepted))
        title = f"{pictures.name}: {doubted:.1f} % doubted, {refused:.1f} % refused"
        axes.set_title(title, fontsize=9, color=colour, pad=3)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
    place = every[0].get_xaxis_transform()
    every[0].text(threshold, 0.5, f"certain from {threshold:g}  ", transform=place, ha="right")
    every[-1].xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    every[-1].set(xlim=(0, 1), xlabel="confidence (height: share of the pictures; refused ones are at 0 %)")
    figure.subplots_adjust(hspace=0.75)
    return save(figure)


@in_style
def plot_kept(results: Sequence[Result]) -> bytes:
    """Draw the share of exact numbers among the most certain ones, by how many are kept, for each set."""
    figure = Figure(figsize=(6.5, 3.6))
    axes = figure.subplots()
    axes.set_prop_cycle(color=(BLUE, ORANGE, INK, GREY))
    for pictures, predictions in results:
        accuracies = accuracy_by_share(predictions.number_confidences, find_exact((pictures, predictions)))
        shares = np.arange(1, len(accuracies) + 1) / len(accuracies)
        (line,) = axes.plot(shares, accuracies, linewidth=1.4, label=pictures.name)
        if kept := int(predictions.all_certain.sum()):
            axes.plot(shares[kept - 1], accuracies[kept - 1], "o", color=line.get_color(), markersize=5)
    axes.set(xlim=(0, 1.01), ylim=(0.5, 1.01), ylabel="exact", xlabel="share that is kept (dots: all that is certain)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.legend(loc="lower left")
    return save(figure)


@in_style
def plot_corruptions(curves: Sequence[tuple[Corruption, Sequence[Result]]]) -> bytes:
    """Draw the curves of each corruption below a sheet at each severity."""
    figure = Figure(figsize=(9, 9.4))
    for axes, (corruption, results) in zip(figure.subplots(3, 2).flat, curves, strict=True):
        plot_curves(axes, corruption, results)
    figure.subplots_adjust(hspace=0.95, wspace=0.2)
    return save(figure)


def plot_curves(axes: Axes, corruption: Corruption, results: Sequence[Result]) -> None:
    """Draw the shares that were correct, certain, and certain but wrong, at each severity of a corruption."""
    steps = np.arange(len(results))
    correct = [find_correct(result).mean() for result in results]
    bounds = np.array([wilson(*count_correct(result)) for result in results])
    certain = [predictions.certain.mean() for _, predictions in results]
    wrong = [certain_but_wrong(result).mean() for result in results]
    axes.fill_between(steps, *bounds.T, color=BLUE, alpha=0.18, linewidth=0)
    axes.plot(steps, correct, "o-", color=BLUE, markersize=4, label="correct")
    axes.plot(steps, certain, "s--", color=GREY, markersize=3, linewidth=1.1, label="certain")
    axes.plot(steps, wrong, "v-", color=ORANGE, markersize=3.5, linewidth=1.1, label="certain but wrong")
    axes.set(xlim=(-0.5, len(results) - 0.5), ylim=(-0.03, 1.04), xlabel=corruption.unit)
    axes.set_xticks(steps, [str(severity) for severity in corruption.severities])
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.set_title(corruption.title, pad=44)
    for step, (pictures, _) in enumerate(results):
        left = (step + 0.5 - 0.44) / len(results)
        show(axes.inset_axes((left, 1.03, 0.88 / len(results), 0.26)), thumbnail(pictures.uploads[0], 72))
    if corruption.title == "Rotation":
        axes.legend(loc="lower center", fontsize=8)


def thumbnail(upload: bytes, side_px: int) -> NDArray[np.uint8]:
    """Return a picture file as (h, w) uint8 grey levels, its longer side reduced to side_px or less."""
    picture = Image.open(io.BytesIO(upload)).convert("L")
    picture.thumbnail((side_px, side_px))
    return np.asarray(picture)


def show(axes: Axes, picture: NDArray[np.uint8], colour: str = FRAME) -> None:
    """Show (h, w) uint8 grey levels in a thin frame."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=1)


@in_style
def plot_mistakes(result: Result, count: int) -> bytes:
    """Show the most confident of the wrong predictions: picture, ink, the pixels the net got, and the digits."""
    pictures, predictions = result
    wrong = np.nonzero(~find_correct(result))[0]
    worst = wrong[np.argsort(-predictions.confidences[wrong], kind="stable")][:count]
    columns = 4
    rows = -(-len(worst) // columns)
    figure = Figure(figsize=(9, 0.95 * rows))
    # Every fourth column is a gap.
    every = figure.subplots(rows, 4 * columns, squeeze=False, width_ratios=[1, 1, 1, 0.25] * columns)
    for axes in every.flat:
        axes.set_axis_off()
    for number, index in enumerate(worst):
        row, column = divmod(number, columns)
        left, middle, right = every[row, 4 * column : 4 * column + 3]
        show(left, thumbnail(pictures.uploads[index], 56))
        left.set_axis_on()
        reading = read_upload(pictures.uploads[index])
        if reading is not None:
            show(middle, reading.ink.levels)
            middle.set_axis_on()
            show(right, reading.ink.pixels[0], ORANGE if predictions.certain[index] else FRAME)
            right.set_axis_on()
        digit, percent = predictions.digits[index], 100 * predictions.confidences[index]
        title = "refused" if digit == REFUSED else f"{pictures.digits[index]} read as {digit}, {percent:.1f} %"
        left.set_title(title, fontsize=8, weight="normal", pad=3)
    figure.subplots_adjust(wspace=0.06, hspace=0.25)
    return save(figure)


@in_style
def plot_allographs(allographs: Sequence[Allograph]) -> bytes:
    """Show each allograph, a row for each digit, with the share of its drawings that were right if any was not."""
    rows = [[each for each in allographs if each.digit == digit] for digit in range(10)]
    columns = max(map(len, rows))
    figure = Figure(figsize=(0.6 * columns, 7.2))
    every = figure.subplots(10, columns, squeeze=False)
    for axes in every.flat:
        axes.set_axis_off()
    for line, row in zip(every, rows, strict=True):
        for axes, each in zip(line, row, strict=False):
            missed = each.right < each.n
            show(axes, each.grey, ORANGE if missed else FRAME)
            axes.set_axis_on()
            title = f"{each.right}/{each.n}" if missed else f"{each.n}"
            axes.set_title(title, fontsize=7, weight="normal", pad=2, loc="center")
    figure.subplots_adjust(wspace=0.08, hspace=0.3)
    return save(figure)


def save(figure: Figure) -> bytes:
    """Return a figure as a PNG file, small because it has few colours."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.12, facecolor="white")
    small = io.BytesIO()
    Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
