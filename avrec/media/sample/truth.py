"""The truth about a sample catalogue: what every user would make of every item, kept beside the files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.errors import ArtefactError
from avrec.core.files import check_format_version, read_json, read_npy, write_json, write_npy
from avrec.media.sample.pictures import PICTURES
from avrec.media.sample.sounds import SOUNDS
from avrec.media.sample.users import FOLLOWS, Audience

FORMAT_VERSION = 1
FOLDER = "truth"
TABLE = "truth.json"
UTILITIES = "utilities.npy"


@dataclass(frozen=True)
class Truth:
    """What is true of users and items.

    Attributes:
        user_ids: of the rows.
        item_ids: of the columns.
        utilities: (users, items), larger is liked better.
    """

    user_ids: list[str]
    item_ids: list[str]
    utilities: Float32


def write_truth(audience: Audience, folder: Path) -> None:
    """Write utilities, ids, classes and what each user follows below `folder`, the table last."""
    catalogue = audience.catalogue
    sounds, pictures = list(SOUNDS), list(PICTURES)
    write_npy(folder / FOLDER / UTILITIES, audience.utility.astype(np.float32))
    write_json(
        folder / FOLDER / TABLE,
        {
            "format_version": FORMAT_VERSION,
            "user_ids": audience.user_ids,
            "follows": [FOLLOWS[index] for index in audience.follows],
            "item_ids": catalogue.item_ids,
            "sounds": [sounds[index] for index in catalogue.sound_class],
            "pictures": [pictures[index] for index in catalogue.picture_class],
        },
    )


def read_truth(folder: str | Path) -> Truth:
    """Read the truth of the sample catalogue in `folder`.

    Raises:
        ArtefactError: the folder holds no sample catalogue, or its truth is damaged.
    """
    place = Path(folder) / FOLDER / TABLE
    if not place.is_file():
        raise ArtefactError(
            f"{place}: no such file. Only the sample catalogue has a truth: give its folder, or make it with data=sample."
        )
    table = read_json(place)
    check_format_version(table, place, FORMAT_VERSION)
    user_ids, item_ids = _names(table, "user_ids", place), _names(table, "item_ids", place)
    values = read_npy(place.parent / UTILITIES, ndim=2)
    if values.dtype != np.float32 or values.shape != (len(user_ids), len(item_ids)):
        raise ArtefactError(
            f"{place.parent / UTILITIES}: {values.dtype} {values.shape}; expected float32 for {len(user_ids)} users and "
            f"{len(item_ids)} items. Delete the folder and make the sample again."
        )
    return Truth(user_ids, item_ids, values)


def _names(table: dict[str, Any], key: str, place: Path) -> list[str]:
    names = table.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ArtefactError(f"{place}: {key} is no list of distinct ids. Delete the folder and make the sample again.")
    return names
