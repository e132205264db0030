"""From the tables of a prepared folder to friends, tags, graph, fields and texts, after checking sizes, ranges and order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, TypeVar

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Int64
from avrec.core.errors import ArtefactError, DataError
from avrec.core.ids import IdMap
from avrec.core.side import Columns, Field, Knowledge, Tags, Texts
from avrec.core.sparse import SparseRows
from avrec.data.field_kinds import category_field, fits, numeric_field, texts
from avrec.data.layout import WEIGHT_SCALE, table_file

AGAIN = "Prepare the data again."
SIDE_COLUMNS = {
    "fields": ["side", "name", "kind"],
    "tag_names": ["tag_idx", "tag"],
    "item_tags": ["item_idx", "tag_idx", "weight"],
    "user_interests": ["user_idx", "tag_idx", "weight"],
    "social": ["user_idx", "friend_idx", "weight"],
    "entities": ["entity_idx", "entity"],
    "relations": ["relation_idx", "relation"],
    "knowledge": ["head_idx", "relation_idx", "tail_idx"],
}
NEEDS = {
    "item_tags": ("tag_names",),
    "user_interests": ("tag_names",),
    "knowledge": ("entities", "relations"),
}
Value = TypeVar("Value")
FIELD_MAKERS: Mapping[str, Callable[[pa.ChunkedArray], Field]] = {"numeric": numeric_field, "category": category_field}


class Side(TypedDict):
    """The side information as arguments of `Dataset`."""

    social: SparseRows | None
    knowledge: Knowledge | None
    item_tags: Tags | None
    user_interests: Tags | None
    item_fields: Mapping[str, Field]
    user_fields: Mapping[str, Field]
    texts: Mapping[str, Texts]


def read_side(folder: Path, tables: Mapping[str, pa.Table], num_users: int, num_items: int) -> Side:
    """Make the side information of a prepared data set.

    Args:
        folder: for messages.
        tables: every table of the folder.
        num_users: U.
        num_items: N.

    Raises:
        ArtefactError: a table breaks the contract.
    """
    for name, needed in NEEDS.items():
        absent = [other for other in needed if name in tables and other not in tables]
        if absent:
            raise ArtefactError(f"{folder / table_file(name)}: there is no {table_file(absent[0])} beside it. {AGAIN}")
    reader = _Reader(folder, tables)
    tags = reader.ids("tag_names", "tag_idx", "tag") if "tag_names" in tables else None
    return Side(
        social=reader.rows("social", ("user_idx", num_users), ("friend_idx", num_users), WEIGHT_SCALE),
        knowledge=reader.knowledge(num_items) if "knowledge" in tables else None,
        item_tags=reader.tags("item_tags", ("item_idx", num_items), tags),
        user_interests=reader.tags("user_interests", ("user_idx", num_users), tags),
        item_fields=reader.fields("items", FIELD_MAKERS),
        user_fields=reader.fields("users", FIELD_MAKERS),
        texts=reader.fields("items", {"text": texts}),
    )


@dataclass(frozen=True)
class _Reader:
    folder: Path
    tables: Mapping[str, pa.Table]

    def path(self, name: str) -> Path:
        return self.folder / table_file(name)

    def index(self, name: str, column: str, size: int) -> Int64:
        """A column of whole numbers from 0 to `size - 1`."""
        values = self.tables[name][column]
        if values.type != pa.int64() or values.null_count:
            raise ArtefactError(
                f"{self.path(name)}: {column} is {values.type} with {values.null_count} nulls; expected int64. {AGAIN}"
            )
        found = np.asarray(values, np.int64)
        if len(found) and not (0 <= found.min() and found.max() < size):
            raise ArtefactError(f"{self.path(name)}: {column} is outside 0 to {size - 1}. {AGAIN}")
        return found

    def ids(self, name: str, index: str, column: str) -> IdMap:
        """A vocabulary, whose index is 0, 1, 2, ..."""
        table = self.tables[name]
        if not np.array_equal(self.index(name, index, len(table)), np.arange(len(table))):
            raise ArtefactError(f"{self.path(name)}: {index} is not 0, 1, 2, ... {AGAIN}")
        try:
            return IdMap(table[column])
        except (DataError, pa.ArrowInvalid) as error:
            raise ArtefactError(f"{self.path(name)}: {column}: {error} {AGAIN}") from error

    def in_order(self, name: str, *keys: Int64) -> None:
        """Raise unless the combinations of keys ascend strictly."""
        ascends = np.zeros(max(len(keys[0]) - 1, 0), np.bool_)
        for key in reversed(keys):
            step = np.diff(key)
            ascends = (step > 0) | ((step == 0) & ascends)
        if not ascends.all():
            raise ArtefactError(f"{self.path(name)}: rows are not distinct and in order. {AGAIN}")

    def rows(self, name: str, row: tuple[str, int], column: tuple[str, int], scale: int) -> SparseRows | None:
        """A sparse matrix from entries that stand in its order; None where there is no such table."""
        if name not in self.tables:
            return None
        (row_name, num_rows), (column_name, num_columns) = row, column
        rows, columns = self.index(name, row_name, num_rows), self.index(name, column_name, num_columns)
        weight = self.index(name, "weight", np.iinfo(np.int64).max)
        if len(weight) and weight.min() < 1:
            raise ArtefactError(f"{self.path(name)}: a weight is {weight.min()}; expected positive numbers. {AGAIN}")
        self.in_order(name, rows, columns)
        indptr = np.zeros(num_rows + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
        return SparseRows(num_rows, num_columns, indptr, columns, (weight / scale).astype(np.float32))

    def tags(self, name: str, row: tuple[str, int], names: IdMap | None) -> Tags | None:
        """Tags by row; None where there is no such table."""
        if names is None:
            return None
        rows = self.rows(name, row, ("tag_idx", len(names)), 1)
        return None if rows is None else Tags(names, rows)

    def knowledge(self, num_items: int) -> Knowledge:
        """The graph; `entity_idx` of the items table joins it to the items."""
        entities = self.ids("entities", "entity_idx", "entity")
        relations = self.ids("relations", "relation_idx", "relation")
        sizes = (("head_idx", len(entities)), ("relation_idx", len(relations)), ("tail_idx", len(entities)))
        head, relation, tail = (self.index("knowledge", column, size) for column, size in sizes)
        self.in_order("knowledge", head, relation, tail)
        items = self.tables["items"]
        if "entity_idx" not in items.column_names or items["entity_idx"].type != pa.int64():
            raise ArtefactError(f"{self.path('items')}: no column entity_idx of int64. {AGAIN}")
        item_entity = np.asarray(items["entity_idx"].fill_null(-1), np.int64)
        if num_items and not (item_entity.min() >= -1 and item_entity.max() < len(entities)):
            raise ArtefactError(f"{self.path('items')}: entity_idx is outside 0 to {len(entities) - 1}. {AGAIN}")
        return Knowledge(entities, relations, head, relation, tail, item_entity)

    def fields(self, side: str, makers: Mapping[str, Callable[[pa.ChunkedArray], Value]]) -> Mapping[str, Value]:
        """The columns of a side table whose kind has a maker, each made when it is first asked for."""
        if "fields" not in self.tables:
            return {}
        table = self.tables[side]
        found = {}
        for entry in self.tables["fields"].to_pylist():
            if entry["side"] != side or entry["kind"] not in makers:
                continue
            name, kind = entry["name"], entry["kind"]
            if name not in table.column_names or not fits(kind, table[name].type):
                raise ArtefactError(f"{self.path(side)}: no column {name!r} that is {kind}. {AGAIN}")
            found[name] = makers[kind]
        return Columns(table, found)
