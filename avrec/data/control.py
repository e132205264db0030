"""Control data sets: the same log, but what is known of the items says nothing of them any more.

A model that is trained on one and does as well as before owes nothing to content.
"""

from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import DataError
from avrec.core.files import read_json, read_npy, read_table
from avrec.core.order import generator
from avrec.data.finisher import Finished, write
from avrec.data.layout import MANIFEST, feature_file, presence_column, table_file

Control = Literal["permuted", "random"]
CONTROLS: tuple[Control, ...] = get_args(Control)
IDENTITY = ("item_idx", "item_id")


def write_control(source: Path, folder: Path, control: Control, seed: int) -> Path:
    """Write a control of a prepared data set, unless it stands already.

    `permuted`: everything that is known of an item besides its id and its events (vectors, media files, fields, texts, tags,
    its place in the graph) becomes that of another item, the same for all kinds of content, so that they still fit one
    another. `random`: the numbers of every vector are drawn anew from a standard normal distribution; which items have one
    stays as it is, and so does everything that is no vector.

    Args:
        source: the prepared data set.
        folder: where the control goes; written whole or not at all.
        control: which.
        seed: of the permutation or the numbers. A permutation is that of `avrec evaluate`'s control of the same seed.

    Returns:
        The folder.

    Raises:
        DataError: there are no vectors to draw anew, or the folder holds another control.
    """
    manifest: dict[str, Any] = read_json(source / MANIFEST)
    about = {"control": control, "seed": seed, "of": manifest["content_hash"]}
    if (folder / MANIFEST).is_file():
        if read_json(folder / MANIFEST).get("control") != about:
            raise DataError(
                [f"{folder}: is the control of another data set or seed. Delete it, or choose another folder."]
            )
        return folder
    tables = {name: read_table(source / table_file(name)) for name in manifest["tables"]}
    features = {name: read_npy(source / feature_file(name), ndim=2) for name in manifest["features"]}
    if control == "permuted":
        rows = generator(seed, 0, "permuted content").permutation(len(tables["items"]))
        tables = tables | _permuted_tables(tables, rows)
        features = {name: values[rows] for name, values in features.items()}
    else:
        if not features:
            raise DataError([f"{source}: has no vectors, so none can be drawn anew. Take control=permuted."])
        draw = generator(seed, 0, "random content")
        items = tables["items"]
        features = {
            name: _drawn(values.shape, np.asarray(items[presence_column(name)], np.bool_), draw)
            for name, values in sorted(features.items())
        }
    finished = Finished(tables, features, manifest["counts"], manifest.get("media", {}), tuple(manifest["warnings"]))
    write(finished, {**manifest, "control": about}, folder)
    return folder


def _permuted_tables(tables: dict[str, pa.Table], rows: Int64) -> dict[str, pa.Table]:
    """The items table with the content of item `rows[i]` beside the id of item i, and the tags likewise."""
    items = tables["items"]
    moved = items.combine_chunks().take(pa.array(rows))
    columns = {name: (items if name in IDENTITY else moved)[name] for name in items.column_names}
    found = {"items": pa.table(columns)}
    if "item_tags" in tables:
        tags = tables["item_tags"]
        place = np.empty(len(rows), np.int64)
        place[rows] = np.arange(len(rows))
        item = place[np.asarray(tags["item_idx"])]
        order = np.lexsort((np.asarray(tags["tag_idx"]), item))
        at = tags.column_names.index("item_idx")
        found["item_tags"] = tags.set_column(at, "item_idx", pa.array(item)).take(pa.array(order))
    return found


def _drawn(shape: tuple[int, ...], present: Bool, draw: np.random.Generator) -> Float32:
    values = draw.standard_normal(shape, np.float32)
    values[~present] = 0.0
    return values
