"""Pages with a handwritten digit, as photographed, scanned or drawn, and where on each the digit's ink is.

Brightness is float32, 0 (black) to 1. Ink is the share 0..1 of each pixel that a pen covers.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch.utils.data import Dataset

from train.hands import Hand, Lines

Field = NDArray[np.float32]

# Ink is drawn in twice the page's resolution and then averaged.
FINE = 2
# Pens thinner than this share of the digit's height, and than this share of the page, are widened in the target, so
# that strokes stay connected in the net's mask.
LEAST_TARGET_SHARE, LEAST_TARGET_PAGE_SHARE = 0.09, 0.016

# The labels of a page with no digit, or more than one, and of a page on which there might be one.
NOT_ONE_DIGIT, UNKNOWN = -1, -2
CURVE_POINTS = 11
# The shares of pages without a digit, with two, and with a scribble.
NOTHING_SHARE, PAIRS_SHARE, CURVES_SHARE = 0.07, 0.04, 0.04

# A digit of which less than this share lies on the page is none.
LEAST_SEEN = 0.85

PAPERS = ("plain", "ruled", "squared", "school", "dotted", "cloth", "wood", "drawing")
PENS = ("ballpoint", "pencil", "marker", "crayon")
LIGHTS = ("even", "gradient", "shadow", "flash")


class Page(NamedTuple):
    """A page (h, w), what was written on it, and how it was made."""

    grey: NDArray[np.uint8]
    # 0 to 1; a curve's or both digits' where the page has those.
    ink: Field
    # 0 to 9, NOT_ONE_DIGIT or UNKNOWN.
    digit: int
    paper: str
    pen: str
    light: str


class RandomPages(Dataset[Page]):
    """Random pages; each depends on the seed and its number alone."""

    def __init__(self, hands: list[Hand], count: int, seed: int) -> None:
        self.hands, self.count, self.seed = hands, count, seed

    def __len__(self) -> int:
        """Return how many pages there are."""
        return self.count

    def __getitem__(self, number: int) -> Page:
        """Make the page of a number."""
        return make_page(self.hands, np.random.default_rng((self.seed, number)))


def make_page(hands: list[Hand], chance: Generator) -> Page:
    """Return a random page with the digit of a random hand; some have none, or two, or a curve."""
    shape = page_shape(chance)
    paper = str(chance.choice(PAPERS, p=(0.2, 0.14, 0.12, 0.1, 0.04, 0.06, 0.06, 0.28)))
    pen = str(chance.choice(PENS, p=(0.4, 0.22, 0.28, 0.1)))
    light = "even" if paper == "drawing" else str(chance.choice(LIGHTS, p=(0.3, 0.3, 0.25, 0.15)))
    digit, placed, height = place_digit(hands, shape, chance)
    width = pen_width(pen, height, chance)
    ink = draw_lines(placed, shape, width, chance, pen)
    least = min(LEAST_TARGET_SHARE * height, LEAST_TARGET_PAGE_SHARE * max(shape))
    target = draw_lines(placed, shape, max(least, width))
    if target.max() < 0.5 or seen_share(placed, shape) < LEAST_SEEN:
        digit = min(digit, NOT_ONE_DIGIT)
    if not len(placed) and chance.random() < 0.5:
        grey = fill_page(shape, chance)
    elif paper == "drawing":
        grey = draw_page(ink, target, placed, width, shape, chance)
    else:
        grey = photograph(ink, paper, pen, light, hands, placed, width, shape, chance)
    grey, target = put_in_picture(grey, target, chance)
    return Page(np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8), target, digit, paper, pen, light)


def seen_share(placed: Lines, shape: tuple[int, int]) -> float:
    """Return the share of lines that lie on the page."""
    if not len(placed):
        return 0.0
    middles = placed.mean(1)
    lengths = np.linalg.norm(placed[:, 0] - placed[:, 1], axis=1) + 1e-6
    inside = np.all((middles >= 0) & (middles < np.array(shape[::-1])), 1)
    return float((lengths * inside).sum() / lengths.sum())


def page_shape(chance: Generator) -> tuple[int, int]:
    """Return the height and width of a page in pixels: mostly about what the net sees of it."""
    kind = chance.random()
    if kind < 0.6:
        longer = chance.uniform(150, 200)
    else:
        longer = chance.uniform(90, 160) if kind < 0.85 else chance.uniform(44, 90)
    aspect = 1.0 if chance.random() < 0.3 else math.exp(chance.uniform(0, 0.65))
    if chance.random() < 0.04:
        aspect = math.exp(chance.uniform(0.6, 1.2))
    sides = max(20, round(longer / aspect)), round(longer)
    return sides if chance.random() < 0.5 else (sides[1], sides[0])


def place_digit(hands: list[Hand], shape: tuple[int, int], chance: Generator) -> tuple[int, Lines, float]:
    """Return the digit written on a page, its lines in the page's pixels, and its height; no lines if there is none."""
    kind = chance.random()
    if kind < NOTHING_SHARE:
        return NOT_ONE_DIGIT, np.zeros((0, 2, 2), np.float32), 0.3 * min(shape)
    height = choose_height(min(shape), chance)
    hand = pick(hands, chance)
    digit, lines = hand.digit, vary(hand.lines, chance)
    if kind < NOTHING_SHARE + PAIRS_SHARE:
        digit, lines = NOT_ONE_DIGIT, pair(lines, pick(hands, chance), chance)
    elif kind < NOTHING_SHARE + PAIRS_SHARE + CURVES_SHARE:
        lines = curve(chance)
        # One or two curves may well look like a digit.
        digit = UNKNOWN if len(lines) < 3 * CURVE_POINTS else NOT_ONE_DIGIT
    return digit, place(lines * height, shape, chance), height


