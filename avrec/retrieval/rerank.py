"""`Reranking`: a user's best items put in another order, for lists that are more varied or fresher.

Axes: B users, C candidates of each, N items, W width of the vectors, k length of the lists.
"""

from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Float64, Int64
from avrec.core.errors import AvrecError, ConfigError
from avrec.core.query import SECONDS_PER_DAY

BLOCK_BYTES = 32 * 2**20  # of gathered vectors


@dataclass(frozen=True)
class Reranking:
    """How a user's best `pool` items become a list.

    The relevance `r` of a candidate is its score, put linearly between 0 for the user's last and 1 for his first one. With
    freshness it becomes `(1 - w) r + w 2^(-age / half-life)`. Then items are picked one after another by maximal marginal
    relevance (Carbonell and Goldstein 1998): the next is `argmax_i lambda r_i - (1 - lambda) max_j cos(i, j)` over what was
    picked before, and of equal ones the more relevant. `mmr_lambda` 1 and `fresh_weight` 0 leave the order as it is.

    Attributes:
        mmr_lambda: lambda, from 1 (relevance alone) to 0 (diversity alone, beginning with the most relevant).
        fresh_weight: w, from 0 (relevance alone) to 1 (age alone).
        half_life_days: the age at which freshness has fallen to one half.
        pool: how many candidates a list is made from; where a longer list is asked for, as many as that.
        by: whose cosine makes two items alike: `content`, `taste`, or None for content where the model reads any.

    Raises:
        ConfigError: a number is out of its range, or `by` is something else.
    """

    mmr_lambda: float = 1.0
    fresh_weight: float = 0.0
    half_life_days: float = 30.0
    pool: int = 200
    by: str | None = None

    def __post_init__(self) -> None:
        for name in ("mmr_lambda", "fresh_weight"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"rerank: {name} is {value!r}; expected a number from 0 to 1.")
        if not self.half_life_days > 0:
            raise ConfigError(f"rerank: half_life_days is {self.half_life_days!r}; expected a positive number of days.")
        if self.pool < 1:
            raise ConfigError(f"rerank: pool is {self.pool!r}; expected at least 1 candidate.")
        if self.by not in (None, "content", "taste"):
            raise ConfigError(f"rerank: by is {self.by!r}; expected content, taste or null.")

    @property
    def needs_vectors(self) -> bool:
        """Whether items are compared with one another."""
        return self.mmr_lambda < 1

    @property
    def needs_ages(self) -> bool:
        """Whether the age of items counts."""
        return self.fresh_weight > 0

    @property
    def changes(self) -> bool:
        """Whether any list can come out in another order than it came in."""
        return self.needs_vectors or self.needs_ages

    def __call__(
        self,
        item_idx_BC: Int64,
        scores_BC: Float32,
        k: int,
        unit_vectors_NW: Float32 | None = None,
        age_days_BC: Float64 | None = None,
    ) -> tuple[Int64, Float32]:
        """The lists.

        Args:
            item_idx_BC: candidates, best first; -1 for none.
            scores_BC: falling; -inf where there is no candidate.
            k: length of the lists.
            unit_vectors_NW: of unit length or zero, see `unit_vectors`; an item without a vector resembles nothing.
            age_days_BC: not negative.

        Returns:
            item_idx (B, k) and their unchanged scores (B, k); -1 and -inf where a user has fewer candidates.

        Raises:
            AvrecError: k is below 1, or vectors or ages are needed and not given.
        """
        if k < 1:
            raise AvrecError(f"k is {k}; expected at least 1.")
        if self.needs_vectors and unit_vectors_NW is None:
            raise AvrecError(f"rerank: mmr_lambda is {self.mmr_lambda}, but there are no vectors to compare items by.")
        if self.needs_ages and age_days_BC is None:
            raise AvrecError(f"rerank: fresh_weight is {self.fresh_weight}, but the age of the items is not known.")
        relevance_BC = _relevance(scores_BC)
        if age_days_BC is not None and self.needs_ages:
            there_BC = ~np.isneginf(relevance_BC)
            fresh_BC = self.fresh_weight * np.exp2(-age_days_BC / self.half_life_days)
            mixed_BC = (1 - self.fresh_weight) * np.where(there_BC, relevance_BC, 0.0) + fresh_BC
            relevance_BC = np.where(there_BC, mixed_BC, -np.inf)
        order = np.argsort(-relevance_BC, axis=1, kind="stable")
        if unit_vectors_NW is not None and self.needs_vectors:
            sorted_idx = np.take_along_axis(item_idx_BC, order, axis=1)
            sorted_relevance = np.take_along_axis(relevance_BC, order, axis=1).astype(np.float32)
            places = marginal_order(sorted_idx, sorted_relevance, unit_vectors_NW, self.mmr_lambda, k)
            order = np.take_along_axis(order, places, axis=1)
        return _lists(item_idx_BC, scores_BC, order[:, :k], k)


