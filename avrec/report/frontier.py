"""The trade-off that the calibration saw on validation, as a table."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

MAX_ROWS = 12


def frontier_table(points: Sequence[Mapping[str, float]], max_rows: int = MAX_ROWS) -> Table:
    """Settings that no other beats in both score and cold recall, from the best score to the best cold recall.

    Args:
        points: as in `metrics.json`, in that order.
        max_rows: evenly chosen from all, the first and the last among them.
    """
    table = Table(
        title="frontier on validation: what recall on cold items costs",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        caption=f"{len(points)} settings; all stand in metrics.json",
        caption_justify="left",
    )
    columns = {
        "Recall@20": "recall@20",
        "NDCG@20": "ndcg@20",
        "cold Recall@20": "cold/recall@20",
        "warm Recall@20": "warm/recall@20",
        "scale": "content_scale",
        "offset": "cold_offset",
        "kappa": "kappa",
        "neighbours": "neighbour_weight",
        "smoothing": "history_smoothing",
    }
    for header in columns:
        table.add_column(header, justify="right")
    count = min(max_rows, len(points))
    chosen = sorted({round(row * (len(points) - 1) / max(count - 1, 1)) for row in range(count)})
    for row in chosen:
        values = [points[row][key] for key in columns.values()]
        table.add_row(*(f"{value:.4f}" for value in values[:4]), *(f"{value:.2f}" for value in values[4:]))
    return table
