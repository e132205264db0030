"""Draws and tie orders as hashes of ids: made in this one place in numpy, so every engine sees the same numbers."""

from typing import Literal

import numpy as np

from avrec.core.arrays import Int64, UInt64
from avrec.core.errors import ConfigError
from avrec.data.numbering import Numbered

Ties = Literal["hash", "file"]


def pair_hash(numbered: Numbered, seed: int) -> Int64:
    """(events,) a 63-bit hash of each event's user id, item id and the seed; made here and nowhere else, so engines agree."""
    user = numbered.users.hashes() + np.uint64(seed % 2**64)
    mixed = _mix(user)[np.asarray(numbered.events["user"])]
    mixed ^= numbered.items.hashes()[np.asarray(numbered.events["item"])]
    return (_mix(mixed) >> np.uint64(1)).astype(np.int64)


def _mix(values: UInt64) -> UInt64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood, 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def tie_key(numbered: Numbered, ties: Ties) -> Int64:
    """(events,) the order of events inside one second: a hash of the ids, or the order of the file."""
    return pair_hash(numbered, 0) if ties == "hash" else np.arange(len(numbered.events), dtype=np.int64)


def check_ties(ties: str) -> None:
    """Raise ConfigError unless `ties` names a rule."""
    if ties not in ("hash", "file"):
        raise ConfigError(f"ties is {ties!r}; expected 'hash' or 'file'.")
