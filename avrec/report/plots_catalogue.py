"""Figures of the catalogue: shares of modalities, popularity of what is shown, and the map of the vectors."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from avrec.core.arrays import Float32, Float64, Int64
from avrec.report.plots import colour, drawn, legend_columns

NUM_BINS = 20


def shares(by_modality: Mapping[str, Float64]) -> bytes:
    """How the share of each modality is spread over the items."""

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        edges = [place / NUM_BINS for place in range(NUM_BINS + 1)]
        for place, (name, values) in enumerate(by_modality.items()):
            axes.hist(values, edges, histtype="stepfilled", color=colour(place), alpha=0.18)
            axes.hist(values, edges, histtype="step", color=colour(place), linewidth=1.8, label=name)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the item's content vector")
        axes.set_ylabel("items")
        axes.legend()

    return drawn(draw)


def popularity(groups: Sequence[str], series: Mapping[str, Float64]) -> bytes:
    """Groups of popularity side by side, one bar for each kind of list.

    Args:
        groups: names of the G groups.
        series: name -> (G,) shares that sum to 1.
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        width = 0.8 / len(series)
        for place, (name, values) in enumerate(series.items()):
            left = np.arange(len(groups)) - 0.4 + place * width
            axes.bar(left, values, width * 0.92, align="edge", color=colour(place), label=name)
        axes.set_xticks(range(len(groups)), list(groups))
        axes.grid(axis="x", visible=False)
        axes.set_ylabel("share of the places")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handlelength=1, columnspacing=1)

    return drawn(draw)


def catalogue_map(places_N2: Float32, group_N: Int64, names: Sequence[str], title: str) -> bytes:
    """Items in the plane, coloured by group.

    Args:
        places_N2: where each item stands.
        group_N: of each item, index into `names`; smaller groups are drawn last, so that they are seen.
        names: of the groups.
        title: what colours mean.
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        counts = np.bincount(group_N, minlength=len(names))
        size = float(np.clip(4000 / max(len(group_N), 1), 3, 16))
        for group in np.argsort(-counts, kind="stable"):
            x, y = places_N2[group_N == group].T
            label = f"{names[group]} ({counts[group]:,})"
            axes.scatter(x, y, size, colour(int(group)), linewidths=0, alpha=0.8, label=label, rasterized=True)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(title, fontsize=9.5)
        columns = legend_columns([f"{name} (1,000)" for name in names])
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns, handletextpad=0.1, columnspacing=0.8)

    return drawn(draw, 4.2)
