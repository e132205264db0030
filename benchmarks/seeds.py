"""Mean and standard deviation over runs: `python benchmarks/seeds.py runs/a/metrics.json runs/b/metrics.json ...`.

The runs must be of the same data and settings; rows are the model at its operating points and its controls, and the baselines.
"""

import statistics
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from avrec.core.files import read_json

METRICS = ("recall@20", "ndcg@20", "cold/recall@20", "warm/recall@20", "cold_only/recall@20")


def main(paths: list[str]) -> None:
    """Print the table."""
    documents = [read_json(Path(path)) for path in paths]
    if len({document["data_hash"] for document in documents}) != 1:
        sys.exit("these runs are of different data sets")
    rule = documents[0]["settings"]["calibration"]
    rows: dict[str, list[dict[str, Any]]] = {f"{rule} *": documents}
    for section in ("views", "baselines"):
        for name in documents[0][section]:
            rows[name] = [document[section][name] for document in documents if name in document[section]]
    seeds = [seed for document in documents for seed in document["seeds"]]
    table = Table(title=f"test, mean ± sd over seeds {seeds}", box=box.SIMPLE_HEAD)
    table.add_column("")
    for metric in METRICS:
        table.add_column(metric, justify="right")
    for name, found in rows.items():
        cells = []
        for metric in METRICS:
            values = [one[f"test/{metric}"] for one in found if f"test/{metric}" in one]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.4f} ± {spread:.4f}" if values else "-")
        table.add_row(name, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
