"""`RawData`: what every source hands over, and `Source`: who hands it over."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from avrec.core.clips import MediaKind
from avrec.core.errors import DataError
from avrec.core.files import sha256_file
from avrec.data.arrow import TEXT
from avrec.data.layout import FieldKind
from avrec.data.problems import Place

EVENT_COLUMNS: Mapping[str, pa.DataType] = {
    "user_id": TEXT,
    "item_id": TEXT,
    "event": TEXT,
    "value": pa.float64(),
    "watch_share": pa.float64(),
    "timestamp": pa.int64(),
    "split": TEXT,
}


@dataclass(frozen=True)
class RawData:
    """A log and its side tables as the caller wrote them, only with the types made one.

    Attributes:
        name: of the data set.
        interactions: exactly the columns of `EVENT_COLUMNS`; an optional column that the source lacks is all null.
        items: `item_id` and any side fields.
        users: `user_id` and any side fields, or None.
        features: modality -> (ids of the items that have it, their vectors in the same order).
        media: "audio" or "video" -> (ids of items, their files' paths below `media_root` in the same order; null where the
            item has no such file).
        media_root: the folder that the paths in `media` start from; None without media.
        social: `user_id`, `friend_id` and perhaps a `weight`, or None.
        knowledge: `head`, `relation`, `tail`, or None. An item stands in the graph as the `entity_id` of its side fields, or,
            where there is no such column, as its own id.
        tags: `item_id`, `tag` and perhaps `user_id`, who gave it, and `timestamp`, when; or None. Lists of tags in `items`
            (and of interests in `users`) count besides.
        field_kinds: column of `items` or `users` -> what it is, where `avrec.data.field_kinds` would say another.
        origin: what was read: file names, sizes, SHA-256; plain values only.
        places: how `interactions`, `items`, `users` or a modality is called in an error message.
        problems: what the source itself found wrong; `prepare` raises these together with its own.
    """

    name: str
    interactions: pa.Table
    items: pa.Table
    users: pa.Table | None = None
    features: Mapping[str, tuple[pa.Array, np.ndarray]] = field(default_factory=dict)
    media: Mapping[MediaKind, tuple[pa.Array, pa.Array]] = field(default_factory=dict)
    media_root: Path | None = None
    social: pa.Table | None = None
    knowledge: pa.Table | None = None
    tags: pa.Table | None = None
    field_kinds: Mapping[str, FieldKind] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def place(self, part: str) -> Place:
        """How `part` is called in an error message."""
        return self.places.get(part, Place(part))


class Source(Protocol):
    """Anything that can produce `RawData`."""

    def read(self) -> RawData:
        """Read everything.

        Raises:
            DataError: something is so wrong that no table can be made of it.
        """
        ...


def event_table(columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """An interactions table with the columns of `EVENT_COLUMNS`: casts the given ones, fills the absent ones with null."""
    num_rows = len(columns["user_id"])
    return pa.table(
        {
            name: columns[name].cast(kind) if name in columns else pa.nulls(num_rows, kind)
            for name, kind in EVENT_COLUMNS.items()
        }
    )


def with_text_ids(table: pa.Table, *names: str) -> pa.Table:
    """The table with its whole-number id columns written as decimal text."""
    for name in names:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(TEXT))
    return table


def describe_files(paths: Iterable[Path]) -> dict[str, Any]:
    """The name, size and SHA-256 of files that were read, without their folder: a manifest names no machine."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in paths}


def require_files(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    """The paths of files that a layout must have.

    Raises:
        DataError: naming every file that is missing.
    """
    paths = {name: folder / name for name in names}
    absent = [name for name, path in paths.items() if not path.is_file()]
    if absent:
        raise DataError(
            [f"{folder}: no file {name}. Check the folder's path; it must hold {sorted(paths)}." for name in absent]
        )
    return paths
