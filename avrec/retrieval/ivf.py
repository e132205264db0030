"""`IVFIndex`: approximate maximum-inner-product search, by FAISS for the scan and by exact scores for the lists.

Axes: B queries, N items, D embedding, R reduced width, L cells, C candidates, k length of the lists.
"""

import copy
import math
from collections.abc import Iterator

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import AvrecError
from avrec.retrieval.candidates import best_candidates
from avrec.retrieval.cell_lists import CellLists, exact_scores
from avrec.retrieval.clusters import check_finite, k_means, nearest
from avrec.retrieval.exact import top_k
from avrec.retrieval.index import check_request
from avrec.retrieval.projection import Projection
from avrec.retrieval.seen import Seen, is_seen, seen_of_rows

BLOCK_ROWS = 65_536  # items that are projected at a time
QUERIES_PER_BLOCK = 4_096
TUNED_FOR = 100  # lists up to this length are covered by the chosen number of cells; longer ones probe more
SPARE = 10  # candidates beyond half of k that are scored again, since the scan's scores are rounded
FETCH_FROM, FETCH_STEP = 16, 4  # queries are grouped by how many seen items they have: up to 16, 64, 256 ...
FILTER_MARGIN = 2  # a cell's centre speaks for all of its items, the allowed ones may be its worst
EXACT_SHARE = 0.5  # where this share of what may be shown would be scanned, scoring all of it is faster


