"""`Interactions`: who did what when, as arrays in compressed sparse row (CSR) order."""

from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64


@dataclass(frozen=True)
class Interactions:
    """The interactions of one part of a log; a user's events are in time order, ties by item index.

    Attributes:
        num_users: users in the catalogue, with or without events.
        num_items: items in the catalogue.
        indptr: (num_users + 1,) a user's events are `indptr[u]:indptr[u + 1]`.
        item_idx: (E,) item of each event.
        weight: (E,) strength of each event (1 for a plain view), positive.
        timestamp: (E,) seconds since 1970 or None when the log has no time; of the first event, where several of one user
            with one item were combined.
        last_timestamp: (E,) seconds of the last of the combined events; None where nothing was combined.
    """

    num_users: int
    num_items: int
    indptr: Int64
    item_idx: Int64
    weight: Float32
    timestamp: Int64 | None = None
    last_timestamp: Int64 | None = None

    @classmethod
    def from_events(
        cls,
        user_idx: Int64,
        item_idx: Int64,
        num_users: int,
        num_items: int,
        weight: Float32 | None = None,
        timestamp: Int64 | None = None,
        last_timestamp: Int64 | None = None,
    ) -> "Interactions":
        """Sort events by (user, time, item) and pack them."""
        user_idx = np.asarray(user_idx, np.int64)
        item_idx = np.asarray(item_idx, np.int64)
        weight = np.ones(len(item_idx), np.float32) if weight is None else np.asarray(weight, np.float32)
        order = event_order(user_idx, item_idx, timestamp)
        indptr = np.zeros(num_users + 1, np.int64)
        np.cumsum(np.bincount(user_idx, minlength=num_users), out=indptr[1:])
        return cls(
            num_users=num_users,
            num_items=num_items,
            indptr=indptr,
            item_idx=item_idx[order],
            weight=weight[order],
            timestamp=None if timestamp is None else np.asarray(timestamp, np.int64)[order],
            last_timestamp=None if last_timestamp is None else np.asarray(last_timestamp, np.int64)[order],
        )

    def __len__(self) -> int:
        return len(self.item_idx)

    @property
    def user_idx(self) -> Int64:
        """(E,) user of each event."""
        return np.repeat(np.arange(self.num_users, dtype=np.int64), self.user_counts)

    @property
    def user_counts(self) -> Int64:
        """(num_users,) events of each user."""
        return np.diff(self.indptr)

    @property
    def item_counts(self) -> Int64:
        """(num_items,) events of each item."""
        return np.bincount(self.item_idx, minlength=self.num_items).astype(np.int64)

    @property
    def first_timestamps(self) -> Int64:
        """(num_items,) when each item was first met, the largest number for one that never was; needs timestamps."""
        assert self.timestamp is not None
        first = np.full(self.num_items, np.iinfo(np.int64).max)
        np.minimum.at(first, self.item_idx, self.timestamp)
        return first

    def select(self, keep: Bool) -> "Interactions":
        """The events where `keep` (E,) is true, in the same order."""
        user_idx = self.user_idx[keep]
        indptr = np.zeros(self.num_users + 1, np.int64)
        np.cumsum(np.bincount(user_idx, minlength=self.num_users), out=indptr[1:])
        timestamp, last = (None if times is None else times[keep] for times in (self.timestamp, self.last_timestamp))
        return Interactions(
            self.num_users, self.num_items, indptr, self.item_idx[keep], self.weight[keep], timestamp, last
        )

    def merged(self, other: "Interactions") -> "Interactions":
        """The events of both; both must be of the same catalogue."""
        assert (self.num_users, self.num_items) == (other.num_users, other.num_items)
        timestamp, last = (
            None if mine is None or theirs is None else np.concatenate([mine, theirs])
            for mine, theirs in (
                (self.timestamp, other.timestamp),
                (self.last_timestamp, other.last_timestamp),
            )
        )
        return Interactions.from_events(
            np.concatenate([self.user_idx, other.user_idx]),
            np.concatenate([self.item_idx, other.item_idx]),
            self.num_users,
            self.num_items,
            np.concatenate([self.weight, other.weight]),
            timestamp,
            last,
        )

    def positions(self, users: Int64) -> tuple[Int64, Int64]:
        """Where the events of some users stand, without a loop.

        Returns:
            indptr (B + 1,) and the positions (sum of counts,) into the event arrays, user by user.
        """
        counts = self.indptr[users + 1] - self.indptr[users]
        indptr = np.zeros(len(users) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        positions = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - self.indptr[users], counts)
        return indptr, positions


def event_order(user_idx: Int64, item_idx: Int64, timestamp: Int64 | None = None) -> Int64:
    """The stable order of events by (user, time, item).

    Sorting one packed integer takes a third of the time of three sorts; wide keys that do not fit are sorted one by one.

    Args:
        user_idx: (E,) non-negative.
        item_idx: (E,) non-negative.
        timestamp: (E,) seconds, or None.

    Returns:
        (E,) positions.
    """
    keys = [user_idx, item_idx] if timestamp is None else [user_idx, timestamp, item_idx]
    if not len(item_idx):
        return np.zeros(0, np.int64)
    lows = [int(key.min()) for key in keys]
    widths = [(int(key.max()) - low).bit_length() for key, low in zip(keys, lows, strict=True)]
    if sum(widths) > 63:
        return np.lexsort(keys[::-1])
    packed = np.zeros(len(item_idx), np.int64)
    for key, low, width in zip(keys, lows, widths, strict=True):
        packed <<= width
        packed |= key.astype(np.int64) - low
    return np.argsort(packed, kind="stable")


def run_starts(*keys: Int64) -> Int64:
    """Positions at which a combination of sorted keys (E,) first stands."""
    first = np.zeros(len(keys[0]), np.bool_)
    first[:1] = True
    for key in keys:
        first[1:] |= np.diff(key) != 0
    return np.flatnonzero(first)