def marginal_order(
    item_idx_BC: Int64, relevance_BC: Float32, unit_vectors_NW: Float32, mmr_lambda: float, k: int
) -> Int64:
    """Places (B, min(k, C)) of the candidates in the order in which maximal marginal relevance picks them.

    Args:
        item_idx_BC: candidates by falling relevance; -1 for none, at the end.
        relevance_BC: -inf where there is no candidate.
        unit_vectors_NW: of unit length or zero.
        mmr_lambda: see `Reranking`.
        k: how many to pick.
    """
    num_rows, width = item_idx_BC.shape
    kept = min(k, width)
    picked = np.zeros((num_rows, kept), np.int64)
    step = max(1, BLOCK_BYTES // (4 * max(width * unit_vectors_NW.shape[1], 1)))
    for start in range(0, num_rows, step):
        rows = slice(start, start + step)
        vectors_BCW = unit_vectors_NW[np.maximum(item_idx_BC[rows], 0)]
        picked[rows] = _picked(vectors_BCW, relevance_BC[rows], mmr_lambda, kept)
    return picked


def _picked(vectors_BCW: Float32, relevance_BC: Float32, mmr_lambda: float, kept: int) -> Int64:
    every = np.arange(len(vectors_BCW))
    places = np.zeros((len(vectors_BCW), kept), np.int64)  # the most relevant one is picked first, whatever lambda is
    with np.errstate(invalid="ignore"):  # 0 x -inf where there is no candidate
        wanted_BC = np.where(np.isneginf(relevance_BC), -np.inf, np.float32(mmr_lambda) * relevance_BC)
    nearest_BC = np.full(relevance_BC.shape, -np.inf, np.float32)
    closed_BC = np.zeros(relevance_BC.shape, np.bool_)
    for turn in range(1, kept):
        last = places[:, turn - 1]
        closed_BC[every, last] = True
        cosine_BC = np.matmul(vectors_BCW, vectors_BCW[every, last][:, :, None])[:, :, 0]
        np.maximum(nearest_BC, cosine_BC, out=nearest_BC)
        value_BC = wanted_BC - np.float32(1 - mmr_lambda) * nearest_BC
        # What was picked stands behind what is no candidate, so that a short list goes on with those, never twice with one.
        value_BC[closed_BC] = -np.inf
        none_left = np.isneginf(value_BC).all(axis=1)
        places[:, turn] = np.where(none_left, np.argmin(closed_BC, axis=1), np.argmax(value_BC, axis=1))
    return places


def unit_vectors(vectors: Float32) -> Float32:
    """The rows (N, W) at unit length; a row of zeros stays."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: Float32 = (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
    return unit


def age_days(since_sec_N: Float64, item_idx_BC: Int64, now_sec_B: Float64, ahead_days: float = 0.0) -> Float64:
    """(B, C) how old the candidates are when each question is asked.

    Args:
        since_sec_N: when each item was first there, seconds since 1970; infinite for never.
        item_idx_BC: candidates; -1 for none, whose age means nothing.
        now_sec_B: when each question is asked.
        ahead_days: the age of an item whose time has not come: 0 for one that nobody has met yet, infinite for one that is
            known not to be out.
    """
    age_BC = (now_sec_B[:, None] - since_sec_N[item_idx_BC]) / SECONDS_PER_DAY
    return np.where(age_BC < 0, ahead_days, age_BC)


def _relevance(scores_BC: Float32) -> Float64:
    """Scores between 0 and 1 for each user, 1 where all are equal, -inf where there is no candidate."""
    there = ~np.isneginf(scores_BC)
    scores = scores_BC.astype(np.float64)
    top = np.max(scores, axis=1, initial=-np.inf, keepdims=True)
    low = np.min(scores, axis=1, initial=np.inf, where=there, keepdims=True)
    with np.errstate(invalid="ignore"):  # a user without any candidate
        span = top - low
        relevance = np.where(span > 0, (scores - low) / np.where(span > 0, span, 1.0), 1.0)
    return np.where(there, relevance, -np.inf)


def _lists(item_idx_BC: Int64, scores_BC: Float32, order_Bk: Int64, k: int) -> tuple[Int64, Float32]:
    item_idx = np.full((len(order_Bk), k), -1, np.int64)
    scores = np.full((len(order_Bk), k), -np.inf, np.float32)
    width = order_Bk.shape[1]
    scores[:, :width] = np.take_along_axis(scores_BC, order_Bk, axis=1)
    item_idx[:, :width] = np.take_along_axis(item_idx_BC, order_Bk, axis=1)
    item_idx[np.isneginf(scores)] = -1
    return item_idx, scores