class IVFIndex:
    """An inverted file over cells of similar scores.

    Items and queries are projected (see `Projection`) and stored in half precision in the cell of their nearest centre. A
    search scans the `nprobe` cells whose centres score best, and scores the best candidates again with the vectors
    themselves, which may be memory-mapped. Inverted files, since on trained vectors they built 2 to 10 times faster than
    graphs and take filters into the scan. Cells in the metric of the queries, since users are no neighbours of items: with
    cells of the vectors as they are, k-means by distance, by angle or with a coordinate for the length (the three usual
    ways for inner products) needed 1.2 to 3 times the time for the same recall.

    Filters: what may not be shown is never a candidate. Cells without an allowed item are not probed, and so many others
    are that as many allowed items are scanned as without a filter. Few allowed items are scored exactly, and so is every
    query that still lacks some: a list is shorter than k only when no more may be shown.

    Args:
        item_vectors: (N, D) float32, possibly memory-mapped.
        tie_order: see `Index`.
        projection: of items and queries.
        centres_LR: one for each cell.
        cell_N: the cell of each item.
        nprobe: cells scanned for lists up to 100.
    """

    def __init__(
        self,
        item_vectors: Float32,
        tie_order: Int64 | None,
        projection: Projection,
        centres_LR: Float32,
        cell_N: Int64,
        nprobe: int = 32,
    ) -> None:
        self.item_vectors = np.ascontiguousarray(item_vectors, np.float32)  # a view of a memory map stays one
        self._tie_order = tie_order
        self.projection = projection
        self.centres_LR = centres_LR
        self.cell_N = np.ascontiguousarray(cell_N, np.int64)
        self.nprobe = nprobe
        self._sizes_L = np.bincount(self.cell_N, minlength=self.num_cells)
        self._lists = CellLists(centres_LR, self._blocks())

    def _blocks(self) -> Iterator[tuple[Float32, Int64]]:
        for start in range(0, self.num_items, BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            yield self.projection.items(self.item_vectors[rows]), self.cell_N[rows]

    @classmethod
    def build(
        cls,
        item_vectors: Float32,
        queries_QD: Float32,
        tie_order: Int64 | None = None,
        num_cells: int | None = None,
        seed: int = 0,
    ) -> "IVFIndex":
        """Learn projection and cells.

        Args:
            item_vectors: (N, D).
            queries_QD: vectors of real users; some thousands are plenty.
            tie_order: see `Index`.
            num_cells: L; 4 sqrt(N) when None, the lower end of what FAISS advises.
            seed: of samples and initial centres.

        Raises:
            AvrecError: a vector is not finite or there are no queries.
            MissingExtraError: the extra `index` is not installed.
        """
        if len(queries_QD) == 0 or len(item_vectors) == 0:
            raise AvrecError(f"IVFIndex: {len(item_vectors)} items, {len(queries_QD)} queries; expected some of both.")
        check_finite(queries_QD, "queries")
        for start in range(0, len(item_vectors), BLOCK_ROWS):
            check_finite(item_vectors[start : start + BLOCK_ROWS], f"item_vectors from {start}")
        num_cells = min(num_cells or round(4 * math.sqrt(len(item_vectors))), len(item_vectors))
        projection = Projection.fit(item_vectors, queries_QD, seed=seed)
        reduced = np.empty((len(item_vectors), projection.width), np.float32)
        for start in range(0, len(reduced), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            reduced[rows] = projection.items(item_vectors[rows])
        centres, cell = k_means(reduced, num_cells, seed)
        return cls(item_vectors, tie_order, projection, centres, cell)

    def probing(self, nprobe: int) -> "IVFIndex":
        """The same index with another number of cells scanned; memory is shared."""
        other = copy.copy(self)
        other.nprobe = nprobe
        return other

    def extended(self, item_vectors: Float32, changed: Int64, tie_order: Int64 | None = None) -> "IVFIndex":
        """The same cells over a newer table, without learning anything anew.

        Args:
            item_vectors: (N' >= N, D).
            changed: items whose vectors differ from before, besides those from N on.
            tie_order: (N',); see `Index`.
        """
        cell = np.zeros(len(item_vectors), np.int64)
        cell[: self.num_items] = self.cell_N
        moved = np.union1d(changed, np.arange(self.num_items, len(item_vectors)))
        if len(moved):
            check_finite(item_vectors[moved], "changed item_vectors")
            cell[moved] = nearest(self.centres_LR, self.projection.items(item_vectors[moved]))
        return IVFIndex(item_vectors, tie_order, self.projection, self.centres_LR, cell, self.nprobe)

    @property
    def num_items(self) -> int:
        """Length N of the catalogue."""
        return len(self.item_vectors)

    @property
    def num_cells(self) -> int:
        """L."""
        return len(self.centres_LR)

    @property
    def tie_order(self) -> Int64 | None:
        """See `Index`."""
        return self._tie_order

    def search(
        self, queries_BD: Float32, k: int, seen: Seen | None = None, allowed_N: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """See `Index.search`."""
        check_request(queries_BD, self.num_items, self.item_vectors.shape[1], seen, allowed_N)
        if k < 1:
            raise AvrecError(f"k is {k}; expected at least 1.")
        check_finite(queries_BD, "queries")
        queries = np.ascontiguousarray(queries_BD, np.float32)
        item_idx = np.full((len(queries), k), -1, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        filters, sizes_L = self._filters(allowed_N)
        for rows, extra in _groups(len(queries), k, seen):
            num_probes = self._num_probes(k + extra, sizes_L)
            for start in range(0, len(rows) if num_probes else 0, QUERIES_PER_BLOCK):
                block = rows[start : start + QUERIES_PER_BLOCK]
                count = k + extra + max(SPARE, k // 2)
                found = self._lists.scan(self.projection.queries(queries[block]), count, num_probes, filters)
                exact = exact_scores(self.item_vectors, queries[block], found)
                if seen is not None and extra:
                    exact[is_seen(seen_of_rows(seen, block), found)] = -np.inf
                item_idx[block], scores[block] = best_candidates(found, exact, k, self._tie_order)
        self._complete(queries, seen, allowed_N, item_idx, scores)
        return item_idx, scores

    def _filters(self, allowed_N: Bool | None) -> tuple[tuple[Bool, Bool] | None, Int64]:
        """The masks of items and of cells that may be scanned, and the number of allowed items in each cell (L,)."""
        if allowed_N is None:
            return None, self._sizes_L
        sizes_L = np.bincount(self.cell_N.take(np.flatnonzero(allowed_N)), minlength=self.num_cells)
        return (allowed_N, sizes_L > 0), sizes_L

    def _num_probes(self, length: int, sizes_L: Int64) -> int:
        """Cells to scan for lists of this length, or 0 where the exact product is faster.

        Args:
            length: of the list, items to be dropped included.
            sizes_L: allowed items in each cell.
        """
        scanned = self.nprobe * self.num_items / self.num_cells * max(1.0, length / TUNED_FOR)
        num_allowed, num_filled = int(sizes_L.sum()), int(np.count_nonzero(sizes_L))
        if num_allowed < self.num_items:
            scanned *= FILTER_MARGIN
        if scanned >= EXACT_SHARE * num_allowed:
            return 0
        return min(num_filled, math.ceil(scanned * num_filled / num_allowed))

    def _complete(
        self, queries: Float32, seen: Seen | None, allowed_N: Bool | None, item_idx: Int64, scores: Float32
    ) -> None:
        """Answer exactly, in place, each query whose list is short."""
        rows = np.flatnonzero(item_idx[:, -1] < 0)
        if len(rows):
            part = None if seen is None else seen_of_rows(seen, rows)
            found = top_k(queries[rows], self.item_vectors, item_idx.shape[1], part, allowed_N, self._tie_order)
            item_idx[rows], scores[rows] = found


def _groups(num_queries: int, k: int, seen: Seen | None) -> Iterator[tuple[Int64, int]]:
    """Rows of queries, and how many more candidates they need so that none of their seen items costs a place.

    A user's own items score best of all, so each of them is expected among the candidates. Users with short histories must
    not pay for one with a long history.
    """
    lengths = np.zeros(num_queries, np.int64) if seen is None else np.diff(seen[0])
    steps = np.ceil(np.log(np.maximum(lengths, FETCH_FROM) / FETCH_FROM) / math.log(FETCH_STEP)).astype(np.int64)
    steps[lengths == 0] = -1
    for step in np.unique(steps):
        yield np.flatnonzero(steps == step), 0 if step < 0 else FETCH_FROM * FETCH_STEP ** int(step)
