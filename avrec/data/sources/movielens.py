"""MovieLens-100K: ratings with times, fields of users and films, and a Freebase knowledge graph."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

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

FILES = ("interactions.parquet", "items.parquet", "users.parquet", "kg.parquet", "item_entity.parquet")


@dataclass(frozen=True)
class MovieLensSource:
    """A folder with the five Parquet files of `FILES`; a rating becomes the event's value.

    `kg.parquet` becomes the knowledge table, and the entity of each film the side field `entity_id`. Genres are tags, titles
    text, the year and the users' ages numbers.

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
        log = read_table(paths["interactions.parquet"], ["user_id", "item_id", "rating", "timestamp"])
        items = read_table(paths["items.parquet"])
        entities = read_table(paths["item_entity.parquet"], ["item_id", "entity_id"])
        position = pc.index_in(items["item_id"], value_set=entities["item_id"].combine_chunks())
        items = items.append_column("entity_id", entities["entity_id"].combine_chunks().cast(TEXT).take(position))
        return RawData(
            name="movielens",
            interactions=event_table(
                {
                    "user_id": log["user_id"].cast(TEXT),
                    "item_id": log["item_id"].cast(TEXT),
                    "event": constant_text("rating", len(log)),
                    "value": log["rating"],
                    "timestamp": log["timestamp"],
                }
            ),
            items=with_text_ids(items, "item_id"),
            users=with_text_ids(read_table(paths["users.parquet"]), "user_id"),
            knowledge=read_table(paths["kg.parquet"], ["head", "relation", "tail"]),
            places={"knowledge": Place("kg.parquet")},
            origin={"files": describe_files(paths.values())},
        )
