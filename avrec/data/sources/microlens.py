"""MicroLens (Ni et al., 2023) as its authors publish it: a log with times, titles, categories, and a folder of short videos."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from avrec.core.clips import MEDIA_KINDS, MediaKind
from avrec.core.errors import DataError
from avrec.data.arrow import TEXT, constant_text
from avrec.data.columns import Column, seconds
from avrec.data.layout import FieldKind
from avrec.data.problems import Place, Problems
from avrec.data.sources.base import RawData, describe_files, event_table
from avrec.data.sources.tablefile import load_table

PAIRS = "_pairs.csv"
TITLES = ("_titles.csv", "_title_en.csv")
CATEGORIES = "tags_to_summary.csv"
COUNTS = "_likes_and_views.txt"
FOLDERS: dict[MediaKind, str] = {"audio": "_audios", "video": "_videos"}
KINDS: dict[str, FieldKind] = {"title": "text", "category": "category", "likes": "ignore", "views": "ignore"}


@dataclass(frozen=True)
class MicroLensSource:
    """A folder with `MicroLens-<size>_pairs.csv` (user, item, timestamp in milliseconds) and what stands beside it.

    Read where they are there: `_titles.csv` or `_title_en.csv` (item, title; with or without a header),
    `tags_to_summary.csv` (item, category), `_likes_and_views.txt` (item, likes, views; without a header), and the media as
    `<item>.mp4` and the like in `_videos`, `_audios` or, for both, a folder given by name. Without a folder of sounds the
    videos serve as sound too. Likes and views were counted when the set was collected, after the held-out events: they are kept as
    columns and marked as not to be used.

    Attributes:
        folder: the folder.
        last_events: of each user the last so many events are kept, as in the published protocol; all when None.
        videos: name of the folder of videos; by the log's name when None.
    """

    folder: str | Path
    last_events: int | None = 13
    videos: str | None = None

    def read(self) -> RawData:
        """Read the folder.

        Raises:
            DataError: there is not exactly one log, or it cannot be read.
        """
        folder = Path(self.folder)
        log_file = self._log_file(folder)
        prefix = log_file.name.removesuffix(PAIRS)
        problems = Problems()
        log = self._log(log_file, problems)
        files = [log_file]
        sides: list[pa.Table] = []
        for names, columns in (
            ([prefix + name for name in TITLES], ("item_id", "title")),
            ([CATEGORIES], ("item_id", "category")),
            ([prefix + COUNTS], ("item_id", "likes", "views")),
        ):
            found = next((folder / name for name in names if (folder / name).is_file()), None)
            if found is not None:
                files.append(found)
                sides.append(_side(found, columns))
        items = _items(log, sides)
        folders = {kind: self._media_folder(kind, prefix) for kind in MEDIA_KINDS}
        media = {
            kind: _media(folder, name, items["item_id"]) for kind, name in folders.items() if (folder / name).is_dir()
        }
        if "video" in media and "audio" not in media:
            media["audio"] = media["video"]
        return RawData(
            name="microlens",
            interactions=log,
            items=items,
            media=media,
            media_root=folder if media else None,
            field_kinds={name: kind for name, kind in KINDS.items() if name in items.column_names},
            origin={"files": describe_files(files), "last_events": self.last_events},
            places={"interactions": Place(log_file.name)},
            problems=tuple(problems.lines),
        )

    def _log_file(self, folder: Path) -> Path:
        found = sorted(folder.glob(f"*{PAIRS}"))
        if len(found) != 1:
            names = [path.name for path in found] or "none"
            raise DataError(
                [
                    f"{folder}: expected one log named like MicroLens-100k{PAIRS}; found {names}. Check the folder's path."
                ]
            )
        return found[0]

    def _media_folder(self, kind: MediaKind, prefix: str) -> str:
        return self.videos if kind == "video" and self.videos is not None else prefix + FOLDERS[kind]

    def _log(self, path: Path, problems: Problems) -> pa.Table:
        loaded = load_table(path, ",", ("user", "item", "timestamp"), (), problems)
        if loaded is None:
            problems.raise_any()
        assert loaded is not None
        times = Column(loaded.table["timestamp"], "timestamp", loaded.place, problems)
        log = event_table(
            {
                "user_id": loaded.table["user"],
                "item_id": loaded.table["item"],
                "event": constant_text("comment", len(loaded.table)),
                "timestamp": seconds(times, "ms"),
            }
        )
        return log if self.last_events is None else _last(log, self.last_events)


def _last(log: pa.Table, count: int) -> pa.Table:
    """Each user's last `count` events; of one second the later in the file is the later."""
    user = pc.rank(log["user_id"], tiebreaker="dense").to_numpy()
    time = pc.fill_null(log["timestamp"], 0).to_numpy()
    order = np.lexsort((np.arange(len(log)), time, user))
    ends = np.cumsum(np.bincount(user[order]))[user[order]]
    kept = np.sort(order[ends - np.arange(len(order)) <= count])
    return log.take(pa.array(kept))


def _side(path: Path, columns: Sequence[str]) -> pa.Table:
    """A table of items with or without a line of names: such a line has no number in its first cell."""
    tabs = path.suffix == ".txt"
    table = pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(column_names=list(columns)),
        parse_options=pacsv.ParseOptions(
            delimiter="\t" if tabs else ",", newlines_in_values=not tabs, invalid_row_handler=lambda row: "skip"
        ),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(columns, TEXT), strings_can_be_null=False),
    )
    table = table.set_column(0, "item_id", pc.utf8_trim_whitespace(table["item_id"]))
    table = table.filter(pc.match_substring_regex(table["item_id"], r"^\d+$"))
    first = np.unique(np.asarray(table["item_id"].to_pylist(), object).astype(str), return_index=True)[1]
    table = table.take(pa.array(np.sort(first)))
    for index, name in enumerate(columns):
        if KINDS.get(name) == "ignore":
            table = table.set_column(index, name, table[name].cast(pa.int64()))
    return table


def _items(log: pa.Table, sides: Sequence[pa.Table]) -> pa.Table:
    """Every item of the log with its side fields; null where a table lacks it."""
    ids = pc.unique(log["item_id"])
    columns: dict[str, pa.Array] = {"item_id": ids}
    for side in sides:
        position = pc.index_in(ids, value_set=side["item_id"].combine_chunks())
        for name in side.column_names[1:]:
            columns[name] = side[name].combine_chunks().take(position)
    return pa.table(columns)


def _media(folder: Path, name: str, item_ids: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Ids of the items that have a file `<item>.<ending>` in the folder, and its path."""
    files = pa.array(sorted(entry.name for entry in os.scandir(folder / name) if entry.is_file()), TEXT)
    stems = pc.replace_substring_regex(files, r"\.[^.]*$", "")
    place = pc.index_in(item_ids, value_set=stems).combine_chunks()
    known = pc.is_valid(place)
    paths = pc.binary_join_element_wise(pa.scalar(f"{name}/", TEXT), files, pa.scalar("", TEXT))
    return item_ids.combine_chunks().filter(known), paths.take(place.filter(known))
