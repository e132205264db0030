"""Mean and standard deviation over runs: `python benchmarks/seeds.py runs/a/metrics.json runs/b/metrics.json ...`.

The runs must be of the same data and settings; rows are the model at its operating points and its controls, and the baselines.
`--against` names rows to be tested against every baseline, paired by user, each user's differences averaged over the seeds (the
runs' `per_user.parquet`), with Holm's correction: `--against "ids only" overall`.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from avrec.core.files import read_json
from avrec.evaluation.compare import compare_all, read_series

TESTED = ("recall@20", "ndcg@20")
METRICS = ("recall@20", "ndcg@20", "cold/recall@20", "warm/recall@20", "cold_only/recall@20")


def main(paths: list[Path], rows: list[str]) -> None:
    """Print the tables."""
    documents = [read_json(path) for path in paths]
    if len({document["data_hash"] for document in documents}) != 1:
        sys.exit("these runs are of different data sets")
    console = Console(width=140)
    console.print(means(documents))
    for row in rows:
        console.print(tests([path.parent / "per_user.parquet" for path in paths], row, list(documents[0]["baselines"])))


def means(documents: list[dict[str, Any]]) -> Table:
    """Every recommender's metrics over the seeds."""
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
    return table


def tests(files: list[Path], row: str, baselines: list[str]) -> Table:
    """One row of the model against each baseline."""
    table = Table(title=f"{row} - baseline, paired by user over {len(files)} seeds", box=box.SIMPLE_HEAD)
    for column in ("metric", "baseline", "difference", "95 % interval", "wins", "losses", "p"):
        table.add_column(column, justify="right")
    for metric in TESTED:
        ours = read_series(files, metric, row)
        others = {name: read_series(files, metric, name) for name in baselines}
        for name, found in compare_all(ours, others).items():
            low, high = -found.interval[1], -found.interval[0]
            interval = f"[{low:+.4f}, {high:+.4f}]"
            counts = (str(found.losses), str(found.wins))  # the other way round: the baseline stands first
            table.add_row(metric, name, f"{-found.mean_difference:+.4f}", interval, *counts, f"{found.p_value:.2g}")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="metrics.json of runs that differ in their seed")
    parser.add_argument("--against", nargs="+", default=[], metavar="ROW", help="rows to test against the baselines")
    arguments = parser.parse_args()
    main(arguments.files, arguments.against)
