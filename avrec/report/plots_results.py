"""Figures of what was measured: recommenders side by side, slices, and what cold recall costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from avrec.report.plots import AMBER, BLUE, GREY, INK, ORANGE, colour, drawn, legend_columns

ROW_IN = 0.27
GROUPS = {"model": BLUE, "part": AMBER, "baseline": GREY}
MARKERS = ("o", "s", "D", "^", "v")


@dataclass(frozen=True)
class Mark:
    """One row of the comparison.

    Attributes:
        name: of the recommender.
        group: a key of `GROUPS`.
        value: of the metric.
        interval: its 95 % interval, where known.
    """

    name: str
    group: str
    value: float
    interval: tuple[float, float] | None


def comparison(marks: Sequence[Mark], label: str) -> bytes:
    """Recommenders from top to bottom, each with its value and interval; a line marks the first one's value."""

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        for place, mark in enumerate(marks):
            fill = GROUPS[mark.group]
            if mark.interval is not None:
                axes.plot(mark.interval, [place, place], color=fill, linewidth=2.2, solid_capstyle="butt")
            axes.plot([mark.value], [place], "o", color=fill, markersize=6)
        axes.axvline(marks[0].value, color=BLUE, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(marks)), [mark.name for mark in marks])
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(label)

    return drawn(draw, 0.7 + ROW_IN * len(marks), 5.6)


def slices(names: Sequence[str], series: Mapping[str, Sequence[float | None]], label: str) -> bytes:
    """Slices from top to bottom, one mark for each recommender.

    Args:
        names: of the slices.
        series: recommender -> its value on each slice.
        label: of the metric.
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        for place, (name, values) in enumerate(series.items()):
            known = [(value, row) for row, value in enumerate(values) if value is not None]
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(*zip(*known, strict=True), marker, color=colour(place), label=name, markersize=6.5)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(left=-0.005)
        axes.set_xlabel(label)
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=legend_columns(list(series)), handletextpad=0.3)

    return drawn(draw, 1.0 + ROW_IN * len(names))


def frontier(points: Sequence[tuple[float, float]], chosen: Mapping[str, tuple[float, float]]) -> bytes:
    """Recall on warm items against recall on cold ones for every setting that no other beats.

    Args:
        points: (warm, cold).
        chosen: operating point -> (warm, cold).
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        axes.plot(*zip(*points, strict=True), ".", color=GREY, markersize=4)
        for place, (name, (warm, cold)) in enumerate(chosen.items()):
            marker = MARKERS[place % len(MARKERS)]
            fill = (BLUE, ORANGE, INK)[place % 3]
            axes.plot([warm], [cold], marker, color=fill, markersize=8, label=name)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("recall@20 on items known from training")
        axes.set_ylabel("recall@20 on new items")
        if chosen:
            axes.legend(loc="lower left")

    return drawn(draw, 3.2)


def trade(
    start: tuple[float, float], series: Mapping[str, Sequence[tuple[float, float]]], bought: str, paid: str
) -> bytes:
    """What is gained against what it costs: a line from `start` through the points of each kind of order.

    Args:
        start: (gained, kept) of the unchanged order.
        series: kind of order -> (gained, kept), the cheapest first.
        bought: label of the first.
        paid: label of the second.
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        for place, (name, points) in enumerate(series.items()):
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(*zip(start, *points, strict=True), marker=marker, color=colour(place), markersize=6, label=name)
        axes.plot(*start, "o", color=INK, markersize=8, label="as ranked")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(bought)
        axes.set_ylabel(paid)
        axes.legend(loc="lower left")

    return drawn(draw, 3.2)
