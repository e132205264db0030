"""Samplers make batches of (user, positive item) pairs and own the probabilities of what they draw.

Every batch is a pure function of (seed, epoch, index): any number of ranks sees the same global batch, of which a rank
takes every world-size-th row, and a run resumes in the middle of an epoch without repeating or skipping a pair.

Axes: B pairs in the batch, L history length, N candidate items (columns).
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.interactions import Interactions
from avrec.core.order import generator
from avrec.core.query import SECONDS_PER_DAY


@dataclass(frozen=True)
class Batch:
    """One rank's part of a global batch.

    Attributes:
        user_idx: (B,) user of each pair.
        positive: (B,) the item to be found.
        history_idx: (B, L) items known of the user, never the positive; 0 where `history_mask` is false.
        history_weight: (B, L) strength of each event.
        history_age_days: (B, L) age at the time of the positive; 0 without timestamps.
        history_mask: (B, L) true where there is an event.
        candidate_idx: (N,) distinct items that are scored, the positives of all ranks among them.
        log_q: (N,) log of the probability that an item is among the candidates; 0 for a full catalogue.
        target_column: (B,) column of the positive.
        seen_row, seen_column: what the user has in train besides the positive: no negatives.
        global_size: pairs of all ranks together.
    """

    user_idx: Int64
    positive: Int64
    history_idx: Int64
    history_weight: Float32
    history_age_days: Float32
    history_mask: Bool
    candidate_idx: Int64
    log_q: Float32
    target_column: Int64
    seen_row: Int64
    seen_column: Int64
    global_size: int


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


class PairSampler:
    """Pairs for training with cheap items: users first, each with a history that never contains the positive.

    An epoch holds every event of a user, or `max_pairs_per_user` of them at random: in public data a few users own most
    rows. The history of a pair is what the user did *before* it where the log has timestamps (events of the same second
    are left out), and all other events where it has none.

    Args:
        train: the training events; a (user, item) pair occurs once.
        candidates: what the positives are scored against.
        batch_size: pairs in a global batch.
        seed: of the run.
        max_pairs_per_user: cap of a user's pairs in an epoch.
        max_history_items: longest history, the latest events (or a random choice without timestamps).
        long_user_items: users with more events than this are given a random history of `long_user_history` (from, to)
            items, so that they look like the users one evaluates; None treats all users alike.
        history: `before`, `others`, or `auto` (before where there is time).
    """

    def __init__(
        self,
        train: Interactions,
        candidates: Candidates,
        batch_size: int,
        seed: int,
        max_pairs_per_user: int = 20,
        max_history_items: int = 50,
        long_user_items: int | None = None,
        long_user_history: tuple[int, int] = (1, 3),
        history: Literal["auto", "before", "others"] = "auto",
    ) -> None:
        self.train = train
        self.candidates = candidates
        self.batch_size = batch_size
        self.seed = seed
        self.max_pairs_per_user = max_pairs_per_user
        self.max_history_items = max_history_items
        self.long_user_items = long_user_items
        self.long_user_history = (int(long_user_history[0]), int(long_user_history[1]))
        self.before = train.timestamp is not None if history == "auto" else history == "before"
        assert not self.before or train.timestamp is not None
        self.user_idx = train.user_idx
        self.item_counts = train.item_counts
        counts = np.maximum(train.user_counts, 1)
        event_share = np.minimum(max_pairs_per_user / counts, 1.0)[self.user_idx]
        self.num_pairs = int(np.minimum(train.user_counts, max_pairs_per_user).sum())
        self.item_pairs = np.bincount(train.item_idx, weights=event_share, minlength=train.num_items)
        self._log_miss: dict[int, Float64] = {}
        self._epoch_pairs: tuple[int, Int64] | None = None

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        return -(-self.num_pairs // self.batch_size)

    def log_miss(self, size: int) -> Float64:
        """(num_items,) log probability that none of `size` pairs, drawn without replacement, has the item as positive.

        `prod_j (1 - c / (P - j))` over j < size, for an item with c of the epoch's P pairs (an expectation where users are
        capped); computed once for each size.
        """
        if size not in self._log_miss:
            counts, inverse = np.unique(self.item_pairs, return_inverse=True)
            left = self.num_pairs - np.arange(size, dtype=np.float64)
            hit = np.minimum(counts[:, None] / left, 1 - 1e-12)
            self._log_miss[size] = np.log1p(-hit).sum(axis=1)[inverse]
        return self._log_miss[size]

    def pairs(self, epoch: int) -> Int64:
        """(num_pairs,) positions of the epoch's positives in the training events, shuffled."""
        if self._epoch_pairs is None or self._epoch_pairs[0] != epoch:
            rng = generator(self.seed, epoch, "pairs")
            order = np.lexsort((rng.random(len(self.train)), self.user_idx))
            rank = np.arange(len(order)) - self.train.indptr[self.user_idx[order]]
            self._epoch_pairs = (epoch, rng.permutation(order[rank < self.max_pairs_per_user]))
        return self._epoch_pairs[1]

    def batch(self, epoch: int, index: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Batch `index` of an epoch, the rows of one rank."""
        pairs = self.pairs(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        positives = self.train.item_idx[pairs]
        rng = generator(self.seed, epoch, f"batch {index}")
        candidates, inclusion = self.candidates.draw(positives, self.log_miss(len(pairs)), self.item_counts, rng)
        column = np.full(self.train.num_items, -1, np.int64)
        column[candidates] = np.arange(len(candidates))
        key = rng.random(int(self.train.user_counts[self.user_idx[pairs]].sum()))
        length = rng.integers(self.long_user_history[0], self.long_user_history[1] + 1, len(pairs))

        row, position = self._other_events(pairs)
        mine = row % world_size == rank
        seen_row, seen_column = row[mine] // world_size, column[self.train.item_idx[position[mine]]]
        idx, weight, age, mask = self._history(pairs, row, position, key[: len(row)], length)
        local = slice(rank, None, world_size)
        return Batch(
            user_idx=self.user_idx[pairs[local]],
            positive=positives[local],
            history_idx=idx[local],
            history_weight=weight[local],
            history_age_days=age[local],
            history_mask=mask[local],
            candidate_idx=candidates,
            log_q=np.log(inclusion).astype(np.float32),
            target_column=column[positives[local]],
            seen_row=seen_row[seen_column >= 0],
            seen_column=seen_column[seen_column >= 0],
            global_size=len(pairs),
        )

    def _other_events(self, pairs: Int64) -> tuple[Int64, Int64]:
        """Row and position of each training event of the pairs' users, without the positives."""
        indptr, position = self.train.positions(self.user_idx[pairs])
        row = np.repeat(np.arange(len(pairs)), np.diff(indptr))
        other = position != pairs[row]
        return row[other], position[other]

    def _history(
        self, pairs: Int64, row: Int64, position: Int64, key: Float64, length: Int64
    ) -> tuple[Int64, Float32, Float32, Bool]:
        """Padded histories (B, L): items, weights, ages and mask; the latest or randomly keyed events up to the limit."""
        limit = np.full(len(pairs), self.max_history_items)
        if self.long_user_items is not None:
            is_long = self.train.user_counts[self.user_idx[pairs]] > self.long_user_items
            limit = np.where(is_long, np.minimum(length, limit), limit)
        timestamp = self.train.timestamp
        if self.before:
            assert timestamp is not None
            earlier = timestamp[position] < timestamp[pairs[row]]
            row, position, key = row[earlier], position[earlier], key[earlier]
            if self.long_user_items is None:
                key = -position.astype(np.float64)
        order = np.lexsort((key, row))
        row, position = row[order], position[order]
        start = np.searchsorted(row, np.arange(len(pairs)))
        rank = np.arange(len(row)) - start[row]
        keep = rank < limit[row]
        row, position, rank = row[keep], position[keep], rank[keep]

        width = max(1, int(rank.max()) + 1) if len(rank) else 1
        shape = (len(pairs), width)
        idx = np.zeros(shape, np.int64)
        weight, age = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        mask = np.zeros(shape, np.bool_)
        idx[row, rank] = self.train.item_idx[position]
        weight[row, rank] = self.train.weight[position]
        mask[row, rank] = True
        if timestamp is not None:
            age[row, rank] = np.maximum(timestamp[pairs[row]] - timestamp[position], 0) / SECONDS_PER_DAY
        return idx, weight, age, mask
