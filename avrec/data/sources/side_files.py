"""The caller's files of side information: friends, tags and a knowledge graph."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from avrec.data.columns import TimeUnit, id_text, numbers, plain_text, seconds
from avrec.data.problems import Place, Problems
from avrec.data.sources.tablefile import LoadedTable, load_table

COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "friends": (("user_id", "friend_id"), ("weight",)),
    "tags": (("item_id", "tag"), ("user_id", "timestamp")),
    "knowledge": (("head", "relation", "tail"), ()),
}


@dataclass(frozen=True)
class SideFiles:
    """CSV, TSV or Parquet files; each may be absent.

    Attributes:
        friends: `user_id`, `friend_id` and perhaps a `weight`, how close they are; in the given direction only.
        tags: `item_id`, `tag` and perhaps `user_id`, who gave it, and `timestamp`, when.
        knowledge: `head`, `relation`, `tail`. An item stands in it under the `entity_id` of the items table, or, where there
            is no such column, under its item_id.
    """

    friends: str | Path | None = None
    tags: str | Path | None = None
    knowledge: str | Path | None = None

    def paths(self) -> dict[str, Path]:
        """The files that are given, by what they hold."""
        return {part: Path(path) for part in COLUMNS if (path := getattr(self, part)) is not None}

    def places(self) -> dict[str, Place]:
        """How they are called in messages, by the name of the table that `RawData` makes of them."""
        return {"social" if part == "friends" else part: Place(path.name) for part, path in self.paths().items()}

    def read(self, separator: str | None, unit: TimeUnit, problems: Problems) -> dict[str, pa.Table]:
        """Read them.

        Args:
            separator: of text files; by the file's name when None.
            unit: of times that are numbers.
            problems: gets what is wrong.

        Returns:
            `social`, `tags` and `knowledge`, as far as they are given and can be read.
        """
        found = {}
        for part, path in self.paths().items():
            required, optional = COLUMNS[part]
            loaded = load_table(path, separator, required, optional, problems)
            if loaded is not None:
                found["social" if part == "friends" else part] = _typed(loaded, unit, problems)
        return found


def _typed(loaded: LoadedTable, unit: TimeUnit, problems: Problems) -> pa.Table:
    columns = {}
    for name in loaded.table.column_names:
        column = loaded.column(name, problems)
        match name:
            case "weight":
                columns[name] = numbers(column)
            case "timestamp":
                columns[name] = seconds(column, unit)
            case "tag":
                columns[name] = plain_text(column)
            case _:
                columns[name] = id_text(column)
    return pa.table(columns)
