"""Allographs, forms of digits that many people write and few of MNIST's writers: built as lines from a catalogue.

A form is a curve along control points, each of which is moved at random, so that no two digits are alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from train.strokes import Sample, normalise

# The label of a one with a flat upstroke, which some readers take for a seven.
ONE_OR_SEVEN = 10
# Deviations by which a digit is stretched each way, and each of its points is moved, as shares of its size.
STRETCH, JITTER = 0.1, 0.035
# Times that corners are cut: each doubles the points.
CUTS = 4


class Form(NamedTuple):
    """One form of a digit."""

    name: str
    # 0 to 9, or ONE_OR_SEVEN.
    digit: int
    # Strokes, each a list of points x,y in percent of the box; ! marks a corner.
    strokes: str


# Parts of several forms: the loop of a nine, that of a six, and the bar of a seven.
NINE = "75,15 55,0 25,2 10,25 25,48 55,45 75,20 78,12!"
SIX = "15,60 20,95 50,100 80,90 80,60 50,50 18,65"
BAR = "15,52 75,48"

FORMS = (
    Form("long upstroke", 1, "5,50! 50,0! 50,100"),
    Form("short upstroke", 1, "20,25! 50,0! 50,100"),
    Form("upstroke and foot", 1, "15,38! 50,0! 50,100; 10,100 90,100"),
    Form("upstroke from the foot", 1, "0,95 25,75 60,0! 60,100"),
    Form("upstroke into the stem", 1, "0,95 30,80 60,40; 68,0 60,100"),
    Form("flat upstroke", ONE_OR_SEVEN, "0,28! 55,0! 50,100"),
    Form("flat foot", 2, "5,15 40,0 75,15 50,55 5,100! 90,98"),
    Form("straight back", 2, "5,10! 50,0 80,5 10,100! 90,95"),
    Form("flat top", 3, "10,0! 80,0! 40,40! 80,50 80,90 40,100 0,90"),
    Form("lightning", 4, "65,0! 5,60! 85,50! 55,100"),
    Form("hooked bar", 4, "50,0 25,30 10,55! 50,60 85,55! 80,100"),
    Form("open top", 4, "20,0! 10,50! 90,50!; 65,20 60,100"),
    Form("bar far right", 4, "45,0! 5,65! 95,60!; 55,35 50,100"),
    Form("straight flag", 6, f"85,0! 35,2! 15,40 {SIX}"),
    Form("flat top", 6, f"90,5! 15,5! 12,50 {SIX}"),
    Form("square", 6, "85,5! 15,8! 12,95! 75,98! 75,55! 15,55"),
    Form("hooked flag", 6, f"90,15 75,0 40,5 15,40 {SIX}"),
    Form("bar and hooked top", 7, f"0,25! 5,0! 85,5! 50,50 35,100; {BAR}"),
    Form("bar and waved top", 7, f"5,15 25,0 50,12 85,0! 40,100; {BAR}"),
    Form("hooked top", 7, "0,28! 5,2! 85,2! 50,50 40,100"),
    Form("closed late", 8, "85,12 50,0 15,15 25,40 70,60 80,85 50,100 15,85 30,60 70,35 82,22"),
    Form("hooked tail", 9, f"{NINE} 78,60 70,95 35,100 8,88"),
    Form("tail like a g", 9, f"{NINE} 80,70 65,100 20,98 15,75 50,65"),
    Form("flat tail", 9, "75,2 40,0 15,12 25,30 60,32 78,20! 85,60 80,95 50,100! 0,100"),
    Form("open, hooked tail", 9, "80,5 50,0 20,5 15,30 35,45 65,40 78,25 80,15! 80,65 65,98 30,100 5,90"),
    Form("small loop, round tail", 9, "60,5 40,0 25,12 30,28 50,30 60,15 62,8! 65,35 95,60 85,95 45,100 0,95"),
    Form("loop from inside", 9, "35,25 55,20 60,5 30,0 10,20 20,42 50,45 75,25 85,60 70,95 35,100 5,92"),
    Form("tail closed", 9, "72,12 45,0 15,8 12,28 40,40 70,25 72,12! 78,75 55,100 20,95 20,75 72,55"),
    Form("square loop", 9, "75,5! 10,5! 10,40! 70,40! 75,5! 72,100"),
)
# Forms that are digits among digits; alone they would be letters or signs.
IN_ROWS = (
    Form("like a leaning l", 1, "0,95 45,60 75,20 70,0 55,5 40,60 45,100"),
    Form("like an h", 4, "38,0! 15,55 10,95! 25,60 55,45 70,60 65,100"),
    Form("like a u with a stem", 4, "15,5! 5,50 35,65 75,40! 85,10! 70,100"),
    Form("like an r", 5, "0,12 20,5! 25,100! 32,45 60,8 100,5"),
    Form("like a tick", 5, "0,40 20,35! 35,100! 55,45 75,5! 110,0"),
    Form("like a t", 7, "15,12 30,2 55,8! 45,55 35,100; 0,58 95,48"),
    Form("like a t with a hook", 7, "0,25! 10,5! 55,5! 45,60 45,100; 10,62 85,60"),
    Form("low bar", 7, "0,20! 10,0! 80,3! 45,60 30,100; 5,75 80,68"),
    Form("like a B", 8, "20,0! 12,100! 65,98 78,72 60,52 18,48! 65,42 70,10 20,0"),
    Form("like a gamma", 8, "5,10! 40,45 68,75 55,100 35,98 28,75 55,40 90,0!"),
    Form("like a P", 9, "20,100! 25,50 28,5! 65,0 85,22 65,45 25,50"),
    Form("like a rho", 9, "10,100! 25,60 40,10 65,0 80,20 65,45 30,50"),
)


def build_samples(count: int, seed: int, forms: Sequence[Form] = FORMS) -> list[Sample]:
    """Return so many digits of each form."""
    chance = np.random.default_rng((seed, 2))
    return [build(form, chance) for form in forms for _ in range(count)]


def build(form: Form, chance: Generator) -> Sample:
    """Return a form as written once."""
    pull = 1 + chance.normal(0, STRETCH, 2)
    pieces = []
    for stroke in form.strokes.split(";"):
        points = []
        for point in stroke.split():
            place = np.array(point.rstrip("!").split(","), float) / 100 * pull + chance.normal(0, JITTER, 2)
            # A line that is rounded by cutting its corners still goes through a point that comes twice.
            points += [place] * (2 if point.endswith("!") else 1)
        line = smooth(np.stack(points))
        pieces.append(np.stack([line[:-1], line[1:]], 1))
    return Sample(form.digit, normalise(np.concatenate(pieces)), f"allographs/{form.name}")


def smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round a line through (n, 2) points but keep its ends and its corners (Chaikin 1974); return (m, 2) points."""
    for _ in range(CUTS):
        before, after = points[:-1], points[1:]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], 1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points
