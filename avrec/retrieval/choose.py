"""`choose_index`: exact or approximate, by measuring both on the real vectors and the real users' queries.

Axes: N items, Q queries, D embedding.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import AvrecError, MissingExtraError
from avrec.core.order import generator
from avrec.retrieval.index import ExactIndex, Index
from avrec.retrieval.ivf import IVFIndex

Kind = Literal["auto", "exact", "approximate"]
LENGTHS = (10, 100)
MIN_ITEMS = 2_000  # below, cells are too small to be tried
MIN_GAIN = 2.0  # in throughput at 10; for less nobody should give up exactness
MAX_TUNING, MAX_HELD = 1_000, 500  # queries: more make the measurement slower, and the choice no better
TUNING_MARGIN = 0.5  # of what the goal leaves to be missed: the queries that are reported on are others
SINGLE_QUERIES = 30
RUNS = 3


@dataclass(frozen=True)
class Goals:
    """What an approximate index must find of the exact lists.

    Attributes:
        recall_at_10: mean share of the true 10 best.
        recall_at_100: mean share of the true 100 best.
    """

    recall_at_10: float = 0.99
    recall_at_100: float = 0.95

    def tuned(self) -> tuple[float, float]:
        """The stricter goals on the tuning queries, in the order of `LENGTHS`."""
        ten, hundred = (goal + TUNING_MARGIN * (1 - goal) for goal in (self.recall_at_10, self.recall_at_100))
        return ten, hundred


def choose_index(
    item_vectors: Float32,
    queries_QD: Float32,
    tie_order: Int64 | None = None,
    kind: Kind = "auto",
    goals: Goals = Goals(),
    seed: int = 0,
) -> tuple[ExactIndex | IVFIndex, dict[str, Any]]:
    """Measure and decide.

    A third of the queries, at most 500, is kept aside; recall and CPU time are reported on them alone. The others teach the
    projection, and 1,000 of them choose how many cells are scanned. `auto` takes the approximate index where it reaches the
    goals, is twice as fast in batches and not slower for a single query.

    Args:
        item_vectors: (N, D).
        queries_QD: vectors of real users, at least 3.
        tie_order: see `Index`.
        kind: `auto`, or what to take whatever it costs; it is measured all the same.
        goals: of the approximate index.
        seed: of the split of the queries and of the cells.

    Returns:
        The index and a report of plain values, for a bundle to store: `kind`, `reason`, the goals, and for `exact` and,
        where it was tried, `approximate` the recall@10 and @100 and CPU milliseconds for each query, in a batch and alone.

    Raises:
        AvrecError: fewer than 3 queries, or a vector is not finite.
        MissingExtraError: `approximate` without the extra `index`.
    """
    held, others = _held_out(queries_QD, len(item_vectors), seed)
    exact = ExactIndex(item_vectors, tie_order)
    truth = _lists(exact, held)
    report: dict[str, Any] = {
        "kind": "exact",
        "num_items": len(item_vectors),
        "dim": int(item_vectors.shape[1]),
        "num_queries": len(held),
        "goals": {"recall@10": goals.recall_at_10, "recall@100": goals.recall_at_100},
        "exact": _measured(exact, held, truth),
    }
    if kind == "exact":
        return exact, report | {"reason": "asked for"}
    if kind == "auto" and len(item_vectors) < MIN_ITEMS:
        return exact, report | {"reason": f"fewer than {MIN_ITEMS} items"}
    try:
        index, how = _tuned(item_vectors, others, tie_order, goals, seed)
    except MissingExtraError:
        if kind == "approximate":
            raise
        return exact, report | {"reason": "FAISS is not installed, nothing else was tried: pip install 'avrec[index]'"}
    report["approximate"] = how | _measured(index, held, truth)
    refusal = _refusal(report, goals)
    if kind == "auto" and refusal:
        return exact, report | {"reason": refusal}
    return index, report | {"kind": "ivf", "reason": "asked for" if kind == "approximate" else _gain(report)}


def _held_out(queries: Float32, num_items: int, seed: int) -> tuple[Float32, Float32]:
    """A third of the queries, at most `MAX_HELD`, and the others."""
    if len(queries) < 3 or num_items == 0:
        raise AvrecError(
            f"choose_index: {num_items} items and {len(queries)} queries; expected items, and the vectors of at least 3 "
            "users to measure with."
        )
    order = generator(seed, 0, "retrieval/choose").permutation(len(queries))
    num_held = min(MAX_HELD, len(order) // 3)
    held, others = (np.asarray(queries[part], np.float32) for part in (order[:num_held], order[num_held:]))
    return held, others


def _tuned(
    item_vectors: Float32, queries: Float32, tie_order: Int64 | None, goals: Goals, seed: int
) -> tuple[IVFIndex, dict[str, Any]]:
    """The index that scans the fewest cells that reach the goals, or half of all if none do, and how it was made."""
    start = time.process_time()
    index = IVFIndex.build(item_vectors, queries, tie_order, seed=seed)
    build_sec = time.process_time() - start
    sample = queries[:MAX_TUNING]
    truth = _lists(ExactIndex(item_vectors, tie_order), sample)
    nprobe = 4
    while True:
        found = _lists(index.probing(nprobe), sample)
        recalls = [recall(mine, theirs) for mine, theirs in zip(found, truth, strict=True)]
        if (
            all(share >= goal for share, goal in zip(recalls, goals.tuned(), strict=True))
            or 2 * nprobe >= index.num_cells
        ):
            break
        nprobe = min(nprobe + max(1, nprobe // 4), index.num_cells)
    how = {
        "build_cpu_sec": round(build_sec, 3),
        "num_cells": index.num_cells,
        "nprobe": nprobe,
        "reduced_dim": index.projection.width,
    }
    return index.probing(nprobe), how


def _lists(index: Index, queries: Float32) -> list[Int64]:
    return [index.search(queries, min(length, index.num_items))[0] for length in LENGTHS]


def recall(found_Bk: Int64, true_Bk: Int64) -> float:
    """Mean share of each true list that was found; -1 counts nowhere, and a query with an empty true list not at all."""
    shares = []
    for found, true in zip(found_Bk, true_Bk, strict=True):
        true = true[true >= 0]
        if len(true):
            shares.append(np.isin(true, found).mean())
    return float(np.mean(shares)) if shares else 1.0


def _measured(index: Index, queries: Float32, truth: list[Int64]) -> dict[str, float]:
    numbers = {}
    for length, true in zip(LENGTHS, truth, strict=True):
        search = partial(index.search, k=min(length, index.num_items))
        numbers[f"recall@{length}"] = round(recall(search(queries)[0], true), 5)
        numbers[f"cpu_ms_in_batch@{length}"] = round(1e3 * _cpu_sec(partial(search, queries)) / len(queries), 5)
    short = partial(index.search, k=min(LENGTHS[0], index.num_items))
    alone = [_cpu_sec(partial(short, query[None]), 1) for query in queries[:SINGLE_QUERIES]]
    numbers["cpu_ms_alone@10"] = round(1e3 * statistics.median(alone), 5)
    return numbers


def _cpu_sec(call: Callable[[], object], runs: int = RUNS) -> float:
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def _refusal(report: dict[str, Any], goals: Goals) -> str:
    """Why the approximate index is not worth it; empty when it is."""
    exact, found = report["exact"], report["approximate"]
    for length, goal in zip(LENGTHS, (goals.recall_at_10, goals.recall_at_100), strict=True):
        if found[f"recall@{length}"] < goal:
            return f"recall@{length} of the approximate index is {found[f'recall@{length}']}, below {goal}"
    if exact["cpu_ms_in_batch@10"] < MIN_GAIN * found["cpu_ms_in_batch@10"]:
        return f"the approximate index is not {MIN_GAIN} times faster: {_gain(report)}"
    if exact["cpu_ms_alone@10"] < found["cpu_ms_alone@10"]:
        return f"a single query is slower with the approximate index: {_gain(report)}"
    return ""


def _gain(report: dict[str, Any]) -> str:
    exact, found = report["exact"], report["approximate"]
    batch, alone = (exact[name] / max(found[name], 1e-9) for name in ("cpu_ms_in_batch@10", "cpu_ms_alone@10"))
    return f"{batch:.1f} times the throughput of exact search, {alone:.1f} times its speed for a single query"
