"""Filters inside the search: recall and time at any selectivity, beside exact search among the same items.

python benchmarks/filters.py BUNDLE                       # 100,000 items from a bundle's vectors, its users as queries
python benchmarks/filters.py BUNDLE --dim 65 --items 1000000

Filters keep 50 %, 5 % and 0.1 % of the items at random, half of the cells of the index (as a tag would), the half that users
like least (the worst case for cells, whose centres speak for all of their items), and all but each user's own 50 best. The
index is the one that `choose_index` takes. CPU seconds on one thread are the ones to trust.
"""

import argparse
import os
import statistics
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from index_vectors import bundle_vectors, repeated

from avrec.core.arrays import Bool, Float32
from avrec.retrieval.choose import choose_index, recall
from avrec.retrieval.index import ExactIndex, Index
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.seen import Seen

CPU = time.process_time


def filters(items: Float32, queries: Float32, index: IVFIndex) -> dict[str, tuple[Seen | None, Bool | None]]:
    """What each query may be shown, by a name for it."""
    rng = np.random.default_rng(0)
    found: dict[str, tuple[Seen | None, Bool | None]] = {"none": (None, None)}
    for share in (0.5, 0.05, 0.001):
        found[f"{share:.1%} at random"] = None, rng.random(len(items)) < share
    found["half of the cells"] = None, (rng.random(index.num_cells) < 0.5)[index.cell_N]
    liked = items @ queries.mean(axis=0)
    found["the less liked half"] = None, liked < np.median(liked)
    best, _ = ExactIndex(items).search(queries, 50)
    seen = np.arange(len(queries) + 1) * 50, best.ravel()
    found["50 seen by each user"] = seen, None
    found["50 seen, 50 % at random"] = seen, rng.random(len(items)) < 0.5
    return found


def spent(index: Index, queries: Float32, k: int, seen: Seen | None, allowed: Bool | None) -> tuple[float, float]:
    """CPU milliseconds a query, in a batch (median of 3) and alone (median of 30)."""
    batch, alone = [], []
    for _ in range(3):
        start = CPU()
        index.search(queries, k, seen, allowed)
        batch.append(1e3 * (CPU() - start) / len(queries))
    for row in range(30):
        own = (
            None if seen is None else (seen[0][row : row + 2] - seen[0][row], seen[1][seen[0][row] : seen[0][row + 1]])
        )
        start = CPU()
        index.search(queries[row : row + 1], k, own, allowed)
        alone.append(1e3 * (CPU() - start))
    return statistics.median(batch), statistics.median(alone)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int)
    parser.add_argument("--noise", type=float, default=0.3)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--k", type=int, default=20)
    arguments = parser.parse_args()
    vectors, users = bundle_vectors(arguments.bundle, arguments.dim)
    items = repeated(vectors, arguments.items, arguments.noise)
    queries = users[: arguments.queries]
    index, _ = choose_index(items, users[arguments.queries :], kind="approximate")
    assert isinstance(index, IVFIndex)
    exact = ExactIndex(items)
    print(f"{len(items):,} items x {items.shape[1]}-d, {index.nprobe} of {index.num_cells} cells, k = {arguments.k}, load "
          f"average {os.getloadavg()[0]:.1f}, python {sys.version.split()[0]}")  # fmt: skip
    print(f"{'filter':26}  recall  full lists   batch: exact  index CPU ms   alone: exact  index CPU ms")
    for name, (seen, allowed) in filters(items, queries, index).items():
        true, _ = exact.search(queries, arguments.k, seen, allowed)
        found, _ = index.search(queries, arguments.k, seen, allowed)
        full = ((found >= 0).sum(axis=1) == (true >= 0).sum(axis=1)).mean()
        times = [spent(one, queries, arguments.k, seen, allowed) for one in (exact, index)]
        print(f"{name:26}{recall(found, true):8.4f}{full:12.1%}{times[0][0]:15.3f}{times[1][0]:14.3f}"
              f"{times[0][1]:15.2f}{times[1][1]:14.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
