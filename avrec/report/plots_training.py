"""Figures of how training went."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from avrec.report.plots import INK, drawn

Series = tuple[Sequence[int], Sequence[float]]


def curves(series: Mapping[str, Series], label: str, best_epoch: int | None) -> bytes:
    """Curves over epochs, with a line at the epoch that was kept.

    Args:
        series: name -> (epochs, values).
        label: of the vertical axis.
        best_epoch: counted from 0, as in the log; None draws no line.
    """

    def draw(axes: Axes) -> None:
        """Put everything on the axes."""
        for name, (epochs, values) in series.items():
            axes.plot([epoch + 1 for epoch in epochs], values, label=name)
        if best_epoch is not None:
            axes.axvline(best_epoch + 1, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="epoch that was kept")
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()

    return drawn(draw)
