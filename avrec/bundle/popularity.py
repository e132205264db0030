"""`Popularity`: the answer for whom nothing is known: what most people met.

Axes: N items, E hidden items.
"""

from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Int64


@dataclass(frozen=True)
class Popularity:
    """Items by training events, most first; ties as everywhere.

    Attributes:
        evidence: (N,) training events.
        order: (N,) item_idx, the most popular first.
        rank: (N,) place of each item in `order`.
    """

    evidence: Float32
    order: Int64
    rank: Int64

    @classmethod
    def of(cls, evidence: Float32, tie_order: Int64) -> "Popularity":
        """Sort the catalogue once."""
        order = np.lexsort((tie_order, -evidence))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return cls(np.asarray(evidence), order, rank)

    def top(self, k: int, hidden: Int64, only: Int64 | None) -> tuple[Int64, Float32]:
        """At most k item_idx that are not hidden, of `only` where it is given, and their training events."""
        order = self.order[: k + len(hidden)] if only is None else only[np.argsort(self.rank[only])]
        best = order[~np.isin(order, hidden)][:k]
        return best, self.evidence[best]
