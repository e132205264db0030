"""The sample catalogue: real short media files that are made on the first use, and users who hear and see them."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec.data.arrow import TEXT
from avrec.data.sources.base import RawData, event_table
from avrec.media.sample.catalogue import Catalogue
from avrec.media.sample.users import EVENTS, Audience
from avrec.media.sample.writer import write_sample

SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class SampleSource:
    """Writes the sample catalogue into a folder, or finds it there, and reads its log.

    Attributes:
        folder: where the files are; each item's path is relative to it.
        seed: of everything.
        num_items: items.
        num_users: users.
        num_workers: processes that write files.
    """

    folder: str | Path
    seed: int = 7
    num_items: int = 320
    num_users: int = 600
    num_workers: int = 2

    def read(self) -> RawData:
        """Write what is missing and read.

        The tables hold nothing of the truth; that is in the folder, for `avrec.baselines.oracle`.

        Raises:
            ArtefactError: the folder holds something else.
            MissingExtraError: files must be written and PyAV is not installed.
            ConfigError: a number is out of range.
        """
        catalogue = Catalogue(self.seed, self.num_items)
        audience = Audience(catalogue, self.num_users)
        write_sample(audience, self.folder, self.num_workers, _Lines())
        item_ids, user_ids = pa.array(catalogue.item_ids, TEXT), pa.array(audience.user_ids, TEXT)
        paths, friends, log = pa.array(catalogue.paths, TEXT), audience.friends, audience.log
        return RawData(
            name="sample",
            interactions=event_table(
                {
                    "user_id": user_ids.take(pa.array(log.user)),
                    "item_id": item_ids.take(pa.array(log.item)),
                    "event": pa.array(np.array(EVENTS)[log.event]),
                    "timestamp": pa.array(log.time_sec),
                }
            ),
            items=pa.table(
                {
                    "item_id": item_ids,
                    "released": pa.array(audience.release_sec),
                    "tags": pa.array(audience.tags, pa.large_list(TEXT)),
                }
            ),
            users=pa.table({"user_id": user_ids}),
            media={
                "audio": (item_ids.filter(pa.array(catalogue.has_sound)), paths.filter(pa.array(catalogue.has_sound))),
                "video": (
                    item_ids.filter(pa.array(catalogue.has_picture)),
                    paths.filter(pa.array(catalogue.has_picture)),
                ),
            },
            media_root=Path(self.folder),
            social=pa.table(
                {
                    "user_id": user_ids.take(pa.array(friends[:, 0])),
                    "friend_id": user_ids.take(pa.array(friends[:, 1])),
                }
            ),
            origin={"generator": "avrec.media.sample", "seed": self.seed},
        )


class _Lines:
    """A line now and then, and one at the end, so that nobody waits before a silent screen."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def __call__(self, count: int, total: int) -> None:
        now = time.monotonic()
        if count == total or now - self.last >= SECONDS_BETWEEN_LINES:
            self.last = now
            rate = count / max(now - self.began, 1e-9)
            print(f"sample catalogue: {count} of {total} files written, {rate:.1f} a second", flush=True)
