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
from avrec.core.side import Field, Knowledge, Tags, Texts
from avrec.core.sparse import SparseRows

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
    """Interactions in three parts, ids, side information, features and media; row i of every item array is `item_idx` i.

    Whatever the source did not have is None or an empty mapping.

    Attributes:
        name: of the data set.
        content_hash: over the columns' values, not over file bytes: equal content has an equal hash on every machine.
        users: the U users.
        items: the N items.
        train: events that may be learnt from.
        validation: events that choices are made on.
        test: events that are read once.
        features: modality -> finished vectors.
        media: kind -> where the items' files are.
        media_root: the folder that the paths in `media` start from, None without media; no hash depends on it.
        item_table: every column of the prepared items, as Arrow.
        user_table: every column of the prepared users.
        item_tags: (N, T) tags; nothing that a user said of an item he has in validation or test is in it.
        user_interests: (U, T) tags that users stated, or gave to items; the same tags and the same care.
        social: (U, U) friends: row = user, column = friend, weight = closeness; in the given direction.
        knowledge: the graph around the items.
        item_fields: numeric and categorical fields, made when first asked for.
        user_fields: likewise.
        texts: (N,) titles, descriptions, captions ... by the column's name, made when first asked for.
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
    social: SparseRows | None = None
    knowledge: Knowledge | None = None
    item_tags: Tags | None = None
    user_interests: Tags | None = None
    item_fields: Mapping[str, Field] = field(default_factory=dict)
    user_fields: Mapping[str, Field] = field(default_factory=dict)
    texts: Mapping[str, Texts] = field(default_factory=dict)

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
