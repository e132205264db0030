"""Histories: what a training pair is told of its user, never the positive itself.

Axes: B pairs, L history length.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.core.query import SECONDS_PER_DAY

HistoryRule = Literal["auto", "before", "others"]


@dataclass(frozen=True)
class DrawnHistories:
    """The histories of some pairs, and all else that their users did.

    Attributes:
        item_idx: (B, L) items; 0 where `mask` is false.
        weight: (B, L) strength of each event.
        age_days: (B, L) age at the time of the positive; 0 without timestamps.
        mask: (B, L) true where there is an event.
        other_row: pair of each training event of the pairs' users, the positives left out.
        other_item: its item: no negative of that pair.
    """

    item_idx: Int64
    weight: Float32
    age_days: Float32
    mask: Bool
    other_row: Int64
    other_item: Int64


class Histories:
    """The histories of training pairs.

    Args:
        train: the training events; a (user, item) pair occurs once.
        rule: `before` gives what the user did before the pair (events of the same second are left out), `others` all other
            events, `auto` the first where the log has timestamps and the second where it has none.
        max_items: longest history, the latest events (or a random choice without timestamps).
        long_user_items: users with more events than this are given a random history; None treats all users alike.
        long_user_history: its length, drawn evenly (from, to).

    Raises:
        ConfigError: the rule asks for what came before, but the log has no timestamps.
    """

    def __init__(
        self,
        train: Interactions,
        rule: HistoryRule,
        max_items: int,
        long_user_items: int | None,
        long_user_history: tuple[int, int],
    ) -> None:
        self.train = train
        self.max_items = max_items
        self.long_user_items = long_user_items
        self.long_user_history = long_user_history
        self.user_idx = train.user_idx
        has_time = train.timestamp is not None
        self.before = has_time if rule == "auto" else rule == "before"
        if self.before and not has_time:
            raise ConfigError(
                "sampler.policy.history=before needs timestamps, and this log has none. Use auto or others."
            )

    def draw(self, pairs: Int64, rng: np.random.Generator) -> DrawnHistories:
        """The histories of `pairs` (B,), positions in the training events."""
        key = rng.random(int(self.train.user_counts[self.user_idx[pairs]].sum()))
        length = rng.integers(self.long_user_history[0], self.long_user_history[1] + 1, len(pairs))
        row, position = self._other_events(pairs)
        chosen = self._choose(pairs, row, position, key[: len(row)], length)
        return DrawnHistories(*self._padded(pairs, *chosen), row, self.train.item_idx[position])

    def _other_events(self, pairs: Int64) -> tuple[Int64, Int64]:
        """Row and position of each training event of the pairs' users, without the positives."""
        indptr, position = self.train.positions(self.user_idx[pairs])
        row = np.repeat(np.arange(len(pairs)), np.diff(indptr))
        other = position != pairs[row]
        return row[other], position[other]

    def _choose(
        self, pairs: Int64, row: Int64, position: Int64, key: Float64, length: Int64
    ) -> tuple[Int64, Int64, Int64]:
        """The latest or randomly keyed events up to the limit: row, position and rank within the row."""
        limit = np.full(len(pairs), self.max_items)
        if self.long_user_items is not None:
            is_long = self.train.user_counts[self.user_idx[pairs]] > self.long_user_items
            limit = np.where(is_long, np.minimum(length, limit), limit)
        if self.before:
            timestamp = self.train.timestamp
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
        return row[keep], position[keep], rank[keep]

    def _padded(self, pairs: Int64, row: Int64, position: Int64, rank: Int64) -> tuple[Int64, Float32, Float32, Bool]:
        """(B, L) items, weights, ages and mask."""
        timestamp = self.train.timestamp
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
