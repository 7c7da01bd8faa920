"""The statistics of an evaluation: intervals, calibration, separation."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu

BINS = 15


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval, 0..1, of a share that was correct out of count > 0 (Wilson 1927)."""
    interval = binomtest(correct, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def reliability(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sort (N,) predictions into 15 bins of equal width by their confidence 0..1.

    Return each bin's number of predictions, sum of confidences and number of correct predictions, (15,) each.
    """
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    counts, sums, hits = (
        np.bincount(bins, weights, BINS).astype(np.float64) for weights in (None, confidences, correct)
    )
    return counts, sums, hits


def calibration_error(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0..1, of (N,) predictions in 15 bins of equal width (Guo et al. 2017)."""
    _, sums, hits = reliability(confidences, correct)
    return float(np.abs(sums - hits).sum() / len(confidences))


def accuracy_by_share(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share, 0..1, that is correct of the most confident 1, 2, ..., N of (N,) predictions, (N,).

    That is one minus the risk at each coverage (El-Yaniv & Wiener 2010).
    """
    order = np.argsort(-confidences, kind="stable")
    return np.cumsum(correct[order]) / np.arange(1, len(order) + 1)


def auroc(digits: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return how often, 0..1, one of (N,) confidences in digits exceeds one of (M,) in others; a tie counts half.

    That is the area under the ROC curve (Hanley & McNeil 1982).
    """
    return float(mannwhitneyu(digits, others).statistic / (len(digits) * len(others)))
