"""Samplers make batches of (user, positive item) pairs and own the probabilities of what they draw.

Every batch is a pure function of (seed, epoch, index): any number of ranks sees the same global batch, of which a rank
takes every world-size-th row, and a run resumes in the middle of an epoch without repeating or skipping a pair.

Axes: B pairs in the batch, L history length, N candidate items (columns).
"""

from dataclasses import dataclass, replace

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.interactions import Interactions
from avrec.core.order import generator
from avrec.data.candidates import Candidates, Mined
from avrec.data.histories import Histories, HistoryRule


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
        candidate_idx: (N,) distinct items that are scored, the positives of all ranks among them unless `own_column`.
        log_q: (N,) log of the probability that an item is among the candidates; 0 for a full catalogue.
        target_column: (B,) place of the positive among the candidates, -1 where it is not.
        seen_row, seen_column: what the user has in train besides the positive: no negatives.
        pair_sec: (B,) when each pair happened, and
        available_sec: (N,) since when each candidate is known: none that nobody had met yet is a negative. Both None where
            that is not asked for or the log has no time.
        global_size: pairs of all ranks together.
        own_column: each pair's positive stands in a column of its own before the candidates, and is no negative among them.
        hard: candidates that take part only where they are hard; None where all do.
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
    pair_sec: Int64 | None
    available_sec: Int64 | None
    global_size: int
    own_column: bool = False
    hard: Mined | None = None


@dataclass(frozen=True)
class PairPolicy:
    """Which pairs an epoch holds and how much of a user's history a pair is given.

    Attributes:
        max_pairs_per_user: cap of a user's pairs in an epoch: in public data a few users own most rows.
        max_history_items: longest history, the latest events (or a random choice without timestamps).
        long_user_items: users with more events than this are given a random history of `long_user_history` (from, to)
            items, so that they look like the users one evaluates; None treats all users alike.
        long_user_history: see there.
        history: `before`, `others`, or `auto` (before where there is time).
        only_available: with timestamps, an item that nobody had met when the pair happened is no negative of it: the user
            could not have chosen it, and counting it against the item makes whatever is new look unwanted. None does so
            where the catalogue renews itself: elsewhere a late first meeting tells that an item is rare (MovieLens-100K).
    """

    max_pairs_per_user: int = 20
    max_history_items: int = 50
    long_user_items: int | None = None
    long_user_history: tuple[int, int] = (1, 3)
    history: HistoryRule = "auto"
    only_available: bool | None = None

    def histories(self, train: Interactions) -> Histories:
        """The histories of a log's pairs under this policy."""
        return Histories(train, self.history, self.max_history_items, self.long_user_items, self.long_user_history)

    def available_sec(self, train: Interactions, renewing: bool) -> Int64 | None:
        """(num_items,) since when each item is known, None where that does not matter; `renewing` is what None stands for."""
        wanted = renewing if self.only_available is None else self.only_available
        return train.first_timestamps if wanted and train.timestamp is not None else None


def batch_of(
    histories: Histories,
    pairs: Int64,
    rows: Int64,
    candidates: Int64,
    log_q: Float32,
    rng: np.random.Generator,
    available_sec: Int64 | None = None,
) -> Batch:
    """One rank's part of the global batch `pairs`: the histories are drawn for all pairs, so that all ranks draw the same.

    Args:
        histories: of the training log.
        pairs: positions of the global batch's positives in the training events.
        rows: which of them are this rank's, ascending.
        candidates: (N,) distinct sorted items.
        log_q: (N,) see `Batch`.
        rng: keyed by (seed, epoch, index).
        available_sec: (num_items,) since when each item is known, None where that does not matter.
    """
    train = histories.train
    drawn = histories.draw(pairs, rng)
    width = min(
        drawn.mask.shape[1], histories.max_items
    )  # without histories there is nothing to pool, no padding either
    local = np.full(len(pairs), -1, np.int64)
    local[rows] = np.arange(len(rows))
    seen_row, seen_column = local[drawn.other_row], places(candidates, drawn.other_item)
    seen = (seen_row >= 0) & (seen_column >= 0)
    positive = train.item_idx[pairs[rows]]
    return Batch(
        user_idx=histories.user_idx[pairs[rows]],
        positive=positive,
        history_idx=drawn.item_idx[rows, :width],
        history_weight=drawn.weight[rows, :width],
        history_age_days=drawn.age_days[rows, :width],
        history_mask=drawn.mask[rows, :width],
        candidate_idx=candidates,
        log_q=log_q,
        target_column=places(candidates, positive),
        seen_row=seen_row[seen],
        seen_column=seen_column[seen],
        pair_sec=None if available_sec is None or train.timestamp is None else train.timestamp[pairs[rows]],
        available_sec=None if available_sec is None else available_sec[candidates],
        global_size=len(pairs),
    )


def places(candidates: Int64, items: Int64) -> Int64:
    """Where each of `items` stands among the sorted candidates (N,), -1 where it does not: no table of the catalogue's size."""
    place = np.searchsorted(candidates, items)
    found = candidates[np.minimum(place, len(candidates) - 1)] == items
    return np.where(found, place, -1)


class PairSampler:
    """Pairs for training with cheap items: users first, each with a history that never contains the positive.

    An epoch holds every event of a user, or a random choice up to the policy's cap.

    Args:
        train: the training events; a (user, item) pair occurs once.
        candidates: what the positives are scored against.
        batch_size: pairs in a global batch.
        seed: of the run.
        policy: which pairs and histories.
        renewing: whether new items keep coming; see `PairPolicy.only_available`.

    Raises:
        ConfigError: the policy wants what came before, but the log has no timestamps.
    """

    def __init__(
        self,
        train: Interactions,
        candidates: Candidates,
        batch_size: int,
        seed: int,
        policy: PairPolicy | None = None,
        renewing: bool = False,
    ) -> None:
        self.train = train
        self.candidates = candidates
        self.batch_size = batch_size
        self.seed = seed
        self.policy = PairPolicy() if policy is None else policy
        self.histories = self.policy.histories(train)
        self.available_sec = self.policy.available_sec(train, renewing)
        self.user_idx = self.histories.user_idx
        self.item_counts = train.item_counts
        cap = self.policy.max_pairs_per_user
        event_share = np.minimum(cap / np.maximum(train.user_counts, 1), 1.0)[self.user_idx]
        self.num_pairs = int(np.minimum(train.user_counts, cap).sum())
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
            self._epoch_pairs = (epoch, rng.permutation(order[rank < self.policy.max_pairs_per_user]))
        return self._epoch_pairs[1]

    def batch(self, epoch: int, index: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Batch `index` of an epoch, the rows of one rank."""
        pairs = self.pairs(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        positives = self.train.item_idx[pairs]
        rng = generator(self.seed, epoch, f"batch {index}")
        drawn = self.candidates.draw(positives, self.log_miss(len(pairs)), self.item_counts, rng)
        rows = np.arange(rank, len(pairs), world_size)
        log_q = np.log(drawn.inclusion).astype(np.float32)
        batch = batch_of(self.histories, pairs, rows, drawn.items, log_q, rng, self.available_sec)
        return replace(batch, own_column=drawn.own_column, hard=drawn.hard)