def choose_height(shorter: int, chance: Generator) -> float:
    """Return the height of a digit in pixels, for a page with a shorter side of so many."""
    spread = chance.random()
    if spread < 0.45:
        height = chance.uniform(0.35, 0.95) * shorter
    elif spread < 0.87:
        height = math.exp(chance.uniform(math.log(0.09), math.log(0.6))) * shorter
    else:
        height = chance.uniform(0.85, 1.12) * shorter
    return max(height, 9.0)


def place(lines: Lines, shape: tuple[int, int], chance: Generator) -> Lines:
    """Move lines to where they are written on a page, mostly about its middle; a few lie partly beyond its rims."""
    points = lines.reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    room = np.array(shape[::-1]) - (high - low)
    where = np.clip(chance.normal(0.5, 0.22, 2), 0, 1)
    if chance.random() < 0.06:
        where = where + chance.normal(0, 0.35, 2)
    # What is larger than the page lies over its rims.
    corner = np.where(room > 4, 2 + where * (room - 4), room * chance.uniform(0.3, 0.7, 2))
    return (lines + (corner - low)).astype(np.float32)


def pair(lines: Lines, hand: Hand, chance: Generator) -> Lines:
    """Return lines with those of another hand on their right."""
    apart = chance.uniform(0.55, 0.9)
    other = vary(hand.lines, chance)
    right = np.array([apart / 2, chance.normal(0, 0.06)])
    return np.concatenate([lines - np.array([apart / 2, 0]), other + right])


def pick(hands: list[Hand], chance: Generator) -> Hand:
    """Return a random hand."""
    return hands[int(chance.integers(len(hands)))]


def vary(lines: Lines, chance: Generator) -> Lines:
    """Turn, shear, squeeze and bend lines as another writer might have written them."""
    wild = chance.random() < 0.15
    angle = math.radians(chance.normal(0, 18 if wild else 7))
    shear = chance.normal(0, 0.3 if wild else 0.12)
    aspect = math.exp(chance.normal(0, 0.25 if wild else 0.12))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = lines.reshape(-1, 2) @ (turn @ np.array([[aspect, shear], [0, 1 / aspect]])).T
    bent = points.copy()
    for _ in range(2):
        wave, reach = chance.normal(0, 4, (2, 2)), chance.normal(0, 0.025, (2, 2))
        bent += np.sin(points @ wave + chance.uniform(0, 6.3, 2)) @ reach
    return bent.reshape(-1, 2, 2).astype(np.float32)


def curve(chance: Generator) -> Lines:
    """Return a random scribble of one to five curves."""
    pieces = []
    start = chance.uniform(-0.5, 0.5, 2)
    for _ in range(int(chance.integers(1, 6))):
        middle, end = chance.uniform(-0.5, 0.5, (2, 2))
        t = np.linspace(0, 1, CURVE_POINTS + 1)[:, None]
        points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t * t * end
        pieces.append(np.stack([points[:-1], points[1:]], 1))
        start = end if chance.random() < 0.75 else chance.uniform(-0.5, 0.5, 2)
    return np.concatenate(pieces).astype(np.float32)


