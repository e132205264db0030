"""Candidates: the items that a batch's positives are scored against, and the probability of each to be among them.

Axes: B pairs in the batch, N candidate items (columns).
"""

from typing import Protocol

import numpy as np

from avrec.core.arrays import Float64, Int64


class Candidates(Protocol):
    """What is scored against the positives, and how probable each item was to be there."""

    def draw(
        self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator
    ) -> tuple[Int64, Float64]:
        """Distinct sorted candidates (N,) that contain `positives`, and their inclusion probabilities (N,).

        Args:
            positives: (B,) of the global batch.
            log_miss: (num_items,) log of the probability that no pair of a batch of this size has the item as positive.
            item_counts: (num_items,) training events.
            rng: keyed by (seed, epoch, index).
        """
        ...


class FullCatalogue:
    """All trained items are candidates: the full softmax, right while the catalogue has up to some 50,000 items."""

    def draw(
        self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator
    ) -> tuple[Int64, Float64]:
        """See `Candidates`; every probability is 1."""
        trained = np.flatnonzero(item_counts > 0)
        return trained, np.ones(len(trained))


class InBatch:
    """The positives of the whole batch are the candidates of every row; duplicates are merged."""

    def draw(
        self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator
    ) -> tuple[Int64, Float64]:
        """See `Candidates`; `q_i = 1 - miss_i`."""
        items = np.unique(positives)
        return items, -np.expm1(log_miss[items])


class SampledNegatives:
    """The batch's positives and a pool of negatives drawn once a batch, shared by all rows.

    Args:
        num_negatives: draws, with replacement, from trained items.
        popularity_power: a draw is proportional to `count^power`; 0 is uniform.
    """

    def __init__(self, num_negatives: int = 1024, popularity_power: float = 0.5) -> None:
        self.num_negatives = num_negatives
        self.popularity_power = popularity_power

    def draw(
        self, positives: Int64, log_miss: Float64, item_counts: Int64, rng: np.random.Generator
    ) -> tuple[Int64, Float64]:
        """See `Candidates`; `q_i = 1 - miss_i (1 - p_i)^m` for m draws of probability p_i."""
        proposal = np.where(
            item_counts > 0, np.maximum(item_counts, 1).astype(np.float64) ** self.popularity_power, 0.0
        )
        proposal /= proposal.sum()
        cumulative = np.cumsum(proposal)
        drawn = np.searchsorted(cumulative, rng.random(self.num_negatives) * cumulative[-1], side="right")
        items = np.unique(np.concatenate([positives, drawn]))
        log_not_drawn = self.num_negatives * np.log1p(-np.minimum(proposal[items], 1 - 1e-12))
        return items, -np.expm1(log_miss[items] + log_not_drawn)
