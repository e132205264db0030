"""`NewcomerTables`: what a bundle holds for those without a history: tags, groups of fields, and what known users told.

Every file is absent where the data set had nothing of the kind; a bundle without `mean_user_vector.npy` knows no newcomers.

Axes: N items, U users, T tags, G groups, W width of a user's vector.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import ArtefactError, DataError
from avrec.core.files import read_npy, read_table, write_npy, write_table
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.sparse import SparseRows
from avrec.retrieval.field_groups import FieldGroups
from avrec.retrieval.newcomers import Newcomers
from avrec.retrieval.tag_profiles import tag_profiles
from avrec.retrieval.told import Told, empty

MEAN = "mean_user_vector.npy"
TAGS, TAG_VECTORS, ITEM_TAGS = "tags.parquet", "tag_vectors.npy", "item_tags.parquet"
GROUPS, GROUP_VECTORS = "groups.parquet", "group_vectors.npy"
TOLD_INTERESTS, TOLD_FRIENDS, TOLD_GROUPS = "told_interests.parquet", "told_friends.parquet", "told_groups.parquet"
TOGETHER = ((MEAN,), (TAGS, TAG_VECTORS, ITEM_TAGS), (GROUPS, GROUP_VECTORS))
ALONE = (TOLD_INTERESTS, TOLD_FRIENDS, TOLD_GROUPS)
AGAIN = "Export the bundle again."


def expected_files(listed: Collection[str]) -> set[str]:
    """The files for newcomers that must stand in a bundle which lists these: some come only together."""
    return {name for part in TOGETHER if set(part) & set(listed) for name in part} | (set(ALONE) & set(listed))


@dataclass(frozen=True)
class NewcomerTables:
    """Everything that newcomers are answered with.

    Attributes:
        newcomers: the vectors.
        tags: names of the T tags.
        item_tags: (N, T) a weight is how many people gave the tag.
        groups: of the users' fields.
        told: (U rows) what the known users without a history told; the rows of all others are empty.
    """

    newcomers: Newcomers
    tags: IdMap
    item_tags: SparseRows
    groups: FieldGroups
    told: Told

    @property
    def vectors(self) -> dict[str, Float32]:
        """Every table of numbers by its file."""
        held = self.newcomers
        return {MEAN: held.mean, TAG_VECTORS: held.tags, GROUP_VECTORS: held.groups}

    @cached_property
    def tag_names(self) -> list[str]:
        """The name of each tag."""
        return list(self.tags.array.to_pylist())

    @cached_property
    def tag_places(self) -> dict[str, int]:
        """The index of each tag, for single questions: `IdMap.index` is made for many at once."""
        return {name: place for place, name in enumerate(self.tag_names)}

    @cached_property
    def offered_tags(self) -> Int64:
        """The tags that a newcomer can be answered from, those of most items first, of equal ones the first by name."""
        order = np.argsort(-self.tag_items, kind="stable")
        return order[self.newcomers.tag_size[order] > 0]

    @cached_property
    def tag_items(self) -> Int64:
        """(T,) items that carry each tag."""
        return self.item_tags.column_counts

    def profile(self, item_idx: Int64) -> dict[str, float]:
        """What a history is about: the share of each of its tags, the largest first; empty where no item has a tag.

        Args:
            item_idx: (E,) the items of one history.
        """
        if not len(item_idx):
            return {}
        items, place = np.unique(item_idx, return_inverse=True)  # the tags of these alone, not of the whole catalogue
        history = Interactions.from_events(np.zeros(len(place), np.int64), place, 1, len(items))
        profile = tag_profiles(history, self.item_tags.taken(items))
        order = np.argsort(-profile.weight, kind="stable")
        return {
            self.tag_names[tag]: float(profile.weight[place])
            for place, tag in zip(order.tolist(), profile.column[order].tolist(), strict=True)
        }

    def write(self, folder: Path) -> None:
        """Write the files that hold anything."""
        newcomers = self.newcomers
        write_npy(folder / MEAN, newcomers.mean)
        if len(self.tags):
            write_npy(folder / TAG_VECTORS, newcomers.tags)
            write_table(folder / TAGS, pa.table({"tag": self.tags.array, "users": newcomers.tag_size}))
            write_table(folder / ITEM_TAGS, _entries(self.item_tags, "item_idx", "tag_idx"))
        if len(self.groups):
            write_npy(folder / GROUP_VECTORS, newcomers.groups)
            write_table(folder / GROUPS, _group_table(self.groups, newcomers.group_size))
        for name, (part, column) in _told_parts(self.told).items():
            if len(part):
                write_table(folder / name, _entries(part, "user_idx", column))

    @classmethod
    def read(
        cls, folder: Path, listed: Collection[str], num_users: int, num_items: int, width: int
    ) -> "NewcomerTables":
        """Read what a bundle holds.

        Args:
            folder: of the bundle.
            listed: the files in its manifest.
            num_users: U.
            num_items: N.
            width: W.

        Raises:
            ArtefactError: a file is damaged, of another size than the rest, or names what does not exist.
        """
        mean = np.zeros(width, np.float32)
        if MEAN in listed:
            mean = _vectors(folder / MEAN, (width,))
        tags, tag_vectors, tag_size, item_tags = (
            IdMap([]),
            np.zeros((0, width), np.float32),
            _no_sizes(),
            empty(num_items, 0),
        )
        if TAGS in listed:
            tags, tag_size = _tags(folder / TAGS)
            tag_vectors = _vectors(folder / TAG_VECTORS, (len(tags), width))
            item_tags = _rows(folder / ITEM_TAGS, ("item_idx", num_items), ("tag_idx", len(tags)))
        groups, group_vectors, group_size = FieldGroups(), np.zeros((0, width), np.float32), _no_sizes()
        if GROUPS in listed:
            groups, group_size = _groups(folder / GROUPS)
            group_vectors = _vectors(folder / GROUP_VECTORS, (len(groups), width))
        told = Told.nothing(num_users, len(tags), num_users, len(groups))
        parts = {
            name: _rows(folder / name, ("user_idx", num_users), (column, part.num_columns)) if name in listed else part
            for name, (part, column) in _told_parts(told).items()
        }
        newcomers = Newcomers(mean, tag_vectors, group_vectors, tag_size, group_size)
        return cls(newcomers, tags, item_tags, groups, Told(*parts.values()))


def _told_parts(told: Told) -> dict[str, tuple[SparseRows, str]]:
    """File, rows and name of the columns' index of each thing that is told."""
    return {
        TOLD_INTERESTS: (told.interests, "tag_idx"),
        TOLD_FRIENDS: (told.friends, "friend_idx"),
        TOLD_GROUPS: (told.groups, "group_idx"),
    }


