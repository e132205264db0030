"""Metrics of one user from the ranks of his targets, each a small object; a rank above the cutoff may be infinite.

Every metric is called with `ranks` (T,) and `indptr` (U + 1,), the targets of user u being `ranks[indptr[u]:indptr[u + 1]]`,
and returns one float64 a user, NaN where a user has no target. With one target a user recall is also called hit rate.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avrec.core.arrays import Bool, Float64, Int64


class Metric(Protocol):
    """One number a user from the ranks of his targets."""

    @property
    def name(self) -> str:
        """Such as `recall@20`."""
        ...

    def __call__(self, ranks: Float64, indptr: Int64) -> Float64:
        """(U,) the metric of each user."""
        ...


@dataclass(frozen=True)
class Recall:
    """The share of a user's targets that stand among the first k: `#{t: rank_t <= k} / T`.

    Example: targets at ranks 1, 4 and 30; two of three are among the first 20.
        >>> Recall(20)(np.array([1.0, 4.0, 30.0]), np.array([0, 3])).round(4).tolist()
        [0.6667]
    """

    cutoff: int

    @property
    def name(self) -> str:
        """`recall@k`."""
        return f"recall@{self.cutoff}"

    def __call__(self, ranks: Float64, indptr: Int64) -> Float64:
        """(U,) recall of each user."""
        return _per_target(_sums(ranks <= self.cutoff, indptr), np.diff(indptr))


@dataclass(frozen=True)
class NDCG:
    """Normalised discounted cumulative gain with gain 1 (Järvelin and Kekäläinen 2002).

    `sum over targets with rank_t <= k of 1 / log2(rank_t + 1)`, divided by the same sum for ranks 1, 2 ... min(T, k).
    A half rank of a tie is taken as it is.

    Example: targets at ranks 1 and 3: (1/log2 2 + 1/log2 4) / (1/log2 2 + 1/log2 3) = 1.5 / 1.6309.
        >>> NDCG(10)(np.array([1.0, 3.0]), np.array([0, 2])).round(4).tolist()
        [0.9197]
    """

    cutoff: int

    @property
    def name(self) -> str:
        """`ndcg@k`."""
        return f"ndcg@{self.cutoff}"

    def __call__(self, ranks: Float64, indptr: Int64) -> Float64:
        """(U,) NDCG of each user."""
        gains = np.where(ranks <= self.cutoff, 1 / np.log2(ranks + 1), 0.0)
        ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, self.cutoff + 2)))])
        counts = np.diff(indptr)
        return _per_target(_sums(gains, indptr), ideal[np.minimum(counts, self.cutoff)])


@dataclass(frozen=True)
class MRR:
    """The reciprocal rank of a user's best target, 0 if it stands behind k: `1 / min_t rank_t`.

    Example: two users, the first with targets at 4 and 9, the second with one at 30.
        >>> MRR(20)(np.array([4.0, 9.0, 30.0]), np.array([0, 2, 3])).tolist()
        [0.25, 0.0]
    """

    cutoff: int

    @property
    def name(self) -> str:
        """`mrr@k`."""
        return f"mrr@{self.cutoff}"

    def __call__(self, ranks: Float64, indptr: Int64) -> Float64:
        """(U,) reciprocal rank of each user."""
        best = np.full(len(indptr) - 1, np.inf)
        np.minimum.at(best, _rows(indptr), ranks)
        return np.where(np.diff(indptr) > 0, np.where(best <= self.cutoff, 1 / best, 0.0), np.nan)


def coverage(shown: Bool) -> float:
    """The share of the catalogue that stands in at least one user's list: `#{items shown} / N`.

    Args:
        shown: (N,) true for items that are among the first k of anybody's list.

    Example: three of four items were shown.
        >>> coverage(np.array([True, False, True, True]))
        0.75
    """
    return float(np.mean(shown))


def _rows(indptr: Int64) -> Int64:
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _sums(values: Float64 | Bool, indptr: Int64) -> Float64:
    sums: Float64 = np.bincount(_rows(indptr), weights=values, minlength=len(indptr) - 1).astype(np.float64)
    return sums


def _per_target(sums: Float64, divisors: Int64 | Float64) -> Float64:
    quotients: Float64 = np.divide(sums, divisors, out=np.full(len(sums), np.nan), where=divisors > 0)
    return quotients
