"""Erasing the lines of ruled and squared paper, but not the ink that crosses them."""

import cv2
import numpy as np
from numpy.typing import NDArray

# Ruling is darker than the paper by at least so many steps of 255, and multiples of the noise.
LEAST_RULING, LEAST_RULING_NOISE_RATIO = 4.0, 2.0
STEEPEST_RULING = 0.4
# How far the middle of a line may be from straight, as a share of its length.
MOST_BENT = 0.015
FEWEST_RULING_LINES = 3
# The least share of the picture's width that a line takes, and of a line that is visible.
SHORTEST_RULING, UNBROKEN_SHARE = 0.4, 0.7
# Lines vary along their length: so many times their usual contrast is erased.
RULING_MARGIN = 1.6
# How many pixels above and below its middle belong to a line.
REACH_PX = 3
NEAR = np.arange(-REACH_PX, REACH_PX + 1)[:, None]

# A line's rows (7, n), columns (n,) and contrast (7, 1), and the share of the picture's width on which it is visible.
Line = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32], float]


def erase_ruling(contrast: NDArray[np.float32], noise: float, lone_share: float) -> NDArray[np.float32]:
    """Return (h, w) contrast without ruled or squared lines, margins and folds, but with the ink over them.

    A lone line is erased only if it takes more than lone_share of the width.
    """
    erased = erase_rows(contrast, noise, lone_share)
    return np.ascontiguousarray(erase_rows(np.ascontiguousarray(erased.T), noise, lone_share).T)


def erase_rows(contrast: NDArray[np.float32], noise: float, lone_share: float) -> NDArray[np.float32]:
    """Return (h, w) contrast without the lines that run from left to right."""
    width = contrast.shape[1]
    least = max(LEAST_RULING, LEAST_RULING_NOISE_RATIO * noise)
    ridge = contrast > least
    ridge[1:-1] &= (contrast[1:-1] >= contrast[:-2]) & (contrast[1:-1] >= contrast[2:])
    # Every other column is enough to find a line by.
    ridge[:, ::2] = False
    found = cv2.HoughLinesP(
        ridge.view(np.uint8), 1, np.pi / 180, width // 9, minLineLength=0.3 * width, maxLineGap=0.05 * width
    )
    if found is None:
        return contrast
    segments = sorted(found.reshape(-1, 4).tolist(), key=lambda ends: abs(ends[2] - ends[0]), reverse=True)
    left = contrast.copy()
    lines = []
    refused: list[tuple[float, float]] = []
    for x0, y0, x1, y1 in segments:
        if abs(y1 - y0) > STEEPEST_RULING * abs(x1 - x0):
            continue
        slope = (y1 - y0) / (x1 - x0)
        middle = y0 + slope * (width / 2 - x0)
        # Most segments are parts of a line that has already been traced.
        y, x = np.linspace((y0, x0), (y1, x1), 32).astype(np.intp).T
        known = any(abs(middle - place) < 3 and abs(slope - other) < 0.03 for place, other in refused)
        if not known and np.count_nonzero(left[y, x] > least) > 16:
            line = trace_line(left, least, (x0, y0), slope)
            if line is None:
                refused.append((middle, slope))
            else:
                lines.append(line)
                rows, columns, profile, _ = line
                left[rows, columns] = np.maximum(left[rows, columns] - profile, 0)
    # One or two lines may be strokes, unless they cross the whole picture. Ruling is equally dark everywhere.
    usual = 2.5 * float(np.median([profile.max() for _, _, profile, _ in lines])) if lines else 0.0
    erased = contrast.copy()
    for rows, columns, profile, share in lines:
        if share > lone_share or (len(lines) >= FEWEST_RULING_LINES and profile.max() < usual):
            erased[rows, columns] = np.maximum(erased[rows, columns] - profile, 0)
    return erased


def trace_line(contrast: NDArray[np.float32], least: float, point: tuple[float, float], slope: float) -> Line | None:
    """Follow a line, which may bend a little, through a point (x, y) across (h, w) contrast.

    Return None if it does not cross the picture as ruling does. least is the contrast from which it is visible.
    """
    width = contrast.shape[1]
    # Every fourth column is enough to follow it.
    columns = np.arange(0, width, 4)
    course = np.array([0.0, slope * width, point[1] - slope * point[0]])
    for _ in range(2):
        x, y = within(columns, course, contrast.shape)
        if 4 * len(x) < SHORTEST_RULING * width:
            return None
        rows = np.rint(y).astype(np.intp) + NEAR
        strip = contrast[rows, x]
        there = strip[1:-1].max(0) > least
        if np.count_nonzero(there) < UNBROKEN_SHARE * len(x):
            return None
        terms = np.stack([(x[there] / width) ** 2, x[there] / width, np.ones(np.count_nonzero(there))])
        at = strip[:, there].argmax(0) - REACH_PX + np.rint(y[there])
        course = np.linalg.solve(terms @ terms.T + 1e-9 * np.eye(3), terms @ at)
        if abs(course[0]) > 4 * MOST_BENT * width:
            return None
    x, y = within(np.arange(width), course, contrast.shape)
    if not len(x):
        return None
    rows = np.rint(y).astype(np.intp) + NEAR
    strip = contrast[rows, x]
    profile = np.median(strip[:, ::4], 1, keepdims=True)
    if max(profile[0], profile[-1]) > 0.4 * profile.max() or not profile.any():
        return None
    share = np.count_nonzero(strip[REACH_PX - 1 : REACH_PX + 2].max(0) > least) / width
    return rows, x, np.where(profile > least / 2, np.float32(RULING_MARGIN) * profile, np.float32(0)), share


def within(
    x: NDArray[np.intp], course: NDArray[np.float64], shape: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the columns x, and the rows y of a quadratic course, where the whole line is inside the picture."""
    height, width = shape
    across = x / width
    y = (course[0] * across + course[1]) * across + course[2]
    inside = (y >= REACH_PX) & (y < height - REACH_PX - 1)
    return x[inside], y[inside]