def _no_sizes() -> Float32:
    return np.zeros(0, np.float32)


def _entries(rows: SparseRows, row: str, column: str) -> pa.Table:
    return pa.table({row: rows.row, column: rows.column, "weight": rows.weight})


def _rows(path: Path, row: tuple[str, int], column: tuple[str, int]) -> SparseRows:
    table = read_table(path, [row[0], column[0], "weight"])
    found = []
    for name, size in (row, column):
        index = _numbers(path, table, name, np.int64)
        if len(index) and not 0 <= index.min() <= index.max() < size:
            raise ArtefactError(
                f"{path}: column '{name}' holds {index.min()} ... {index.max()}; there are {size}. {AGAIN}"
            )
        found.append(index)
    weight = _numbers(path, table, "weight", np.float32)
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ArtefactError(f"{path}: column 'weight' holds a number that is not positive. {AGAIN}")
    return SparseRows.from_entries(found[0], found[1], row[1], column[1], weight)


def _tags(path: Path) -> tuple[IdMap, Float32]:
    table = read_table(path, ["tag", "users"])
    try:
        return IdMap(table["tag"]), _sizes(path, table)
    except (DataError, pa.ArrowException) as error:
        raise ArtefactError(f"{path}: column 'tag': {error} {AGAIN}") from error


def _group_table(groups: FieldGroups, users: Float32) -> pa.Table:
    return pa.table(
        {
            "field": pa.array(groups.field, pa.string()),
            "value": pa.array(groups.value, pa.string()),
            "low": np.array(groups.low),
            "high": np.array(groups.high),
            "users": users,
        }
    )


def _groups(path: Path) -> tuple[FieldGroups, Float32]:
    table = read_table(path, ["field", "value", "low", "high", "users"])
    if table["field"].null_count or not all(pa.types.is_string(table[name].type) for name in ("field", "value")):
        raise ArtefactError(f"{path}: 'field' and 'value' are not texts. {AGAIN}")
    low, high = (_numbers(path, table, name, np.float64) for name in ("low", "high"))
    groups = FieldGroups(
        tuple(table["field"].to_pylist()), tuple(table["value"].to_pylist()), tuple(low.tolist()), tuple(high.tolist())
    )
    return groups, _sizes(path, table)


def _sizes(path: Path, table: pa.Table) -> Float32:
    found = _numbers(path, table, "users", np.float32)
    if not (np.isfinite(found) & (found >= 0)).all():
        raise ArtefactError(f"{path}: column 'users' holds no number of users. {AGAIN}")
    return found


def _numbers(path: Path, table: pa.Table, name: str, kind: type) -> np.ndarray:
    column = table[name]
    if column.null_count or pa.from_numpy_dtype(np.dtype(kind)) != column.type:
        raise ArtefactError(
            f"{path}: column '{name}' is {column.type}, {column.null_count} null; expected {np.dtype(kind)}. {AGAIN}"
        )
    return np.asarray(column.to_numpy(), kind)


def _vectors(path: Path, shape: tuple[int, ...]) -> Float32:
    found = read_npy(path, ndim=len(shape))
    if found.shape != shape or found.dtype != np.float32:
        raise ArtefactError(f"{path}: {found.dtype} {found.shape}; expected float32 {shape}. {AGAIN}")
    return found
