"""Candidates: the items that a batch's positives are scored against, and the probability of each to be among them.

Axes: B pairs in the batch, N candidate items (columns).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from avrec.core.arrays import Bool, Float64, Int64
from avrec.core.errors import ConfigError


@dataclass(frozen=True)
class Mined:
    """Candidates of which each pair takes those that the model scores highest at that moment.

    Attributes:
        mined: (N,) true for a candidate that takes part only where it is one of the `num_hard` hardest.
        inclusion: (N,) probability that a hard item takes part, by whichever way; `Drawn.inclusion` is that of one which
            is not hard.
        num_hard: of the mined candidates, for each pair.
    """

    mined: Bool
    inclusion: Float64
    num_hard: int


@dataclass(frozen=True)
class Drawn:
    """The candidates of one global batch.

    Attributes:
        items: (N,) distinct, sorted.
        inclusion: (N,) probability of each to be among them.
        own_column: the positives are not among `items`: each pair's own positive gets a column to itself, before the others.
        hard: which of them depend on the model's scores; None where none do.
    """

    items: Int64
    inclusion: Float64
    own_column: bool = False
    hard: Mined | None = None


class Candidates(Protocol):
    """What is scored against the positives, and how probable each item was to be there."""

    def draw(self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator) -> Drawn:
        """The candidates of a batch, `positives` among them unless each has a column of its own.

        Args:
            positives: (B,) of the global batch.
            log_miss: (num_items,) log of the probability that no pair of a batch of this size has the item as positive.
            item_counts: (num_items,) training events.
            rng: keyed by (seed, epoch, index).
        """
        ...


class FullCatalogue:
    """All trained items are candidates: the full softmax, right while the catalogue has up to some 50,000 items."""

    def draw(self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator) -> Drawn:
        """See `Candidates`; every probability is 1."""
        trained = np.flatnonzero(item_counts > 0)
        return Drawn(trained, np.ones(len(trained)))


class InBatch:
    """The positives of the whole batch are the candidates of every row; duplicates are merged."""

    def draw(self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator) -> Drawn:
        """See `Candidates`; `q_i = 1 - miss_i`."""
        items = np.unique(positives)
        return Drawn(items, -np.expm1(log_miss[items]))


class Proposal:
    """Draws of trained items, with replacement, in proportion to `count^power`.

    Its table is computed once for each catalogue, so a draw costs the same in a catalogue of any size.

    Args:
        power: 0 is uniform, 1 by popularity.
    """

    def __init__(self, power: float) -> None:
        self.power = power
        self._counts: Int64 | None = None

    def draw(self, number: int, item_counts: Int64, rng: np.random.Generator) -> Int64:
        """(number,) items."""
        self._learn(item_counts)
        drawn: Int64 = np.searchsorted(self._cumulative, rng.random(number) * self._cumulative[-1], side="right")
        return drawn

    def log_not_drawn(self, items: Int64, number: int) -> Float64:
        """(N,) log probability that none of `number` draws is the item."""
        log_miss: Float64 = number * np.log1p(-np.minimum(self._share[items], 1 - 1e-12))
        return log_miss

    def _learn(self, item_counts: Int64) -> None:
        if self._counts is not item_counts:
            weight = np.where(item_counts > 0, np.maximum(item_counts, 1).astype(np.float64) ** self.power, 0.0)
            self._share = weight / weight.sum()
            self._cumulative = np.cumsum(self._share)
            self._counts = item_counts


class SampledNegatives:
    """The batch's positives and a pool of negatives drawn once a batch, shared by all rows.

    With `popularity_power=0` these are mixed negatives (Yang et al. 2020, "Mixed negative sampling for learning two-tower
    neural networks in recommendations"): those of the batch are popular, those of the pool are uniform.

    Args:
        num_negatives: draws, with replacement, from trained items.
        popularity_power: a draw is proportional to `count^power`; 0 is uniform.
    """

    def __init__(self, num_negatives: int = 1024, popularity_power: float = 0.5) -> None:
        self.num_negatives = num_negatives
        self.proposal = Proposal(popularity_power)

    def draw(self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator) -> Drawn:
        """See `Candidates`; `q_i = 1 - miss_i (1 - p_i)^m` for m draws of probability p_i."""
        drawn = self.proposal.draw(self.num_negatives, item_counts, rng)
        items = np.unique(np.concatenate([positives, drawn]))
        return Drawn(items, -np.expm1(log_miss[items] + self.proposal.log_not_drawn(items, self.num_negatives)))


class SharedPool:
    """A pool of negatives drawn once a batch; the positive of each row stands beside it, for that row alone.

    The score matrix has one column and the pool, however many pairs the batch has: the cheap choice for large batches.

    Args:
        num_negatives: draws, with replacement, from trained items.
        popularity_power: a draw is proportional to `count^power`; 0 is uniform.
    """

    def __init__(self, num_negatives: int = 512, popularity_power: float = 0.5) -> None:
        self.num_negatives = num_negatives
        self.proposal = Proposal(popularity_power)

    def draw(self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator) -> Drawn:
        """See `Candidates`; `q_i = 1 - (1 - p_i)^m` for m draws of probability p_i."""
        items = np.unique(self.proposal.draw(self.num_negatives, item_counts, rng))
        return Drawn(items, -np.expm1(self.proposal.log_not_drawn(items, self.num_negatives)), own_column=True)


class HardNegatives:
    """In-batch and uniform negatives for every row, and of a larger pool only those that the model scores highest for the row.

    The pool is a uniform draw from the trained items, made anew for each batch, so what can be met as a hard negative does
    not depend on the model; what is hard is decided by the scores of the step itself, never by a stale index as in Xiong et
    al. (2021, ANCE). What the user knows, or nobody had met yet, is never hard.

    A softmax over these columns estimates the full one by strata: an item that is hard for a row takes part whenever it is
    drawn at all, any other only when it is drawn for all rows, and each is corrected by the log of that probability.

    Args:
        pool_size: draws of the pool, with replacement.
        num_hard: of the pool, for each row.
        num_uniform: further draws that every row is scored against.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(self, pool_size: int = 2048, num_hard: int = 64, num_uniform: int = 0) -> None:
        if not (0 < num_hard <= pool_size and num_uniform >= 0):
            raise ConfigError(
                f"candidates: num_hard is {num_hard}, pool_size {pool_size} and num_uniform {num_uniform}; expected "
                "1 <= num_hard <= pool_size and num_uniform >= 0. Draw a larger pool or keep fewer of it."
            )
        self.pool_size = pool_size
        self.num_hard = num_hard
        self.num_uniform = num_uniform
        self.proposal = Proposal(0.0)

    def draw(self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator) -> Drawn:
        """See `Candidates`; `q_i = 1 - miss_i (1 - p_i)^m`, with the uniform draws as m, for a hard item those of the pool too."""
        drawn = self.proposal.draw(self.num_uniform + self.pool_size, item_counts, rng)
        for_all = np.unique(np.concatenate([positives, drawn[: self.num_uniform]]))
        items = np.unique(np.concatenate([for_all, drawn]))
        inclusion, inclusion_if_hard = (
            -np.expm1(log_miss[items] + self.proposal.log_not_drawn(items, number))
            for number in (self.num_uniform, len(drawn))
        )
        return Drawn(items, inclusion, hard=Mined(~np.isin(items, for_all), inclusion_if_hard, self.num_hard))
