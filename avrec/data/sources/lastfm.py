"""HetRec 2011 Last.fm: listening counts of artists, friends and tags; the log has no time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.files import read_table
from avrec.data.arrow import TEXT, constant_text
from avrec.data.sources.base import (
    RawData,
    describe_files,
    event_table,
    require_files,
    with_text_ids,
)

FILES = ("interactions.parquet", "items.parquet", "friends.parquet", "tags.parquet")


@dataclass(frozen=True)
class LastFmSource:
    """A folder with the four Parquet files of `FILES`; a listening count becomes the event's value.

    Friends become the social table. Tags become the artist's side field `tags`: distinct, the one most users gave first.

    Attributes:
        folder: the folder.
    """

    folder: str | Path

    def read(self) -> RawData:
        """Read the folder.

        Raises:
            DataError: a file is missing.
            ArtefactError: a file is damaged.
        """
        paths = require_files(Path(self.folder), FILES)
        log = read_table(paths["interactions.parquet"], ["user_id", "item_id", "count"])
        items = read_table(paths["items.parquet"])
        tags = read_table(paths["tags.parquet"], ["item_id", "tag"])
        tagged = pc.is_in(tags["item_id"], value_set=items["item_id"].combine_chunks())
        items = items.append_column("tags", tag_lists(items["item_id"], tags.filter(tagged)))
        return RawData(
            name="lastfm",
            interactions=event_table(
                {
                    "user_id": log["user_id"].cast(TEXT),
                    "item_id": log["item_id"].cast(TEXT),
                    "event": constant_text("listen", len(log)),
                    "value": log["count"].cast(pa.float64()),
                }
            ),
            items=with_text_ids(items, "item_id"),
            social=with_text_ids(
                read_table(paths["friends.parquet"], ["user_id", "friend_id"]), "user_id", "friend_id"
            ),
            origin={
                "files": describe_files(paths.values()),
                "tags_of_unknown_artists": len(tags) - int(pc.sum(tagged).as_py() or 0),
            },
        )


def tag_lists(item_ids: pa.ChunkedArray, tags: pa.Table) -> pa.Array:
    """For each item its distinct tags, most often given first, ties by the tag's bytes; null where it has none."""
    counted = tags.group_by(["item_id", "tag"]).aggregate([([], "count_all")])
    row = pc.index_in(counted["item_id"], value_set=item_ids.combine_chunks())
    counted = counted.append_column("row", row).append_column("bytes", counted["tag"].cast(pa.large_binary()))
    counted = counted.sort_by([("row", "ascending"), ("count_all", "descending"), ("bytes", "ascending")])
    lengths = np.bincount(np.asarray(counted["row"]), minlength=len(item_ids))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = counted["tag"].combine_chunks().cast(TEXT)
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)
    return pc.if_else(pa.array(lengths > 0), lists, pa.scalar(None, lists.type))
