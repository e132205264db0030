"""usearch behind the contract of `avrec.retrieval.index`: what another library has to add to meet it.

Its Python search takes no filter, so more is fetched than asked for and what may not be shown is dropped; queries that then
lack some are answered exactly. The scores are those of the stored vectors, whatever usearch compressed them to.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from usearch.index import Index as Graph

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import AvrecError
from avrec.retrieval.candidates import best_candidates
from avrec.retrieval.cell_lists import exact_scores
from avrec.retrieval.clusters import check_finite
from avrec.retrieval.exact import top_k
from avrec.retrieval.index import check_request
from avrec.retrieval.seen import Seen, is_seen, seen_of_rows


class UsearchIndex:
    """A graph over the item vectors, with the settings that its authors advise.

    Args:
        item_vectors: (N, D).
        tie_order: see `Index`.
        dtype: what usearch keeps of them: `f32`, `bf16`, `f16` or `i8`.
        expansion: candidates that a search keeps.
    """

    def __init__(
        self, item_vectors: Float32, tie_order: Int64 | None = None, dtype: str = "bf16", expansion: int = 64
    ) -> None:
        self.item_vectors = np.ascontiguousarray(item_vectors, np.float32)
        self.tie_order = tie_order
        self.expansion = expansion
        self.graph = Graph(ndim=item_vectors.shape[1], metric="ip", dtype=dtype, connectivity=16, expansion_add=128)
        self.graph.add(np.arange(len(item_vectors)), self.item_vectors, threads=1)

    @property
    def num_items(self) -> int:
        """Length N of the catalogue."""
        return len(self.item_vectors)

    def search(
        self, queries_BD: Float32, k: int, seen: Seen | None = None, allowed_N: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """See `Index.search`."""
        check_request(queries_BD, self.num_items, self.item_vectors.shape[1], seen, allowed_N)
        if k < 1:
            raise AvrecError(f"k is {k}; expected at least 1.")
        check_finite(queries_BD, "queries")
        share = 1.0 if allowed_N is None else max(float(allowed_N.mean()), 1 / self.num_items)
        longest = 0 if seen is None or len(queries_BD) == 0 else int(np.diff(seen[0]).max())
        count = min(self.num_items, round((k + longest) / share))
        queries = np.ascontiguousarray(queries_BD, np.float32)
        item_idx, scores = np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32)
        if len(queries) and count <= self.num_items // 4:
            self.graph.expansion_search = max(self.expansion, count)
            found = np.atleast_2d(self.graph.search(queries, count, threads=1).keys).astype(np.int64)
            exact = exact_scores(self.item_vectors, queries, found)
            if seen is not None:
                exact[is_seen(seen, found)] = -np.inf
            if allowed_N is not None:
                exact[~allowed_N[found]] = -np.inf
            item_idx, scores = best_candidates(found, exact, k, self.tie_order)
        rows = np.flatnonzero(item_idx[:, -1] < 0)
        if len(rows):
            part = None if seen is None else seen_of_rows(seen, rows)
            item_idx[rows], scores[rows] = top_k(queries[rows], self.item_vectors, k, part, allowed_N, self.tie_order)
        return item_idx, scores
