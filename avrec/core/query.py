"""`UserQuery` and `Scorer`: the one question a recommender is asked, and who answers it."""

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.dataset import Dataset, HeldOut
from avrec.core.interactions import Interactions

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class UserQuery:
    """A batch of B users: known ones, or strangers of whom only a history is given.

    Attributes:
        user_idx: (B,) dense index, -1 for a stranger.
        indptr: (B + 1,) the history of query b is `indptr[b]:indptr[b + 1]`.
        item_idx: (E,) items of the histories, oldest first.
        weight: (E,) strength of each event.
        age_days: (E,) age of each event when the question is asked; 0 where there is no time.
    """

    user_idx: Int64
    indptr: Int64
    item_idx: Int64
    weight: Float32
    age_days: Float32

    def __len__(self) -> int:
        return len(self.user_idx)

    @classmethod
    def of_users(cls, users: Int64, history: Interactions, now_sec: Int64 | None = None) -> "UserQuery":
        """The question for known users with the given history.

        Args:
            users: (B,) dense user indices.
            history: what is known of them.
            now_sec: (B,) when each question is asked; each user's last event when None.
        """
        indptr, positions = history.positions(users)
        age_days = np.zeros(len(positions), np.float32)
        if history.timestamp is not None and len(positions):
            stamps = history.timestamp[positions]
            if now_sec is None:
                last = np.where(np.diff(indptr) > 0, indptr[1:] - 1, 0)
                now_sec = stamps[last]
            age_sec = np.maximum(
                np.repeat(now_sec, np.diff(indptr)) - stamps, 0
            )  # a random split looks into the future
            age_days = (age_sec / SECONDS_PER_DAY).astype(np.float32)
        return cls(
            np.asarray(users, np.int64), indptr, history.item_idx[positions], history.weight[positions], age_days
        )

    def as_strangers(self) -> "UserQuery":
        """The same histories, of which nothing else is known."""
        return replace(self, user_idx=np.full(len(self), -1, np.int64))

    @property
    def row(self) -> Int64:
        """(E,) query of each history event."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))


class PaddedHistory(NamedTuple):
    """Ragged histories as (B, L) blocks; padding stands at the end and is item 0, weight 0, age 0, mask false."""

    item_idx: Int64
    weight: Float32
    age_days: Float32
    mask: Bool


def padded(query: UserQuery, max_items: int) -> PaddedHistory:
    """The last `max_items` events of each query, oldest first, padded to the longest of them.

    Returns:
        Blocks (B, L) with L = max(1, longest kept history).
    """
    counts = np.minimum(np.diff(query.indptr), max_items)
    column = np.arange(max(1, counts.max(initial=0)), dtype=np.int64)
    mask = column < counts[:, None]
    positions = (query.indptr[1:] - counts)[:, None] + column

    def block(values: np.ndarray) -> np.ndarray:
        filled = np.zeros(mask.shape, values.dtype)
        filled[mask] = values[positions[mask]]
        return filled

    return PaddedHistory(block(query.item_idx), block(query.weight), block(query.age_days), mask)


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores the whole catalogue for a batch of users."""

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items), larger is better, finite; seen items are *not* masked here."""
        ...


class Recommender(Protocol):
    """Anything that can be fitted to a data set's *train* part and then scores."""

    def fit(self, dataset: Dataset) -> Scorer:
        """Learn from `dataset.train` and its features only."""
        ...


def held_out_query(dataset: Dataset, part: HeldOut, users: Int64, history: Interactions) -> UserQuery:
    """The question that a held-out part asks: at the time of each user's first held-out event, with `history` known.

    Args:
        dataset: the data set.
        part: the held-out part.
        users: (B,) users with at least one held-out event.
        history: `dataset.history(part)`, made once by the caller.
    """
    target = dataset.target(part)
    now_sec = None
    if target.timestamp is not None:
        now_sec = target.timestamp[target.indptr[users]]
    return UserQuery.of_users(users, history, now_sec)
