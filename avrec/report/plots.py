"""How every figure looks, and how it becomes an SVG image: the same bytes for the same numbers."""

import io
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib import RcParams, rcsetup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito (2008): told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#007f5f", "#b5598d"
SKY, AMBER, GREY, INK = "#56b4e9", "#e69f00", "#767676", "#1c1c1c"
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER, GREY, INK)
WIDTH_IN = 4.8
LEGEND_CHARACTERS = 54  # in a line across a figure
RASTER_DPI = 130  # of points by the thousand, which stand in the image as pixels

STYLE = RcParams(
    {
        "axes.edgecolor": "#9a9a9a",
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": rcsetup.cycler(color=CYCLE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.axisbelow": True,
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",  # comes with matplotlib, so that it is there everywhere
        "font.size": 9.5,
        "grid.color": "#e3e3e3",
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "svg.fonttype": "path",
        "svg.hashsalt": "avrec",
        "text.color": INK,
        "text.parse_math": False,  # a `$` in somebody's name is a dollar
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def drawn(draw: Callable[[Axes], None], height_in: float = 3.0, width_in: float = WIDTH_IN) -> bytes:
    """An SVG image of one pair of axes.

    Args:
        draw: puts everything on the axes.
        height_in: of the image.
        width_in: likewise.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        draw(figure.subplots())
        file = io.BytesIO()
        figure.savefig(file, format="svg", dpi=RASTER_DPI, metadata={"Date": None, "Creator": None})
    return file.getvalue()


def colour(place: int) -> str:
    """The colour of the n-th series."""
    return CYCLE[place % len(CYCLE)]


def legend_columns(names: Sequence[str]) -> int:
    """How many names fit side by side below or above a figure: 1 to 3."""
    return max(1, min(3, LEGEND_CHARACTERS // max(len(name) + 3 for name in names)))
