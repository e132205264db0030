"""What several windows of time have in common: metrics of model and baselines in each, their mean, and paired tests.

# W windows, U users of any window
"""

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avrec.core.files import atomic_write, write_json
from avrec.core.ids import IdMap
from avrec.evaluation.compare import SeedComparison, SeedSeries, compare_series, read_series
from avrec.evaluation.significance import holm
from avrec.report.ablation_table import p_text, short

FORMAT_VERSION = 1
MODEL = "model"
JSON_FILE, TEXT_FILE = "slide.json", "slide.txt"
KEPT = tuple(
    f"{part}{kind}@{cutoff}"
    for part in ("", "cold/", "warm/")
    for kind in ("recall", "ndcg", "mrr")
    for cutoff in (10, 20)
)


@dataclass(frozen=True)
class Window:
    """What the training on one window left.

    Attributes:
        back: how many test windows before the last its test window lies.
        span_sec: when its test window begins and is over.
        per_user: its `per_user.parquet`.
        metrics: its `metrics.json`.
    """

    back: int
    span_sec: tuple[int, int]
    per_user: Path
    metrics: Mapping[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """Plain values for the file."""
        of = {MODEL: self.metrics, **self.metrics["baselines"]}
        counts = self.metrics["counts"]["test"]
        return {
            "windows_back": self.back,
            "test_from_sec": self.span_sec[0],
            "test_until_sec": self.span_sec[1],
            "counts": {name: counts[name] for name in ("users", "targets", "items", "cold_items")},
            "data_hash": self.metrics["data_hash"],
            "metrics": {
                name: {key: found[f"test/{key}"] for key in KEPT if f"test/{key}" in found}
                for name, found in of.items()
            },
        }


@dataclass(frozen=True)
class Sliding:
    """All windows together.

    Attributes:
        windows: the earliest first.
        metric: what is compared.
        values: recommender -> its metric in each window, the model first; baselines that every window has.
        comparisons: baseline -> the model less it, each user's differences averaged over his windows.
        failed: windows without a result, and why.
        command: that made them.
    """

    windows: Sequence[Window]
    metric: str
    values: Mapping[str, Sequence[float]]
    comparisons: Mapping[str, SeedComparison]
    failed: Mapping[int, str]
    command: str


def measured(windows: Sequence[Window], metric: str, failed: Mapping[int, str], command: str) -> Sliding:
    """Read each window's users and compare the model with the baselines.

    Values of one user in several windows are not independent, so they are averaged first: the unit of the test is the user.

    Args:
        windows: at least one.
        metric: a column of `per_user.parquet`.
        failed: windows without a result, and why.
        command: that made them.

    Raises:
        ArtefactError: a file is missing or damaged, or lacks the metric.
    """
    common = [
        name for name in windows[0].metrics["baselines"] if all(name in one.metrics["baselines"] for one in windows)
    ]
    views = {MODEL: None, **dict.fromkeys(common, "")}
    series = {
        name: [read_series([one.per_user], metric, None if view is None else name) for one in windows]
        for name, view in views.items()
    }
    values = {name: [one.mean for one in found] for name, found in series.items()}
    pooled = {name: _pooled(name, found) for name, found in series.items()}
    found = {name: compare_series(pooled[MODEL], pooled[name]) for name in common}
    p_values = holm([one.p_value for one in found.values()])
    test = f"paired t over users, each averaged over his windows, Holm over {len(found)}"
    compared = {
        name: replace(one, p_value=p, test=test) for (name, one), p in zip(found.items(), p_values, strict=True)
    }
    return Sliding(windows, metric, values, compared, failed, command)


def _pooled(name: str, windows: Sequence[SeedSeries]) -> SeedSeries:
    """One value for each user: the mean over the windows in which he has a target."""
    ids = IdMap.from_values(pa.chunked_array([one.users.array for one in windows]))
    total_U, count_U = np.zeros(len(ids)), np.zeros(len(ids))
    for one in windows:
        known = ~np.isnan(one.values_SU[0])
        user = ids.index(one.users.array)[known]
        total_U[user] += one.values_SU[0, known]
        count_U[user] += 1
    mean_U = np.divide(total_U, count_U, out=np.full(len(ids), np.nan), where=count_U > 0)
    return replace(windows[0], name=name, seeds=windows[0].seeds, users=ids, values_SU=mean_U[None], about={})


def windows_table(result: Sliding) -> Table:
    """One row a recommender: its metric in each window, the mean, and what the model has more."""
    title = f"{result.metric}, test part of {len(result.windows)} windows, protocol {result.windows[0].metrics['protocol_name']}"
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption_justify="left")
    table.add_column("", overflow="fold")
    for one in result.windows:
        table.add_column(f"{_day(one.span_sec[0])}\n{_hours(one):g} h", justify="right", no_wrap=True)
    for header in ("mean", "model has more, 95 %", "p", "windows\nwon"):
        table.add_column(header, justify="right", no_wrap=True)
    for name, values in result.values.items():
        cells = [short(f"{value:.4f}") for value in (*values, float(np.mean(values)))]
        table.add_row(Text(name, "bold" if name == MODEL else ""), *cells, *_against(result, name))
    counts = [one.metrics["counts"]["test"] for one in result.windows]
    for key in ("users", "targets", "items"):
        table.add_row(Text(f"{key} ranked" if key == "items" else key, "dim"), *(str(one[key]) for one in counts))
    failed = [f"failed: {back} windows back: {' '.join(reason.split())}" for back, reason in result.failed.items()]
    words = ["Each window's test part was read once, after everything had been chosen on its validation window."]
    words += [f"p: {next(iter(result.comparisons.values())).test}."] if result.comparisons else []
    table.caption = Text("\n".join([*words, *failed]))
    return table


def _against(result: Sliding, name: str) -> list[str]:
    found = result.comparisons.get(name)
    if found is None:
        return ["", "", ""]
    low, high = (short(f"{end:+.3f}") for end in found.interval)
    won = sum(mine > other for mine, other in zip(result.values[MODEL], result.values[name], strict=True))
    more = f"{short(f'{found.mean_difference:+.4f}')} ({low} to {high})"
    return [more, p_text(found.p_value), f"{won} of {len(result.windows)}"]


def write(folder: Path, result: Sliding, width: int) -> None:
    """Write `slide.txt`, the table, and then `slide.json`, every number, each of them atomically."""
    text = io.StringIO()
    Console(file=text, width=width).print(windows_table(result))
    with atomic_write(folder / TEXT_FILE) as file:
        file.write(text.getvalue().encode())
    document = {
        "format_version": FORMAT_VERSION,
        "command": result.command,
        "metric": result.metric,
        "protocol_name": result.windows[0].metrics["protocol_name"],
        "windows": [one.document for one in result.windows],
        "mean": {name: float(np.mean(values)) for name, values in result.values.items()},
        "comparisons": {name: asdict(one) for name, one in result.comparisons.items()},
        "failed": {str(back): reason for back, reason in result.failed.items()},
    }
    write_json(folder / JSON_FILE, document)


def _day(second: int) -> str:
    return (dt.datetime(1970, 1, 1) + dt.timedelta(seconds=second)).strftime("%Y-%m-%d")


def _hours(window: Window) -> float:
    return round((window.span_sec[1] - window.span_sec[0]) / 3600, 2)