def pen_width(pen: str, height: float, chance: Generator) -> float:
    """Return the width of a pen's strokes in pixels, for a digit of a height."""
    low, high = {"ballpoint": (0.01, 0.07), "pencil": (0.012, 0.07), "marker": (0.06, 0.25), "crayon": (0.06, 0.2)}[pen]
    return max(0.6, math.exp(chance.uniform(math.log(low), math.log(high))) * height)


def draw_lines(
    lines: Lines, shape: tuple[int, int], width: float, chance: Generator | None = None, pen: str = ""
) -> Field:
    """Draw lines with a pen of a width in pixels: (h, w) ink. With chance, the strokes are as uneven as the pen's."""
    height, breadth = shape[0] * FINE, shape[1] * FINE
    skeleton = np.full((height, breadth), 255, np.uint8)
    points = np.clip(lines * FINE * 16, -30000, 30000)
    cv2.polylines(skeleton, list(np.rint(points).astype(np.int32)), isClosed=False, color=0, shift=4)
    if not len(lines) or skeleton.all():
        return np.zeros(shape, np.float32)
    distance = cv2.distanceTransform(skeleton, cv2.DIST_L2, cv2.DIST_MASK_5)
    radius: float | Field = width * FINE / 2
    if chance is not None and chance.random() < 0.5:
        radius = radius * (1 + chance.uniform(0.05, 0.3) * smooth_field((height, breadth), 12, chance))
    ink = np.clip(radius - distance + 0.5, 0, 1)
    if chance is not None:
        if pen in ("pencil", "crayon") and chance.random() < 0.7:
            grain = smooth_field((height, breadth), int(min(height, breadth) / chance.uniform(2, 5)), chance)
            ink *= np.clip(1 + chance.uniform(0.2, 1.0) * (grain - 0.2), 0, 1)
        if chance.random() < (0.35 if pen == "pencil" else 0.15):
            # Pressed unevenly, down to strokes that break.
            press = smooth_field((height, breadth), int(chance.integers(4, 14)), chance)
            ink *= np.clip(1 + chance.uniform(0.3, 1.4) * np.minimum(press, 0), 0.05, 1)
    return np.asarray(cv2.resize(ink.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA), np.float32)


def smooth_field(shape: tuple[int, int], nodes: int, chance: Generator) -> Field:
    """Return smooth random numbers of about -1..1 through a grid of nodes along the longer side."""
    longer = max(shape)
    grid = (max(2, round(nodes * shape[0] / longer)), max(2, round(nodes * shape[1] / longer)))
    coarse = chance.uniform(-1, 1, grid).astype(np.float32)
    interpolation = cv2.INTER_CUBIC if nodes < 40 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=interpolation), np.float32)


def draw_page(
    ink: Field, target: Field, placed: Lines, width: float, shape: tuple[int, int], chance: Generator
) -> Field:
    """Return a drawing: ink of one level on another, with or without soft edges, a frame, lines, specks or noise."""
    if chance.random() < 0.5 and len(placed):
        ink = draw_lines(placed, shape, width)
    if chance.random() < 0.35:
        ink = (ink > 0.4).astype(np.float32)
    if chance.random() < 0.55:
        ground, level = 1.0, chance.choice([0.0, chance.uniform(0, 0.6)])
    else:
        ground, level = chance.random(2)
        if abs(ground - level) < 0.12:
            level = ground + 0.3 if ground < 0.5 else ground - 0.3
    page = np.full(shape, ground, np.float32)
    if chance.random() < 0.12:
        lines = ruling(shape, str(chance.choice(["ruled", "squared", "dotted"])), chance)
        page += (level - ground) * chance.uniform(0.05, 0.9) * lines
    if chance.random() < 0.16:
        page += (level - ground) * chance.uniform(0.3, 1) * frame(shape, chance)
    if chance.random() < 0.06:
        page += (level - ground) * specks(shape, target, chance)
    page += (level - page) * ink
    if chance.random() < 0.25:
        page = soften(page, chance)
    if chance.random() < 0.3:
        page += chance.normal(0, math.exp(chance.uniform(-5.5, -2.2)), shape).astype(np.float32)
    if chance.random() < 0.3:
        page = compress(page, chance)
    return 1 - page if chance.random() < 0.35 else page


