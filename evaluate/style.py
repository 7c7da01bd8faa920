"""How our figures look, each a small PNG file."""

import io
from contextlib import ContextDecorator

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

BLUE, ORANGE, GREY, INK, FRAME = "#1f5fbf", "#d9680a", "#8a8f98", "#22262b", "#c4c8ce"
COLOURS = 48


def figure_style() -> ContextDecorator:
    """Return a decorator for functions that draw: while they run, matplotlib has the style of our figures."""
    return mpl.rc_context(
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


def save(figure: Figure) -> bytes:
    """Return a figure as a PNG file, small because it has few colours."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.12, facecolor="white")
    small = io.BytesIO()
    Image.open(file).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()
