"""The statistics of an evaluation: intervals, calibration, separation."""

import math

import numpy as np
from numpy.typing import NDArray

BINS = 15
# Standard deviations to either side that hold 95 % of a normal distribution.
SPREAD_95 = 1.959964


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % confidence interval, 0..1, of a share that was right out of count > 0 (Wilson 1927)."""
    share = right / count
    squared = SPREAD_95**2 / count
    middle = (share + squared / 2) / (1 + squared)
    reach = SPREAD_95 / (1 + squared) * math.sqrt(share * (1 - share) / count + squared / count / 4)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def reliability(
    confidences: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sort (N,) predictions into 15 bins of equal width by their confidence 0..1.

    Return each bin's number of predictions, sum of confidences and number of right predictions, (15,) each.
    """
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    counts, confident, correct = (
        np.bincount(bins, weights, BINS).astype(np.float64) for weights in (None, confidences, right)
    )
    return counts, confident, correct


def calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error, 0..1, of (N,) predictions in 15 bins of equal width (Guo et al. 2017)."""
    _, confident, correct = reliability(confidences, right)
    return float(np.abs(confident - correct).sum() / len(confidences))


def auroc(digits: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return how often, 0..1, one of (N,) confidences in digits exceeds one of (M,) in others; a tie counts half.

    That is the area under the ROC curve, computed from the ranks of both together (Hanley & McNeil 1982).
    """
    _, inverse, counts = np.unique(np.concatenate([digits, others]), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    above = ranks[inverse[: len(digits)]].sum() - len(digits) * (len(digits) + 1) / 2
    return float(above / (len(digits) * len(others)))
