"""The caller's own tables: interactions, and where they exist items, users and feature matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from avrec.core.clips import MEDIA_KINDS, MediaKind
from avrec.data.arrow import TEXT
from avrec.data.columns import TimeUnit, id_text, numbers, plain_text, seconds, split_names
from avrec.data.layout import FieldKind
from avrec.data.problems import Place, Problems
from avrec.data.sources.base import EVENT_COLUMNS, RawData, describe_files, event_table
from avrec.data.sources.delimited import typed
from avrec.data.sources.matrices import Matrix, ZeroRows, read_matrix
from avrec.data.sources.side_files import SideFiles
from avrec.data.sources.tablefile import LoadedTable, load_table

ID_COLUMNS = ("user_id", "item_id")
OPTIONAL_COLUMNS = tuple(name for name in EVENT_COLUMNS if name not in ID_COLUMNS)


@dataclass(frozen=True)
class TablesSource:
    """Own data as CSV, TSV or Parquet; `TablesSource("interactions.csv")` is the smallest case.

    Attributes:
        interactions: file with `user_id`, `item_id` and optionally `timestamp`, `event`, `value`, `watch_share`, `split`.
        items: file with `item_id` and any side fields; its row order is the row order of `.npy` features. With a
            `media_root` its columns `audio` and `video` are paths below that folder, an empty cell where an item has no
            such file; one video file may stand in both.
        users: file with `user_id` and any side fields; a column `interests` holds tags, cut at `|`.
        features: modality -> `.npy` or Parquet file of vectors.
        name: of the data set.
        separator: of text files; a comma, and a tab where the name ends in `.tsv`, when None.
        time_unit: of timestamps that are numbers.
        zero_rows: whether a feature row of zeros is an error or means that the item lacks the modality.
        media_root: folder of the media files; without it `audio` and `video` are side fields as any other.
        side: files of friends, tags and a graph.
        field_kinds: column of items or users -> numeric, category, text, tags or ignore, where the rules of
            `avrec.data.field_kinds` would say another.
    """

    interactions: str | Path
    items: str | Path | None = None
    users: str | Path | None = None
    features: Mapping[str, str | Path] = field(default_factory=dict)
    name: str = "tables"
    separator: str | None = None
    time_unit: TimeUnit = "s"
    zero_rows: ZeroRows = "error"
    media_root: str | Path | None = None
    side: SideFiles = field(default_factory=SideFiles)
    field_kinds: Mapping[str, FieldKind] = field(default_factory=dict)

    def read(self) -> RawData:
        """Read every table.

        What is wrong becomes `RawData.problems`, so that `prepare` tells it together with what it finds itself.

        Raises:
            DataError: no table of interactions can be made; what was found in the other files is in the message too.
        """
        problems = Problems()
        self._check_files(problems)
        tables = {
            "interactions": load_table(Path(self.interactions), self.separator, ID_COLUMNS, OPTIONAL_COLUMNS, problems)
        }
        for part, path, id_name in (("items", self.items, "item_id"), ("users", self.users, "user_id")):
            if path is not None:
                tables[part] = load_table(Path(path), self.separator, [id_name], None, problems)
        loaded = {part: table for part, table in tables.items() if table is not None}
        columns = {part: self._convert(part, table, problems) for part, table in loaded.items()}
        features = self._features(columns.get("items"), problems)
        media = self._media(loaded.get("items"), columns.get("items"), problems)
        side = self.side.read(self.separator, self.time_unit, problems)
        if "interactions" not in columns:
            problems.raise_any()
        return RawData(
            name=self.name,
            interactions=columns["interactions"],
            items=columns.get("items", pa.table({"item_id": pa.array([], TEXT)})),
            users=columns.get("users"),
            features=features,
            media=media,
            media_root=None if self.media_root is None else Path(self.media_root),
            social=side.get("social"),
            knowledge=side.get("knowledge"),
            tags=side.get("tags"),
            field_kinds=dict(self.field_kinds),
            origin=self._origin(loaded),
            places={part: table.place for part, table in loaded.items()}
            | self.side.places()
            | {modality: Place(Path(path).name) for modality, path in self.features.items()}
            | {kind: loaded["items"].place for kind in media},
            problems=tuple(problems.lines),
        )

    def _paths(self) -> list[Path]:
        paths = (self.interactions, self.items, self.users, *self.features.values())
        return [*(Path(path) for path in paths if path is not None), *self.side.paths().values()]

    def _check_files(self, problems: Problems) -> None:
        for path in self._paths():
            if not path.is_file():
                problems.add(str(path), "no such file. Check the path.")
        if self.separator is not None and len(self.separator) != 1:
            problems.add("separator", f"is {self.separator!r}; expected one character.")
        for name, kind in self.field_kinds.items():
            if kind not in get_args(FieldKind):
                kinds = ", ".join(get_args(FieldKind))
                problems.add("field_kinds", f"{name!r} is to be {kind!r}; expected one of {kinds}.")
        problems.raise_any()

    def _convert(self, part: str, loaded: LoadedTable, problems: Problems) -> pa.Table:
        if part == "interactions":
            return self._events(loaded, problems)
        id_name = "item_id" if part == "items" else "user_id"
        columns = {id_name: id_text(loaded.column(id_name, problems))}
        for name in loaded.table.column_names:
            if name != id_name and not (part == "items" and self._is_media(name)):
                columns[name] = typed(loaded.table[name]) if loaded.is_text else loaded.table[name]
        return pa.table(columns)

    def _events(self, loaded: LoadedTable, problems: Problems) -> pa.Table:
        columns = {name: id_text(loaded.column(name, problems)) for name in ID_COLUMNS}
        for name in OPTIONAL_COLUMNS:
            if name not in loaded.table.column_names:
                continue
            column = loaded.column(name, problems)
            match name:
                case "timestamp":
                    columns[name] = seconds(column, self.time_unit)
                case "value" | "watch_share":
                    columns[name] = numbers(column)
                case "split":
                    columns[name] = split_names(column)
                case _:
                    columns[name] = plain_text(column)
        return event_table(columns)

    def _features(self, items: pa.Table | None, problems: Problems) -> dict[str, Matrix]:
        item_ids = None if items is None else items["item_id"].combine_chunks()
        found = {
            modality: read_matrix(Path(path), item_ids, self.zero_rows, problems)
            for modality, path in self.features.items()
        }
        return {modality: matrix for modality, matrix in found.items() if matrix is not None}

    def _is_media(self, column: str) -> bool:
        return self.media_root is not None and column in MEDIA_KINDS

    def _media(
        self, loaded: LoadedTable | None, items: pa.Table | None, problems: Problems
    ) -> dict[MediaKind, tuple[pa.Array, pa.Array]]:
        """The path columns of the items table."""
        if self.media_root is None:
            return {}
        if self.items is None:
            problems.add("media_root", "is given, but no items table. Give `items` with item_id and audio or video.")
        if loaded is None or items is None:
            return {}
        kinds = [kind for kind in MEDIA_KINDS if kind in loaded.table.column_names]
        if not kinds:
            names = loaded.table.column_names
            problems.add(
                loaded.place,
                f"media_root is given, but there is no column 'audio' or 'video'; it has {names}. Add one that holds paths "
                "below media_root.",
            )
        ids = items["item_id"].combine_chunks()
        return {kind: (ids, plain_text(loaded.column(kind, problems)).combine_chunks()) for kind in kinds}

    def _origin(self, loaded: Mapping[str, LoadedTable]) -> dict[str, Any]:
        ignored = {table.place.name: table.ignored for table in loaded.values() if table.ignored}
        return {
            "files": describe_files(self._paths()),
            "ignored_columns": ignored,
            "time_unit": self.time_unit,
        }
