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


@dataclass(frozen=True)
class AveragePrecision:
    """The precision at each target that is hit, summed and divided by the number of targets (trec_eval's `map_cut_k`).

    `1/T sum over targets with rank_t <= k of n_t / rank_t`, n_t counting the user's targets from the top down to t. As in a
    rank, a tie counts half in n_t: of two targets that tie with each other alone both have rank 1.5 and n = 1.5, which is
    perfect. The mean over users is MAP.

    Example: targets at ranks 1, 4 and 30: (1/1 + 2/4) / 3.
        >>> AveragePrecision(20)(np.array([4.0, 1.0, 30.0]), np.array([0, 3])).tolist()
        [0.5]
    """

    cutoff: int

    @property
    def name(self) -> str:
        """`map@k`."""
        return f"map@{self.cutoff}"

    def __call__(self, ranks: Float64, indptr: Int64) -> Float64:
        """(U,) average precision of each user."""
        hit = ranks <= self.cutoff
        row, rank = _rows(indptr)[hit], ranks[hit]
        order = np.lexsort((rank, row))
        row, rank = row[order], rank[order]
        new_user = np.concatenate([[True], row[1:] != row[:-1]])[: len(row)]
        new_rank = new_user | np.concatenate([[True], rank[1:] != rank[:-1]])[: len(row)]
        tied = np.diff(np.append(np.flatnonzero(new_rank), len(row)))[np.cumsum(new_rank) - 1]
        count = 1 + _starts(new_rank) - _starts(new_user) + (tied - 1) / 2
        sums = np.bincount(row, weights=count / rank, minlength=len(indptr) - 1)
        return _per_target(np.asarray(sums, np.float64), np.diff(indptr))


@dataclass(frozen=True)
class HitRate:
    """Whether any of a user's targets stands among the first k: 1 or 0; his recall where he has one target.

    Example: two users, the first with targets at 4 and 30, the second with one at 30.
        >>> HitRate(20)(np.array([4.0, 30.0, 30.0]), np.array([0, 2, 3])).tolist()
        [1.0, 0.0]
    """

    cutoff: int

    @property
    def name(self) -> str:
        """`hit_rate@k`."""
        return f"hit_rate@{self.cutoff}"

    def __call__(self, ranks: Float64, indptr: Int64) -> Float64:
        """(U,) 1 for a hit, 0 for none."""
        hits = np.asarray(_sums(ranks <= self.cutoff, indptr) > 0, np.float64)
        return np.where(np.diff(indptr) > 0, hits, np.nan)


def coverage(shown: Bool) -> float:
    """The share of the catalogue that stands in at least one user's list: `#{items shown} / N`.

    Args:
        shown: (N,) true for items that are among the first k of anybody's list.

    Example: three of four items were shown.
        >>> coverage(np.array([True, False, True, True]))
        0.75
    """
    return float(np.mean(shown))


def gini(shown: Int64) -> float:
    """How unequally the lists are spread over the catalogue (Shani and Gunawardana 2011, equation 8.13).

    `1 / (N - 1) sum_j (2j - N - 1) p_j`, p_j being the j-th smallest share of all places in the lists; 0 if every item
    stands in as many lists as any other, 1 if one item fills them all.

    Args:
        shown: (N,) in how many lists each item stands.

    Returns:
        NaN where nothing was shown or the catalogue holds one item.

    Example: shares 0, 0, 1/4, 3/4: (1 x 1/4 + 3 x 3/4) / 3.
        >>> round(gini(np.array([3, 0, 1, 0])), 4)
        0.8333
    """
    num_items, places = len(shown), int(shown.sum())
    if places == 0 or num_items < 2:
        return float("nan")
    weight = 2 * np.arange(1, num_items + 1) - num_items - 1
    return float(np.sort(shown) @ weight / places / (num_items - 1))


def _rows(indptr: Int64) -> Int64:
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _starts(new: Bool) -> Int64:
    """For each place the last one up to it where `new` is true; the first must be."""
    starts: Int64 = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
    return starts


def _sums(values: Float64 | Bool, indptr: Int64) -> Float64:
    sums: Float64 = np.bincount(_rows(indptr), weights=values, minlength=len(indptr) - 1).astype(np.float64)
    return sums


def _per_target(sums: Float64, divisors: Int64 | Float64) -> Float64:
    quotients: Float64 = np.divide(sums, divisors, out=np.full(len(sums), np.nan), where=divisors > 0)
    return quotients
