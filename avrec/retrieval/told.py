"""`Told`: what newcomers tell of themselves besides a history: interests, friends, fields.

Axes: B newcomers, U users, T tags, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Int64
from avrec.core.sparse import SparseRows


@dataclass(frozen=True)
class Told:
    """What B newcomers tell besides a history; a row may be empty.

    Attributes:
        interests: (B, T) stated tags; a weight is how much it counts beside the other tags.
        friends: (B, U) users; a weight is how near.
        groups: (B, G) groups of fields, at most one of each field.
    """

    interests: SparseRows
    friends: SparseRows
    groups: SparseRows

    def __len__(self) -> int:
        return self.interests.num_rows

    @classmethod
    def nothing(cls, num_rows: int, num_tags: int, num_users: int, num_groups: int) -> "Told":
        """Newcomers who tell nothing."""
        return cls(*(empty(num_rows, width) for width in (num_tags, num_users, num_groups)))

    def taken(self, rows: Int64) -> "Told":
        """What some of them tell; -1 stands for somebody else, who tells nothing."""
        return Told(*(_taken(part, rows) for part in (self.interests, self.friends, self.groups)))

    def joined(self, other: "Told") -> "Told":
        """What the same newcomers tell here and there."""
        return Told(
            _joined(self.interests, other.interests),
            _joined(self.friends, other.friends),
            _joined(self.groups, other.groups),
        )

    @classmethod
    def stacked(cls, parts: Sequence["Told"]) -> "Told":
        """Some newcomers after others."""
        return cls(
            stacked([part.interests for part in parts]),
            stacked([part.friends for part in parts]),
            stacked([part.groups for part in parts]),
        )


def empty(num_rows: int, num_columns: int) -> SparseRows:
    """Rows without an entry."""
    nothing = np.zeros(0, np.int64)
    return SparseRows(num_rows, num_columns, np.zeros(num_rows + 1, np.int64), nothing, np.zeros(0, np.float32))


def _taken(part: SparseRows, rows: Int64) -> SparseRows:
    if not len(part):
        return empty(len(rows), part.num_columns)
    found = part.taken(np.maximum(rows, 0))
    keep = (rows >= 0)[found.row]
    return SparseRows.from_entries(found.row[keep], found.column[keep], len(rows), part.num_columns, found.weight[keep])


def _joined(one: SparseRows, other: SparseRows) -> SparseRows:
    if not len(one) or not len(other):
        return one if len(one) else other
    row, column = np.concatenate([one.row, other.row]), np.concatenate([one.column, other.column])
    weight = np.concatenate([one.weight, other.weight])
    return SparseRows.from_entries(row, column, one.num_rows, one.num_columns, weight)


def stacked(parts: Sequence[SparseRows]) -> SparseRows:
    """Some rows after others."""
    counts = np.concatenate([part.row_counts for part in parts])
    return SparseRows(
        len(counts),
        parts[0].num_columns,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        np.concatenate([part.column for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )
