"""Pictures in which there are no digits: writing, print, forms, paper, shapes and photographs."""

from collections.abc import Callable

import cv2
import numpy as np
from matplotlib import get_data_path
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from evaluate.corruptions import PAPER, PEN
from evaluate.out_of_distribution import smooth
from evaluate.pictures import PictureSet, png, without_one_digit
from train.sheets.paper import ruling, texture
from train.sheets.sheet import fill_sheet

SEED = 20_261_202
SIDES_PX = (140, 400)
TEXT = (
    "Name Address Town Date Amount in words Account Signature Please write clearly with black ink THANK YOU for your "
    "order of goods received by post Delivery to the customer within a week FORM WITHOUT DIGITS"
)
# Those that look like a digit by themselves are left out.
LETTERS = [*"ABCDEFGHJKLMNPQRTUVWXYacdefhijkmnprtuvwxy"]
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral", "cmss10", "cmti10")
PHOTOGRAPHS = ("astronaut", "camera", "cat", "coffee", "coins", "moon", "page", "rocket")

Grey = NDArray[np.uint8]


def make_without_digits(count: int) -> list[PictureSet]:
    """Return count pictures of each kind, the same ones each time."""
    generator = np.random.default_rng(SEED)
    return [without_one_digit(name, [png(make(generator)) for _ in range(count)]) for name, make in KINDS.items()]


def blank(generator: Generator) -> Grey:
    """Return an empty sheet of a random size."""
    return np.full(generator.integers(*SIDES_PX, 2), PAPER, np.uint8)


def choose_font(size_px: float, generator: Generator) -> ImageFont.FreeTypeFont:
    """Return one of the fonts that come with matplotlib."""
    return ImageFont.truetype(get_data_path() + f"/fonts/ttf/{generator.choice(FONTS)}.ttf", size_px)


def print_text(generator: Generator) -> Grey:
    """Print words in lines."""
    page = Image.fromarray(blank(generator))
    draw, size = ImageDraw.Draw(page), generator.uniform(10, 50)
    font = choose_font(size, generator)
    for y in np.arange(generator.uniform(-size, size), page.height, 1.3 * size):
        draw.text((generator.uniform(-size, size), y), " ".join(generator.choice(TEXT.split(), 30)), PEN, font)
    return np.asarray(page)


def print_letters(generator: Generator) -> Grey:
    """Print a row of one to five letters."""
    page = Image.fromarray(blank(generator))
    letters = " ".join(generator.choice(LETTERS, generator.integers(1, 6)))
    size = generator.uniform(0.5, 1) * min(0.8 * page.height, page.width / len(letters))
    middle = page.width / 2, page.height / 2
    ImageDraw.Draw(page).text(middle, letters, PEN, choose_font(size, generator), anchor="mm")
    return np.asarray(page)


def write_lines(generator: Generator) -> Grey:
    """Write lines of loops, high and low, as in cursive writing."""
    page = blank(generator)
    rise = generator.uniform(5, 30)
    for y in np.arange(2 * rise, page.shape[0], 5 * rise):
        turns = generator.integers(5, 30)
        along = np.linspace(0, turns * 2 * np.pi, 16 * turns)
        heights = np.interp(along, 2 * np.pi * np.arange(turns), rise * generator.choice([0.7, 1, 1, 1, 2.2], turns))
        x = 10 + generator.uniform(0.1, 0.3) * rise * along + generator.uniform(0.2, 0.6) * heights * np.sin(along)
        points = np.rint(np.stack([x, y - heights * np.cos(along)], 1)).astype(np.int32)
        cv2.polylines(page, [points], False, PEN, max(1, round(rise * generator.uniform(0.05, 0.2))), cv2.LINE_AA)
    return page


def sign(generator: Generator) -> Grey:
    """Sign with one long line, high at its beginning, and perhaps a stroke below."""
    page = blank(generator)
    height, width = page.shape
    count = int(generator.integers(10, 26))
    x = np.linspace(0.1, 0.9, count) + generator.normal(0, 0.04, count)
    y = 0.5 + generator.choice([-1, 1], count) * generator.uniform(0.02, 0.2, count) * np.linspace(1.5, 0.5, count)
    lines = [np.stack([x, y], 1)]
    if generator.random() < 0.5:
        lines.append(np.array([[0.1, 0.8], [0.5, 0.75], [0.9, 0.82]]))
    pen = int(generator.integers(2, 7))
    for line in lines:
        points = np.rint(smooth(line) * (width, height)).astype(np.int32)
        cv2.polylines(page, [points], False, PEN, pen, cv2.LINE_AA)
    return page


def rule_form(generator: Generator) -> Grey:
    """Print an empty grid, or rows of empty boxes behind a word each."""
    page = Image.fromarray(blank(generator))
    draw, width = ImageDraw.Draw(page), int(generator.integers(1, 5))
    high, wide = generator.uniform(14, 60, 2)
    has_words = generator.random() < 0.5
    font = choose_font(0.5 * high, generator)
    for y in np.arange(generator.uniform(2, high), page.height - high, 1.3 * high if has_words else high):
        if has_words:
            draw.text((4, y + high / 2), str(generator.choice(TEXT.split())), PEN, font, anchor="lm")
        for x in np.arange(0.3 * page.width if has_words else 4, page.width - wide, wide):
            draw.rectangle((x, y, x + wide, y + high), outline=PEN, width=width)
    return np.asarray(page)


def empty_paper(generator: Generator) -> Grey:
    """Photograph paper, cloth or wood, most of it ruled."""
    shape = blank(generator).shape
    grey = texture(str(generator.choice(["plain", "cloth", "wood"])), shape, generator)
    if generator.random() < 0.8:
        rules = ruling(str(generator.choice(["ruled", "squared", "school", "dotted"])), shape, generator)
        grey *= 1 - rules * generator.uniform(0.2, 0.9)
    return to_levels(0.85 * grey)


def fill(generator: Generator) -> Grey:
    """Show clouds and filled shapes."""
    return to_levels(fill_sheet((200, 240), generator))


def photograph(generator: Generator) -> Grey:
    """Cut a part out of a photograph."""
    picture = Image.fromarray(getattr(data, str(generator.choice(PHOTOGRAPHS)))()).convert("L")
    size = generator.uniform(0.35, 1) * np.array(picture.size)
    left, top = generator.uniform(0, np.array(picture.size) - size)
    return np.asarray(picture.crop((int(left), int(top), int(left + size[0]), int(top + size[1]))))


def to_levels(field: NDArray[np.float32]) -> Grey:
    """Return brightness 0..1 as grey levels."""
    return np.rint(255 * field.clip(0, 1)).astype(np.uint8)


KINDS: dict[str, Callable[[Generator], Grey]] = {
    "printed text": print_text,
    "printed letters": print_letters,
    "loops like writing": write_lines,
    "signatures": sign,
    "empty forms": rule_form,
    "empty paper": empty_paper,
    "filled shapes": fill,
    "photographs": photograph,
}
