"""What a filling has to do: which items lack which levels of an encoder, and where their encoding may start."""

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from avrec.core.arrays import Bool, Int64
from avrec.data.record_cache import RecordCache
from avrec.models.encoders.base import RAW


def stored_in(cache: RecordCache, names: list[str]) -> Bool:
    """(len,) false where the cache lacks a name; a repeated name is missing once."""
    stored = np.ones(len(names), np.bool_)
    stored[cache.missing(names)] = False
    return stored


def ways(stored: Mapping[int, Bool], asked: Collection[int]) -> Iterator[tuple[int, list[int], Int64]]:
    """The level to start from, the levels to store, and the rows that lack just these.

    Args:
        stored: {level: (len,) true where it is stored}, of all levels that one may start from.
        asked: levels that every row shall have.
    """
    order = sorted(stored)
    patterns, kind = np.unique(np.stack([stored[level] for level in order]), axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):
        lacking = [level for level, there in zip(order, pattern, strict=True) if level in asked and not there]
        if lacking:
            below = [level for level, there in zip(order, pattern, strict=True) if there and level < lacking[0]]
            yield max(below, default=RAW), lacking, np.flatnonzero(kind.reshape(-1) == number)
