"""The contract of every index, and exact search behind it.

Axes: B queries, N items, D embedding, k length of the lists.
"""

from typing import Protocol

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import AvrecError
from avrec.retrieval.exact import top_k
from avrec.retrieval.seen import Seen


class Index(Protocol):
    """Finds the items with the largest inner product.

    Whoever wraps another library keeps three promises: filters act *inside* the search, so a list is shorter than k only
    when fewer items may be shown; scores are the inner products of the stored vectors, not of compressed ones; of items
    with equal scores the one with the smaller tie number comes first.
    """

    @property
    def num_items(self) -> int:
        """Length N of the catalogue."""

    @property
    def tie_order(self) -> Int64 | None:
        """(N,) distinct numbers, of equal scores the smaller comes first; None for the index itself."""

    def search(
        self, queries_BD: Float32, k: int, seen: Seen | None = None, allowed_N: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """The k best items for each query, best first.

        Args:
            queries_BD: one vector for each query.
            k: length of the lists.
            seen: (indptr (B + 1,), item_idx (E,)): items that query b is not shown, `item_idx[indptr[b]:indptr[b + 1]]`.
            allowed_N: true for the items that anybody may be shown; all when None.

        Returns:
            item_idx (B, k) and scores (B, k); where fewer than k items remain the rest is -1 and -inf.

        Raises:
            AvrecError: k is below 1, a shape does not fit, or a score is not finite.
        """


class ExactIndex:
    """Exact search: every item's score is computed.

    Args:
        item_vectors: (N, D), possibly memory-mapped.
        tie_order: see `Index`.
    """

    def __init__(self, item_vectors: Float32, tie_order: Int64 | None = None) -> None:
        self.item_vectors = item_vectors
        self._tie_order = tie_order

    @property
    def num_items(self) -> int:
        """Length N of the catalogue."""
        return len(self.item_vectors)

    @property
    def tie_order(self) -> Int64 | None:
        """See `Index`."""
        return self._tie_order

    def search(
        self, queries_BD: Float32, k: int, seen: Seen | None = None, allowed_N: Bool | None = None
    ) -> tuple[Int64, Float32]:
        """See `Index.search`."""
        check_request(queries_BD, self.num_items, self.item_vectors.shape[1], seen, allowed_N)
        return top_k(queries_BD, self.item_vectors, k, seen, allowed_N, self._tie_order)


def check_request(
    queries_BD: Float32, num_items: int, dim: int, seen: Seen | None = None, allowed_N: Bool | None = None
) -> None:
    """Compare the shapes of a request with the catalogue.

    Raises:
        AvrecError: they do not fit, or `allowed_N` holds other than booleans.
    """
    if queries_BD.ndim != 2 or queries_BD.shape[1] != dim:
        raise AvrecError(f"search: queries of shape {queries_BD.shape}; expected (B, {dim}), the width of the items.")
    if allowed_N is not None and (allowed_N.shape != (num_items,) or allowed_N.dtype != np.bool_):
        raise AvrecError(
            f"search: allowed is {allowed_N.dtype} {allowed_N.shape}; expected bool ({num_items},), one for each item."
        )
    if seen is not None and (len(seen[0]) != len(queries_BD) + 1 or seen[0][-1] != len(seen[1])):
        raise AvrecError(
            f"search: seen has {len(seen[0]) - 1} rows ending at {seen[0][-1]} of {len(seen[1])} items; expected a row "
            f"for each of {len(queries_BD)} queries and its end at the last item."
        )
