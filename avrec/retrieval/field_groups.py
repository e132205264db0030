"""`FieldGroups`: users who share a value of a side field: a country, a gender, a band of ages.

Axes: U users, G groups.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avrec.core.arrays import Float64
from avrec.core.side import CategoryField, Field
from avrec.core.sparse import SparseRows

NUM_BANDS = 5
MAX_VALUES = 1000  # a field with more names is a name itself: a postcode, a nickname


@dataclass(frozen=True)
class FieldGroups:
    """The groups of all fields, one after the other.

    Attributes:
        field: (G,) the name of the field.
        value: (G,) the value that a group of a field of names shares; None in a field of numbers.
        low: (G,) the least number that belongs to a band; -inf in the first band, NaN in a field of names.
        high: (G,) the least number that does not any more; inf in the last band, NaN in a field of names.
    """

    field: tuple[str, ...] = ()
    value: tuple[str | None, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @classmethod
    def of(cls, fields: Mapping[str, Field]) -> "FieldGroups":
        """A group for each name that several users share, and for numbers at most five bands with as many users each.

        Args:
            fields: of users. One with more than `MAX_VALUES` names is left out, and so is one that nobody has.
        """
        rows: list[tuple[str, str | None, float, float]] = []
        for name in sorted(fields):
            column = fields[name]
            if isinstance(column, CategoryField):
                names: list[str] = column.names.array.to_pylist()
                counts = np.bincount(column.code[column.code >= 0], minlength=len(names)).tolist()
                shared = [one for one, count in zip(names, counts, strict=True) if count > 1]
                rows += [(name, one, math.nan, math.nan) for one in shared if len(names) <= MAX_VALUES]
            else:
                edges = _edges(column.values[column.present])
                rows += [(name, None, low, high) for low, high in itertools.pairwise(edges)]
        return cls(*(tuple(column) for column in zip(*rows, strict=True))) if rows else cls()

    def __len__(self) -> int:
        return len(self.field)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that have groups."""
        return tuple(dict.fromkeys(self.field))

    def takes_numbers(self, name: str) -> bool:
        """Whether the groups of a field are bands of numbers."""
        return self.value[self.field.index(name)] is None

    def members(self, fields: Mapping[str, Field], num_users: int) -> SparseRows:
        """(U, G) ones where a user belongs to a group.

        Args:
            fields: those of `of`, perhaps of other users.
            num_users: U.
        """
        users, groups = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for name in self.names:
            first, column = self.field.index(name), fields[name]
            if isinstance(column, CategoryField):
                known = {value: group for group, value in enumerate(self.value) if self.field[group] == name}
                code = np.array([known.get(value, -1) for value in column.names.array.to_pylist()] + [-1], np.int64)
                group = code[column.code]
            else:
                inner = [low for low, owner in zip(self.low, self.field, strict=True) if owner == name][1:]
                group = np.where(column.present, first + np.searchsorted(inner, column.values, side="right"), -1)
            users.append(np.flatnonzero(group >= 0))
            groups.append(group[group >= 0])
        return SparseRows.from_entries(np.concatenate(users), np.concatenate(groups), num_users, len(self))

    def find(self, name: str, value: str | float) -> int:
        """The group of a value; -1 where there is none. A whole number is the name `3`, not `3.0`."""
        names, bands = self._places
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if (name, text) in names:
            return names[name, text]
        number = _number(value)
        return next((group for group in bands.get(name, ()) if self.low[group] <= number < self.high[group]), -1)

    @cached_property
    def _places(self) -> tuple[dict[tuple[str, str], int], dict[str, list[int]]]:
        """The groups of names by field and name, and those of bands by field."""
        names: dict[tuple[str, str], int] = {}
        bands: dict[str, list[int]] = {}
        for group, (owner, shared) in enumerate(zip(self.field, self.value, strict=True)):
            if shared is None:
                bands.setdefault(owner, []).append(group)
            else:
                names.setdefault((owner, shared), group)
        return names, bands


def _edges(values: Float64) -> list[float]:
    """The ends of the bands; a value that fills several fifths alone is a band of its own."""
    if not len(values):
        return []
    cuts = np.quantile(values, np.linspace(0, 1, NUM_BANDS + 1)[1:-1], method="higher")
    return [-math.inf, *np.unique(cuts[cuts > values.min()]).tolist(), math.inf]


def _number(value: str | float) -> float:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
