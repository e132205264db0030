"""HetRec 2011 Last.fm: listening counts of artists, friends and tags; the log has no time."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from avrec.core.files import read_table
from avrec.data.arrow import TEXT, constant_text
from avrec.data.problems import Place
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

    Friends become the social table. Who tagged what becomes the table of tags. Of the 20,665 pairs of user and artist that
    were tagged and listened to, those in validation and test are left out at preparation, since a tag tells of the event.
    Its dates are kept; the log has no time, so they decide nothing.

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
        tags = read_table(paths["tags.parquet"], ["user_id", "item_id", "tag", "timestamp"])
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
            tags=with_text_ids(tags, "user_id", "item_id"),
            origin={"files": describe_files(paths.values())},
            places={"social": Place("friends.parquet"), "tags": Place("tags.parquet")},
        )
