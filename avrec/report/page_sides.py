"""By what the map of the catalogue is coloured: a field of the items, the truth of simulated data, or their tags."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Int64
from avrec.core.dataset import Dataset
from avrec.core.ids import IdMap
from avrec.core.side import CategoryField
from avrec.report.page_parts import shown

MAX_COLOURS = 8
MAX_VALUES = 50
OTHER = "other"
TRUTH = "true_"  # how simulated data name what no model may read


@dataclass(frozen=True)
class Side:
    """A colouring of the items.

    Attributes:
        name: of the field.
        group_N: of each item, index into `labels`.
        labels: at most `MAX_COLOURS`, the most frequent first; what is left is `other`.
    """

    name: str
    group_N: Int64
    labels: Sequence[str]


def side_of(dataset: Dataset) -> Side | None:
    """The first that there is: a category with 2 to 50 values, a truth of simulated data, the tags; None without any."""
    for name, column in dataset.item_fields.items():
        if isinstance(column, CategoryField) and 2 <= len(column.names) <= MAX_VALUES:
            return grouped(name, column.code, column.names)
    for name in dataset.item_table.column_names if dataset.item_table is not None else ():
        if name.startswith(TRUTH):
            text = dataset.item_table[name].cast(pa.large_string())  # type: ignore[index]  # it has the column
            if 2 <= len(pc.unique(pc.drop_null(text))) <= MAX_VALUES:
                names = IdMap.from_values(text)
                return grouped(name, names.index(text), names)
    tags = dataset.item_tags
    if tags is None or len(tags.names) < 2:
        return None
    return grouped("most common tag", _first_tag(tags.rows.indptr, tags.rows.column, len(tags.names)), tags.names)


def grouped(name: str, code_N: Int64, names: IdMap) -> Side:
    """Codes, -1 where absent, as at most `MAX_COLOURS` groups.

    >>> side = grouped("kind", np.array([1, 1, 0, -1]), IdMap(["a", "b"]))
    >>> side.group_N.tolist(), side.labels
    ([0, 0, 1, 2], ['b', 'a', 'other'])
    """
    counts = np.bincount(code_N[code_N >= 0], minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    used = int(np.count_nonzero(counts))
    room = MAX_COLOURS if used <= MAX_COLOURS and (code_N >= 0).all() else MAX_COLOURS - 1
    kept = order[: min(room, used)]
    group = np.full(len(names) + 1, len(kept))  # its last place is that of -1
    group[kept] = np.arange(len(kept))
    labels = [shown(text, 20) for text in names.ids(kept)]
    group_N = group[code_N]
    return Side(shown(name, 24), group_N, [*labels, OTHER] if (group_N == len(kept)).any() else labels)


def _first_tag(indptr: Int64, column: Int64, num_tags: int) -> Int64:
    """(N,) of each item's tags the one that most items have; -1 without tags."""
    place = np.empty(num_tags, np.int64)
    order = np.argsort(-np.bincount(column, minlength=num_tags), kind="stable")
    place[order] = np.arange(num_tags)
    counts = np.diff(indptr)
    first = np.full(len(counts), num_tags)
    np.minimum.at(first, np.repeat(np.arange(len(counts)), counts), place[column])
    return np.asarray(np.append(order, -1)[first], np.int64)
