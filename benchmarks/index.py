"""Search for the largest inner products in a large catalogue: avrec's index beside exact search, FAISS and usearch.

python benchmarks/index.py BUNDLE                        # 100,000 items from a bundle's vectors, its users as queries
python benchmarks/index.py BUNDLE --dim 65               # the first 65 coordinates: ids and bias alone
python benchmarks/index.py BUNDLE --items 1000000 --build-only

The items are a trained model's vectors, repeated with noise; half of the queries choose each contender's setting, the others
measure. FAISS is set up as its authors advise (4 sqrt(N) lists, inner product; flat, or fast-scan codes with refinement; HNSW
with 32 links), and so is usearch (f32 and bf16, 16 links, expansion 128); what costs accuracy at search time is swept. For
recall@10 >= .99, and again for recall@100 >= .95, the fastest setting of each that reaches it is timed against avrec's in turns, on one
thread. avrec's index has one setting for both, the one that `choose_index` takes. CPU seconds are the ones to trust.
usearch is left out where it is not installed; it is in no extra.
"""

import argparse
import importlib.util
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import faiss
import numpy as np
from index_vectors import bundle_vectors, repeated

from avrec.core.arrays import Float32, Int64
from avrec.retrieval.choose import Goals, choose_index, recall
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex

if TYPE_CHECKING:
    from usearch.index import Index as Graph

CPU = time.process_time
Search = Callable[[Float32, int], Int64]
SWEEP = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256)


def faiss_settings(items: Float32) -> Iterator[tuple[str, float, Search]]:
    """Every FAISS index with every setting of its sweep: name, CPU seconds of the build, search."""
    dim = items.shape[1]
    padded = -(-dim // 2) * 2
    wide = np.pad(items, ((0, 0), (0, padded - dim)))
    cells = round(4 * math.sqrt(len(items)))
    specs = {f"IVF{cells},Flat": items, f"IVF{cells},PQ{padded // 2}x4fsr,RFlat": wide, "HNSW32": items}
    for spec, vectors in specs.items():
        start = CPU()
        index = faiss.index_factory(vectors.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        build = CPU() - start
        name = "efSearch" if "HNSW" in spec else "nprobe"
        for value in SWEEP:
            for factor in (2, 4) if "RFlat" in spec else (0,):
                setting = f"{name}={value}" + (f",k_factor_rf={factor}" if factor else "")
                yield f"FAISS {spec} {setting}", build, partial(faiss_search, index, setting)


def faiss_search(index: faiss.Index, setting: str, queries: Float32, k: int) -> Int64:
    """Item indices (B, k)."""
    faiss.ParameterSpace().set_index_parameters(index, setting)
    found: Int64 = index.search(np.pad(queries, ((0, 0), (0, index.d - queries.shape[1]))), k)[1]
    return found


def usearch_settings(items: Float32) -> Iterator[tuple[str, float, Search]]:
    """The same for usearch, by itself; `index_usearch.py` shows it behind avrec's contract."""
    from index_usearch import UsearchIndex

    for dtype in ("f32", "bf16"):
        start = CPU()
        index = UsearchIndex(items, dtype=dtype)
        build = CPU() - start
        for value in SWEEP[3:]:
            yield f"usearch {dtype} expansion_search={value}", build, partial(usearch_search, index.graph, value)


def usearch_search(graph: "Graph", expansion: int, queries: Float32, k: int) -> Int64:
    """Item indices (B, k)."""
    graph.expansion_search = expansion
    found: Int64 = graph.search(queries, k, threads=1).keys.astype(np.int64)
    return found


def own_search(index: ExactIndex | IVFIndex, queries: Float32, k: int) -> Int64:
    """Item indices (B, k)."""
    return index.search(queries, k)[0]


def fastest(
    settings: list[tuple[str, float, Search]], queries: Float32, truth: Int64, goal: float
) -> tuple[str, float, Search] | None:
    """The setting with the least CPU time among those that reach the goal."""
    best, seconds = None, math.inf
    for setting in settings:
        start = CPU()
        found = setting[2](queries, truth.shape[1])
        spent = CPU() - start
        if spent < seconds and recall(found, truth) >= goal:
            best, seconds = setting, spent
    return best


def in_turns(searches: dict[str, Search], queries: Float32, k: int, turns: int) -> dict[str, list[float]]:
    """CPU milliseconds a query of each, in alternating order, after one turn to warm up."""
    spent: dict[str, list[float]] = {name: [] for name in searches}
    for turn in range(turns + 1):
        for name, search in list(searches.items())[:: 1 if turn % 2 else -1]:
            start = CPU()
            search(queries, k)
            if turn:
                spent[name].append(1e3 * (CPU() - start) / len(queries))
    return spent


def race(
    arguments: argparse.Namespace, ours: IVFIndex, peers: list[list[tuple[str, float, Search]]], queries: Float32
) -> None:
    """Print a table for each of the two goals."""
    exact = ExactIndex(ours.item_vectors)
    tuning, held = np.array_split(queries, 2)
    for k, goal in ((10, 0.99), (100, 0.95)):
        truth, true = own_search(exact, tuning, k), own_search(exact, held, k)
        found = [best for settings in peers if (best := fastest(settings, tuning, truth, goal))]
        searches: dict[str, Search] = {"exact": partial(own_search, exact), "avrec": partial(own_search, ours)}
        searches |= {name: search for name, _, search in found}
        spent = in_turns(searches, held, k, arguments.turns)
        print(f"\nrecall@{k} >= {goal}{'':53}recall  CPU ms/query  exact/it  it/avrec  build CPU s")
        builds = {name: build for name, build, _ in found}
        for name, times in spent.items():
            ratios = [statistics.median(there / here for here, there in zip(low, high, strict=True))
                      for low, high in ((times, spent["exact"]), (spent["avrec"], times))]  # fmt: skip
            share = recall(searches[name](held, k), true)
            built = f"{builds[name]:12.1f}" if name in builds else ""
            print(f"{name:72}{share:7.4f}{statistics.median(times):13.4f}{ratios[0]:10.1f}{ratios[1]:10.2f}{built}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--build-only", action="store_true", help="build avrec's index, time it and stop")
    arguments = parser.parse_args()
    vectors, users = bundle_vectors(arguments.bundle, arguments.dim)
    items = repeated(vectors, arguments.items, arguments.noise)
    queries, others = users[: arguments.queries], users[arguments.queries :]
    versions = "  ".join(f"{name} {version(name)}" for name in ("numpy", "faiss-cpu"))
    print(f"python {sys.version.split()[0]}  {versions}, one thread, load average {os.getloadavg()[0]:.1f}")
    print(
        f"{len(items):,} items from {len(vectors):,} x {items.shape[1]}-d, noise {arguments.noise}, {len(queries):,} queries"
    )
    start, wall = CPU(), time.perf_counter()
    built = IVFIndex.build(items, others)
    print(f"avrec: {built.num_cells} cells, {built.projection.width} of {items.shape[1]} coordinates, built in "
          f"{CPU() - start:.1f} CPU s ({time.perf_counter() - wall:.1f} s wall)")  # fmt: skip
    if arguments.build_only:
        return
    index, report = choose_index(items, others, kind="approximate", goals=Goals())
    print(f"choose_index: {report['approximate']}")
    peers = [list(faiss_settings(items))]
    if importlib.util.find_spec("usearch"):
        peers.append(list(usearch_settings(items)))
    assert isinstance(index, IVFIndex)
    race(arguments, index, peers, queries)


if __name__ == "__main__":
    main()
