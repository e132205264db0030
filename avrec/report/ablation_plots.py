"""The figure of a study: what each variant changes, with how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from avrec.report.ablation import Verdict
from avrec.report.plots import BLUE, GREY, INK, ORANGE, drawn

ROW_IN = 0.27
COLOURS: dict[Verdict, str] = {"better": BLUE, "worse": ORANGE, "unclear": GREY, "same": INK, "untested": GREY}


@dataclass(frozen=True)
class Effect:
    """One row of the forest.

    Attributes:
        name: of the variant.
        difference: from the reference.
        interval: its 95 % interval.
        verdict: decides the colour.
        by_seed: the difference of each seed.
    """

    name: str
    difference: float
    interval: tuple[float, float]
    verdict: Verdict
    by_seed: Sequence[float] = ()


def forest(effects: Sequence[Effect], breaks: Sequence[int], label: str) -> bytes:
    """Differences from top to bottom with their intervals around a line at zero; small ticks are the single seeds.

    Args:
        effects: from top to bottom.
        breaks: rows above which a thin line parts two studies.
        label: of the axis.
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        for place, one in enumerate(effects):
            colour = COLOURS[one.verdict]
            axes.plot(one.interval, [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
            if len(one.by_seed) > 1:
                axes.plot(one.by_seed, [place] * len(one.by_seed), "|", color=INK, markersize=6, markeredgewidth=0.8)
            axes.plot([one.difference], [place], "o", color=colour, markersize=6)
        for row in breaks:
            axes.axhline(row - 0.5, color="#d5d5d5", linewidth=0.8)
        axes.axvline(0, color=INK, linewidth=1.0)
        axes.set_yticks(range(len(effects)), [one.name for one in effects])
        axes.set_ylim(len(effects) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(label)

    return drawn(draw, 0.75 + ROW_IN * len(effects), 4.8)