def fill_page(shape: tuple[int, int], chance: Generator) -> Field:
    """Return a page without writing: clouds, grain, or filled shapes too broad for any pen."""
    page = np.full(shape, chance.uniform(0.1, 0.9), np.float32)
    kind = chance.random()
    if kind < 0.55:
        nodes = max(2, int(math.exp(chance.uniform(math.log(3), math.log(max(shape))))))
        page += chance.uniform(0.05, 0.5) * smooth_field(shape, nodes, chance)
    if kind > 0.35:
        shapes = polygons(shape, chance)
        shade = 1 + chance.uniform(0, 0.4) * smooth_field(shape, int(chance.integers(2, 20)), chance)
        page += shapes * (chance.uniform(0, 1) - page) * shade
    page = soften(page, chance) if chance.random() < 0.4 else page
    if chance.random() < 0.5:
        page = page + chance.normal(0, math.exp(chance.uniform(-5, -1)), shape).astype(np.float32)
    return page


def polygons(shape: tuple[int, int], chance: Generator) -> Field:
    """Return one to three filled polygons, each far from its middle on every side."""
    fine = blank(shape)
    for _ in range(int(chance.integers(1, 4))):
        corners = int(chance.integers(3, 12))
        steps = chance.uniform(0, 2 * math.pi / corners, corners)
        angles = np.sort(steps + np.arange(corners) * 2 * math.pi / corners)
        reach = chance.uniform(0.25, 0.5, corners) * min(fine.shape)
        centre = chance.uniform(0.3, 0.7, 2) * fine.shape[::-1]
        points = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
        cv2.fillPoly(fine, [np.rint(points).astype(np.int32)], int(chance.integers(80, 256)), cv2.LINE_AA)
    return reduce(fine, shape)


def photograph(
    ink: Field,
    paper: str,
    pen: str,
    light: str,
    hands: list[Hand],
    placed: Lines,
    width: float,
    shape: tuple[int, int],
    chance: Generator,
) -> Field:
    """Return a photograph of a page."""
    page = np.full(shape, 1.0, np.float32) * texture(paper, shape, chance)
    strength = {"ballpoint": (0.3, 0.95), "pencil": (0.1, 0.6), "marker": (0.5, 0.98), "crayon": (0.3, 0.9)}[pen]
    darkness = chance.uniform(*strength)
    if paper in ("ruled", "squared", "school", "dotted"):
        rules = ruling(shape, paper, chance)
        page *= 1 - rules * min(0.95, darkness * math.exp(chance.uniform(math.log(0.12), math.log(1.3))))
    others = neighbours(hands, placed, width, shape, chance)
    if others is not None:
        page *= 1 - others * darkness * chance.uniform(0.6, 1.05)
    if chance.random() < 0.12:
        page *= 1 - specks(shape, ink, chance) * chance.uniform(0.2, 0.9)
    if chance.random() < 0.14:
        page *= 1 - frame(shape, chance) * chance.uniform(0.2, 0.9)
    page *= 1 - ink * darkness
    if chance.random() < 0.45:
        page = surround(page, placed, shape, chance)
    page *= illuminate(light, shape, chance)
    if light == "flash":
        page = add_flash(page, shape, chance)
    page = soften(page, chance) if chance.random() < 0.7 else page
    low, high = chance.uniform(0, 0.15), chance.uniform(0.55, 1.05)
    page = low + (high - low) * np.clip(page, 0, 1.2) ** math.exp(chance.normal(0, 0.25))
    if chance.random() < 0.7:
        # At most so much that a person still sees the ink.
        deviation = min(math.exp(chance.uniform(-6, -2.8)), 0.4 * darkness * (high - low))
        page = page + chance.normal(0, deviation, shape).astype(np.float32)
    if chance.random() < 0.3:
        page = compress(page, chance)
    return 1 - page if chance.random() < 0.12 else page


