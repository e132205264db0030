"""The TikTok micro-video set in DiffMM's split: implicit interactions, audio and visual features, no time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.files import read_npy, read_table
from avrec.data.arrow import TEXT, constant_text
from avrec.data.sources.base import RawData, describe_files, event_table, require_files

NUM_USERS = 9308


@dataclass(frozen=True)
class TikTokSource:
    """A folder with `interactions.parquet` (user_id, item_id, split), `audio.npy` and `visual.npy` (row = item_id).

    The catalogue is every row of the features: items that nobody met in training stay in it.

    Attributes:
        folder: the folder.
        num_users: users are numbered 0 to `num_users - 1`; some of them have no training row.
    """

    folder: str | Path
    num_users: int = NUM_USERS

    def read(self) -> RawData:
        """Read the folder.

        Raises:
            DataError: a file is missing.
            ArtefactError: a file is damaged.
        """
        paths = require_files(Path(self.folder), ("interactions.parquet", "audio.npy", "visual.npy"))
        log = read_table(paths["interactions.parquet"], ["user_id", "item_id", "split"])
        features = {name: read_npy(paths[f"{name}.npy"], ndim=2, mmap=False) for name in ("audio", "visual")}
        items = numbered_ids(max(len(values) for values in features.values()))
        split = log["split"].cast(TEXT)
        return RawData(
            name="tiktok",
            interactions=event_table(
                {
                    "user_id": log["user_id"].cast(TEXT),
                    "item_id": log["item_id"].cast(TEXT),
                    "event": constant_text("view", len(log)),
                    "split": pc.if_else(pc.equal(split, "val"), pa.scalar("validation", TEXT), split),
                }
            ),
            items=pa.table({"item_id": items}),
            users=pa.table({"user_id": numbered_ids(self.num_users)}),
            features={
                name: (items.slice(0, len(values)), np.ascontiguousarray(values, np.float32))
                for name, values in features.items()
            },
            origin={"files": describe_files(paths.values())},
        )


def numbered_ids(count: int) -> pa.Array:
    """The decimal texts of 0 to `count - 1`."""
    return pa.array(np.arange(count)).cast(TEXT)
