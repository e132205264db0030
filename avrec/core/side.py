"""What a data set knows besides interactions: tags, a knowledge graph, typed fields and texts."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Float64, Int64
from avrec.core.ids import IdMap
from avrec.core.sparse import SparseRows

# N items, U users, T tags, V entities, E triples
Value = TypeVar("Value")
Texts = tuple[str | None, ...]


@dataclass(frozen=True)
class Tags:
    """The tags of items, or of users; a data set's items and users share one vocabulary.

    Attributes:
        names: the T tags, numbered by their UTF-8 bytes.
        rows: (N, T) or (U, T); a weight is how many people gave the tag (1 where it was stated once).
    """

    names: IdMap
    rows: SparseRows


@dataclass(frozen=True)
class Knowledge:
    """A graph of triples (head, relation, tail), with the entities that items stand for.

    Attributes:
        entities: the V entities.
        relations: the names of the relations.
        head: (E,) entity of each triple; triples are distinct and in order of head, relation and tail.
        relation: (E,) index in `relations`.
        tail: (E,) entity.
        item_entity: (N,) the entity of each item, -1 where it is in no triple.
    """

    entities: IdMap
    relations: IdMap
    head: Int64
    relation: Int64
    tail: Int64
    item_entity: Int64

    def __len__(self) -> int:
        return len(self.head)

    def links(self, relation: str | None = None, inverse: bool = False) -> SparseRows:
        """(N, V) entities that items are joined to; a weight is the number of triples.

        Args:
            relation: only triples of this relation, which must be one of `relations`; all when None.
            inverse: triples whose *tail* is the item; else those whose head is.
        """
        near, far = (self.tail, self.head) if inverse else (self.head, self.tail)
        if relation is not None:
            (code,) = self.relations.index([relation])
            assert code >= 0, f"no relation {relation!r}"
            near, far = near[self.relation == code], far[self.relation == code]
        by_entity = SparseRows.from_entries(near, far, len(self.entities), len(self.entities))
        return _rows_of_items(by_entity, self.item_entity)

    def neighbours(self) -> SparseRows:
        """(N, V) entities one step away from items, whatever the relation and its direction; weights are all 1."""
        near, far = np.concatenate([self.head, self.tail]), np.concatenate([self.tail, self.head])
        linked = SparseRows.from_entries(near, far, len(self.entities), len(self.entities))
        rows = _rows_of_items(linked, self.item_entity)
        return SparseRows(rows.num_rows, rows.num_columns, rows.indptr, rows.column, np.ones_like(rows.weight))


@dataclass(frozen=True)
class NumericField:
    """A field of numbers: a duration, a year, an age; true is 1, and a date is its seconds since 1970.

    Attributes:
        values: (N,) zero where absent.
        present: (N,) true where there is a finite value.
    """

    values: Float64
    present: Bool


@dataclass(frozen=True)
class CategoryField:
    """A field of names: a language, a category, an occupation.

    Attributes:
        code: (N,) index in `names`, -1 where absent.
        names: the distinct values, numbered by their UTF-8 bytes.
    """

    code: Int64
    names: IdMap

    @property
    def present(self) -> Bool:
        """(N,) true where there is a value."""
        return np.asarray(self.code >= 0)


Field = NumericField | CategoryField


class Columns(Mapping[str, Value], Generic[Value]):
    """Named columns of a table, each made into its value when it is first asked for.

    Args:
        table: holds the columns.
        makers: column -> what makes its value.
    """

    def __init__(self, table: pa.Table, makers: Mapping[str, Callable[[pa.ChunkedArray], Value]]) -> None:
        self._table = table
        self._makers = dict(makers)
        self._made: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._made:
            self._made[name] = self._makers[name](self._table[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def _rows_of_items(by_entity: SparseRows, item_entity: Int64) -> SparseRows:
    """The rows of the items' entities, empty for an item without one."""
    known = item_entity >= 0
    taken = by_entity.taken(item_entity[known])
    indptr = np.zeros(len(item_entity) + 1, np.int64)
    counts = np.zeros(len(item_entity), np.int64)
    counts[known] = taken.row_counts
    np.cumsum(counts, out=indptr[1:])
    return SparseRows(len(item_entity), by_entity.num_columns, indptr, taken.column, taken.weight)
