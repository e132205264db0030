"""`Dataset`: a prepared data set in memory, as every model, baseline and evaluation sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.clips import MediaKind
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions

HeldOut = Literal["validation", "test"]


@dataclass(frozen=True)
class Feature:
    """One modality's finished feature vectors.

    Attributes:
        values: (num_items, F) float32, row = item_idx; rows of absent items are zero.
        present: (num_items,) true where the item has this modality.
    """

    values: Float32
    present: Bool


@dataclass(frozen=True)
class MediaColumn:
    """Where the items' files of one kind stand.

    Attributes:
        paths: by item_idx, relative to the data set's `media_root`; None where the item has no such file. One video file
            may stand in both columns.
    """

    paths: tuple[str | None, ...]

    @cached_property
    def present(self) -> Bool:
        """(num_items,) true where the item names a file, whether or not it can be read."""
        return np.array([path is not None for path in self.paths], np.bool_)


@dataclass(frozen=True)
class Dataset:
    """Interactions in three parts, ids, side tables, features and media; row i of every item array is `item_idx` i.

    `content_hash` is over the columns' values, not over file bytes: equal content has an equal hash on every machine.
    `social` has the columns `user_idx`, `friend_idx`; `knowledge` the strings `head`, `relation`, `tail`.
    `media_root` is the folder that the paths in `media` start from, None without media; no hash depends on it.
    """

    name: str
    content_hash: str
    users: IdMap
    items: IdMap
    train: Interactions
    validation: Interactions
    test: Interactions
    features: Mapping[str, Feature] = field(default_factory=dict)
    media: Mapping[MediaKind, MediaColumn] = field(default_factory=dict)
    media_root: str | None = None
    item_table: pa.Table | None = None
    user_table: pa.Table | None = None
    social: pa.Table | None = None
    knowledge: pa.Table | None = None

    @property
    def num_users(self) -> int:
        """Users in the catalogue."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """Items in the catalogue."""
        return len(self.items)

    def target(self, part: HeldOut) -> Interactions:
        """The held-out events that are to be found."""
        return self.validation if part == "validation" else self.test

    def history(self, part: HeldOut) -> Interactions:
        """What is known of each user when `part` is predicted: train, and for the test part train + validation."""
        return self.train if part == "validation" else self.train.merged(self.validation)

    @property
    def cold_items(self) -> Bool:
        """(num_items,) true for items without a training event."""
        return np.asarray(self.train.item_counts == 0)

    @property
    def new_users(self) -> Bool:
        """(num_users,) true for users without a training event."""
        return np.asarray(self.train.user_counts == 0)


def tie_order(items: IdMap) -> Int64:
    """A fixed order of items that breaks ties in recommended lists: the rank of a 64-bit BLAKE2b hash of the id's UTF-8 bytes.

    A tie broken by memory order would prefer old items; a hash of the id depends on neither age nor index.

    Returns:
        (num_items,) a permutation; smaller comes first.
    """
    rank = np.empty(len(items), np.int64)
    rank[np.argsort(items.hashes(), kind="stable")] = np.arange(len(items))
    return rank