def texture(paper: str, shape: tuple[int, int], chance: Generator) -> Field:
    """Return the reflectance of a surface: grain and folds of paper, the weave of cloth, the grain of wood."""
    surface = np.full(shape, 1.0, np.float32)
    longer = max(shape)
    for nodes in (longer, longer // 3, 8):
        surface += math.exp(chance.uniform(-6.5, -3.2)) * smooth_field(shape, max(2, nodes), chance)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    angle = chance.uniform(0, math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    if paper == "cloth":
        period = chance.uniform(2.2, 9)
        weave = np.sin(along * (6.28 / period)) + np.sin(across * (6.28 / period))
        surface += chance.uniform(0.02, 0.1) * weave * (1 + 0.5 * smooth_field(shape, 12, chance))
    elif paper == "wood":
        rings = across / chance.uniform(2, 8) + 2 * smooth_field(shape, 4, chance)
        surface += chance.uniform(0.03, 0.16) * np.sin(rings + 0.02 * along)
        surface += chance.uniform(0.0, 0.08) * smooth_field(shape, 60, chance)
    if chance.random() < 0.2:
        for _ in range(int(chance.integers(1, 4))):
            # A fold is brighter on one side than on the other, and often a thin line.
            angle, where = chance.uniform(0, math.pi), chance.uniform(0.1, 0.9) * longer
            offset = (x * math.cos(angle) + y * math.sin(angle)) - where
            sides = chance.normal(0, 0.08) * np.tanh(offset / chance.uniform(1, 6))
            surface += sides * np.exp(-np.abs(offset) / (0.3 * longer))
            surface -= chance.uniform(0, 0.25) * np.exp(-((offset / chance.uniform(0.6, 1.6)) ** 2))
    return np.asarray(surface, np.float32)


def ruling(shape: tuple[int, int], kind: str, chance: Generator) -> Field:
    """Return the printed lines or dots of paper in perspective, as (h, w) ink."""
    shorter = min(shape)
    spacing = math.exp(chance.uniform(math.log(0.04), math.log(0.4))) * shorter
    if kind == "dotted":
        spacing = chance.uniform(0.04, 0.15) * shorter
    reach = 0.85 * math.hypot(*shape)
    count = max(1, int(reach / spacing))
    places = (np.arange(-count, count + 1) + chance.uniform(0, 1)) * spacing
    angle = math.radians(chance.normal(0, 6) + 90 * chance.integers(0, 2) if kind == "ruled" else chance.normal(0, 6))
    if chance.random() < 0.12:
        angle += chance.uniform(-0.8, 0.8)
    tilt, bend = chance.normal(0, 0.12, 2) / shorter, chance.normal(0, 0.04) / shorter
    along = np.linspace(-reach, reach, 9)
    middle = np.array(shape[::-1]) / 2

    def to_page(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bend, turn and tilt points of the paper into the page's pixels."""
        y = y + bend * x * x
        turned = np.stack([x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)], -1)
        depth = np.maximum(0.3, 1 + turned @ tilt)
        return turned / depth[..., None] + middle

    fine = blank(shape)
    if kind == "dotted":
        x, y = np.meshgrid(places, places)
        radius = chance.uniform(0.5, 1.6) * FINE
        for point in to_page(x, y).reshape(-1, 2) * FINE * 16:
            if np.all(np.abs(point) < 30000):
                cv2.circle(fine, np.rint(point).astype(int).tolist(), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
        return reduce(fine, shape)
    x, y = np.meshgrid(along, places)
    sets = [to_page(x, y)]
    if kind in ("squared", "school"):
        sets.append(to_page(y, x))
    thickness = int(chance.integers(1, 4))
    level = 255 if chance.random() < 0.4 else int(chance.integers(110, 255))
    for lines in sets:
        draw(fine, lines, level, thickness)
    if kind == "school":
        # Fine lines between the strong ones, in one direction or both.
        parts = int(chance.integers(2, 6))
        finer = (np.arange(-count * parts, count * parts + 1) / parts) * spacing + places[0] % spacing
        x, y = np.meshgrid(along, finer)
        for lines in [to_page(x, y), to_page(y, x)][: int(chance.integers(1, 3))]:
            thin = np.zeros_like(fine)
            draw(thin, lines, int(level * chance.uniform(0.3, 0.8)), 1)
            np.maximum(fine, thin, out=fine)
    if kind == "ruled" and chance.random() < 0.4:
        margin = np.array([chance.uniform(-0.45, 0.45) * shape[1]])
        x, y = np.meshgrid(along, margin)
        draw(fine, to_page(y, x), level, thickness)
    return reduce(fine, shape)


def draw(fine: NDArray[np.uint8], lines: NDArray[np.float64], level: int, thickness: int) -> None:
    """Draw (n, m, 2) lines of m points, in the page's pixels, into fine ink."""
    points = np.rint(np.clip(lines * FINE * 16, -500_000, 500_000)).astype(np.int32)
    cv2.polylines(fine, list(points), isClosed=False, color=level, thickness=thickness, lineType=cv2.LINE_AA, shift=4)


def blank(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return fine ink for a page of a shape, without any so far."""
    return np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)


def reduce(fine: NDArray[np.uint8], shape: tuple[int, int]) -> Field:
    """Return fine ink 0..255 in the page's resolution as 0..1."""
    levels = cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(levels, np.float32) / np.float32(255)


def neighbours(
    hands: list[Hand], placed: Lines, width: float, shape: tuple[int, int], chance: Generator
) -> Field | None:
    """Return other writing and print outside the digit's box, smaller than it or cut off by the rim."""
    if chance.random() < 0.55:
        return None
    low, high = box(placed, shape)
    size = float((high - low).max())
    pieces = []
    for _ in range(int(chance.integers(1, 7))):
        kind = chance.random()
        other = curve(chance) if kind < 0.25 else pick(hands, chance).lines
        height = chance.uniform(0.12, 0.55) * size if len(placed) else chance.uniform(0.03, 0.1) * max(shape)
        at_rim = chance.random() < 0.55
        if at_rim:
            height = chance.uniform(0.3, 1.1) * size
        lines = vary(other, chance) * height
        half = np.abs(lines.reshape(-1, 2)).max(0)
        if at_rim:
            axis, end = int(chance.integers(2)), int(chance.integers(2))
            centre = chance.uniform(0, 1, 2) * shape[::-1]
            centre[axis] = end * shape[1 - axis] + chance.uniform(-0.3, 0.3) * half[axis] * (1 if end else -1)
        else:
            centre = chance.uniform(0, 1, 2) * shape[::-1]
        gap = 0.18 * size
        if len(placed) and np.all(centre + half > low - gap) and np.all(centre - half < high + gap):
            continue
        pieces.append(lines + centre)
    fine: Field | None = None
    if pieces:
        fine = draw_lines(np.concatenate(pieces).astype(np.float32), shape, width * chance.uniform(0.6, 1.2))
    if chance.random() < 0.25:
        text = print_text(low, high, shape, chance)
        fine = text if fine is None else np.maximum(fine, text)
    return fine


def box(placed: Lines, shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upper left and the lower right corner (x, y) of lines, or the middle of a page without any."""
    if not len(placed):
        middle = np.array(shape[::-1]) / 2
        return middle - 1, middle + 1
    points = placed.reshape(-1, 2).astype(np.float64)
    return points.min(0), points.max(0)


def print_text(low: NDArray[np.float64], high: NDArray[np.float64], shape: tuple[int, int], chance: Generator) -> Field:
    """Return lines of small print above or below the digit's box."""
    fine = blank(shape)
    scale = chance.uniform(0.25, 0.6)
    step = 40 * scale
    top = int(chance.uniform(0, 2) * step)
    font = int(chance.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_PLAIN]))
    rows = np.arange(top, fine.shape[0] + step, step)
    for row in rows[: int(chance.integers(1, 20))]:
        if low[1] * FINE - step < row < high[1] * FINE + 1.5 * step:
            continue
        words = "".join(chr(int(c)) for c in chance.choice([32, *range(97, 123), *range(48, 58)], 40))
        cv2.putText(fine, words, (int(chance.uniform(-50, 40)), int(row)), font, scale, 255, 1, cv2.LINE_AA)
    return reduce(fine, shape)


def specks(shape: tuple[int, int], ink: Field, chance: Generator) -> Field:
    """Return a few dots and short hairs away from the ink."""
    fine = blank(shape)
    for _ in range(int(chance.integers(1, 14))):
        x, y = (int(chance.integers(side)) for side in shape[::-1])
        if ink[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7].any():
            continue
        if chance.random() < 0.7:
            cv2.circle(fine, (x * FINE, y * FINE), int(chance.integers(1, 5)), 255, -1, cv2.LINE_AA)
        else:
            end = (int(x * FINE + chance.normal(0, 14)), int(y * FINE + chance.normal(0, 14)))
            cv2.line(fine, (x * FINE, y * FINE), end, 255, 1, cv2.LINE_AA)
    return reduce(fine, shape)


def frame(shape: tuple[int, int], chance: Generator) -> Field:
    """Return a rectangle along the rim, whole or in part."""
    fine = blank(shape)
    inset = chance.uniform(-0.02, 0.1, 4) * min(fine.shape)
    left, top, right, bottom = inset[0], inset[1], fine.shape[1] - 1 - inset[2], fine.shape[0] - 1 - inset[3]
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    corners = corners + chance.normal(0, 0.01 * min(fine.shape), corners.shape)
    first = int(chance.integers(0, 3)) if chance.random() < 0.4 else 0
    points = np.rint(corners[first : first + int(chance.integers(2, 6))]).astype(np.int32)
    cv2.polylines(fine, [points], isClosed=False, color=255, thickness=int(chance.integers(1, 9)), lineType=cv2.LINE_AA)
    return reduce(fine, shape)


def surround(page: Field, placed: Lines, shape: tuple[int, int], chance: Generator) -> Field:
    """Return the page with what lies around the digit: a table beyond its edges, a spiral, a cup, or a finger."""
    low, high = box(placed, shape)
    kind = chance.random()
    margin = 0.03 * min(shape)
    # The room to the left of the digit, above it, to its right and below it.
    gaps = (low[0], low[1], shape[1] - high[0], shape[0] - high[1])
    rooms = [gap - margin for gap in gaps]
    side = int(np.argmax(np.array(gaps) * chance.uniform(0.3, 1, 4)))
    if kind < 0.6:
        return lay_on_table(page, rooms, shape, chance)
    if kind < 0.8 and rooms[side] > 4:
        cover = spiral(side, rooms[side], shape, chance)
    elif kind < 0.92:
        cover = arc(low * FINE, high * FINE, shape, chance)
    elif rooms[side] > 6:
        cover = finger(side, rooms[side], shape, chance)
    else:
        cover = np.zeros(shape, np.float32)
    return np.asarray(page + cover * (chance.uniform(0.05, 0.9) - page), np.float32)


def lay_on_table(page: Field, rooms: Sequence[float], shape: tuple[int, int], chance: Generator) -> Field:
    """Return the page with one to three edges, as far as there is room, and something else beyond them."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    for _ in range(int(chance.integers(1, 4))):
        side = int(chance.integers(4))
        if rooms[side] < 3:
            continue
        depth = chance.uniform(0.1, 1) * min(rooms[side], 0.4 * max(shape))
        offset = (x, y, shape[1] - 1 - x, shape[0] - 1 - y)[side]
        other, length = ((y, shape[0]), (x, shape[1]))[side % 2]
        line = depth + chance.normal(0, 0.05) * (other - chance.uniform(0, 1) * length)
        beyond = np.clip((line - offset) / chance.uniform(0.5, 3) + 0.5, 0, 1)
        level = chance.uniform(0.05, 1.0)
        ground = level * texture(str(chance.choice(["plain", "wood", "cloth"])), shape, chance)
        page = page + beyond * (ground - page)
        if chance.random() < 0.5:
            # The paper's shadow, or its thickness, along the edge.
            darkness = chance.uniform(0.1, 0.6)
            page = page * (1 - darkness * np.exp(-(((offset - line) / chance.uniform(0.8, 4)) ** 2)))
    return np.asarray(page, np.float32)


def spiral(side: int, room: float, shape: tuple[int, int], chance: Generator) -> Field:
    """Return the holes and the wire of a spiral along a side (0 to 3: left, top, right, bottom)."""
    fine = blank(shape)
    height, width = fine.shape
    step = chance.uniform(0.04, 0.12) * max(shape) * FINE
    depth = chance.uniform(0.2, 0.6) * min(room, 0.15 * max(shape)) * FINE
    has_holes, has_wire = chance.random() < 0.7, chance.random() < 0.7
    size = max(1, round(chance.uniform(0.15, 0.35) * step))
    rim = (0, 0, width, height)[side]
    inner = (depth, depth, width - depth, height - depth)[side]
    for along in np.arange(chance.uniform(0, 1) * step, (height, width)[side % 2], step):
        hole, end = (int(inner), int(along)), (int(rim), int(along - size))
        if side % 2:
            hole, end = hole[::-1], end[::-1]
        if has_holes:
            cv2.circle(fine, hole, size, 230, -1, cv2.LINE_AA)
        if has_wire:
            cv2.line(fine, hole, end, 255, max(1, size // 2), cv2.LINE_AA)
    return reduce(fine, shape)


def arc(low: NDArray[np.float64], high: NDArray[np.float64], shape: tuple[int, int], chance: Generator) -> Field:
    """Return a circle that passes the digit's fine box by: a cup, a plate, a coin, a stain; at times none."""
    fine = blank(shape)
    centre = chance.uniform(-0.3, 1.3, 2) * fine.shape[::-1]
    corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
    distance = np.linalg.norm(corners - centre, axis=1)
    around = chance.random() < 0.3
    radius = distance.max() * chance.uniform(1.15, 1.6) if around else distance.min() * chance.uniform(0.3, 0.8)
    within = np.all(centre > low) and np.all(centre < high)
    if 4 < radius < 2000 and (around or not within):
        thickness = -1 if chance.random() < 0.4 and not around else int(chance.integers(1, 14))
        cv2.circle(fine, np.rint(centre).astype(int).tolist(), int(radius), 255, thickness, cv2.LINE_AA)
    return reduce(fine, shape)


def finger(side: int, room: float, shape: tuple[int, int], chance: Generator) -> Field:
    """Return a finger or a pencil that reaches in from a side (0 to 3: left, top, right, bottom)."""
    fine = blank(shape)
    height, width = fine.shape
    middle = np.array([(0, 0.5 * height), (0.5 * width, 0), (width, 0.5 * height), (0.5 * width, height)][side])
    start = middle + chance.normal(0, 0.2, 2) * min(fine.shape)
    inward = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][side])
    thickness = max(2, int(chance.uniform(0.1, 0.5) * room * FINE))
    end = start + inward * max(0.0, chance.uniform(0.2, 0.8) * room * FINE - thickness)
    first, last = np.rint([start, end]).astype(int).tolist()
    cv2.line(fine, first, last, 255, thickness, cv2.LINE_AA)
    return reduce(fine, shape)


def illuminate(light: str, shape: tuple[int, int], chance: Generator) -> Field:
    """Return the share of light that falls on each pixel of a page."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    y, x = y / shape[0] - 0.5, x / shape[1] - 0.5
    lit = np.full(shape, chance.uniform(0.5, 1.0), np.float32)
    if light == "even":
        return lit * (1 + 0.05 * smooth_field(shape, 3, chance))
    angle = chance.uniform(0, 2 * math.pi)
    lit *= np.clip(1 + chance.uniform(0.1, 0.9) * (x * math.cos(angle) + y * math.sin(angle)), 0.15, 2)
    if chance.random() < 0.5:
        lit *= 1 - chance.uniform(0.1, 1.0) * (x * x + y * y)
    if light == "shadow":
        for _ in range(int(chance.integers(1, 3))):
            angle, where = chance.uniform(0, 2 * math.pi), chance.normal(0, 0.25)
            offset = x * math.cos(angle) + y * math.sin(angle) - where
            offset = offset + chance.uniform(0, 0.2) * smooth_field(shape, 5, chance)
            softness = math.exp(chance.uniform(math.log(0.004), math.log(0.15)))
            cover = 1 / (1 + np.exp(np.clip(-offset / softness, -30, 30)))
            if chance.random() < 0.4:
                width = chance.uniform(0.1, 0.5)
                cover = cover * (offset < width) * np.clip((width - offset) / 0.02, 0, 1)
            lit *= 1 - chance.uniform(0.15, 0.75) * cover
    return np.asarray(lit, np.float32)


def add_flash(page: Field, shape: tuple[int, int], chance: Generator) -> Field:
    """Return a page with the reflection of a lamp on it."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    centre = chance.uniform(0, 1, 2) * shape
    reach = chance.uniform(0.1, 0.6) * max(shape)
    brightness = chance.uniform(0.1, 0.7)
    squared = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
    return np.asarray(page + brightness * np.exp(-squared / reach**2), np.float32)


def soften(page: Field, chance: Generator) -> Field:
    """Return a page out of focus, or blurred by a moving camera."""
    sigma = math.exp(chance.uniform(math.log(0.3), math.log(2.0)))
    if chance.random() < 0.25:
        length = int(chance.integers(2, 7))
        kernel = np.zeros((length, length), np.float32)
        start, end = chance.integers(0, length, (2, 2)).tolist()
        cv2.line(kernel, start, end, 1.0)
        return np.asarray(cv2.filter2D(page, -1, kernel / kernel.sum()), np.float32)
    return np.asarray(cv2.GaussianBlur(page, (0, 0), sigma), np.float32)


def compress(page: Field, chance: Generator) -> Field:
    """Return a page with what JPEG leaves of it."""
    levels = np.rint(np.clip(page, 0, 1) * 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(15, 90))])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(255)


def put_in_picture(grey: Field, ink: Field, chance: Generator) -> tuple[Field, Field]:
    """Return a page, and its ink, in a picture of it: a screenshot with bars, or a photo on another ground."""
    if chance.random() > 0.06:
        return grey, ink
    widest = [[max(2, side // 4)] * 2 for side in grey.shape]
    bars = chance.integers(0, widest).tolist()
    level = float(chance.choice([0.0, 1.0, chance.uniform(0, 1)]))
    return np.pad(grey, bars, constant_values=level), np.pad(ink, bars)
