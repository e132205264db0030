"""`items.parquet` of a bundle: the ids, and what a page shows of the items where the data set has it."""

import numpy as np
import pyarrow as pa

from avrec.bundle.display import PATHS, TAGS, TITLE, is_text
from avrec.core.dataset import Dataset
from avrec.core.side import Tags

MAX_TAGS = 8
TITLES = ("title", "name")  # of the first such column


def item_rows(dataset: Dataset) -> pa.Table:
    """`item_id`, and `title`, `tags`, `audio_path`, `video_path` of a data set that has them; row = item_idx."""
    columns = {"item_id": dataset.items.array}
    columns |= {TITLE: titles} if (titles := _titles(dataset)) is not None else {}
    columns |= {TAGS: _tags(dataset.item_tags)} if dataset.item_tags is not None else {}
    for kind, name in PATHS.items():
        if kind in dataset.media:
            columns[name] = pa.array(dataset.media[kind].paths, pa.string())
    return pa.table(columns)


def _titles(dataset: Dataset) -> pa.ChunkedArray | None:
    table = dataset.item_table
    if table is None:
        return None
    return next((table[name] for name in TITLES if name in table.column_names and is_text(table[name].type)), None)


def _tags(tags: Tags) -> pa.Array:
    """The tags that most people gave, at most `MAX_TAGS` an item; of equal ones the first by name."""
    rows = tags.rows
    item = np.repeat(np.arange(rows.num_rows), np.diff(rows.indptr))
    order = np.lexsort((rows.column, -rows.weight, item))
    kept = order[np.arange(len(item)) - rows.indptr[item] < MAX_TAGS]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(np.diff(rows.indptr), MAX_TAGS))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), tags.names.array.take(pa.array(rows.column[kept])))
