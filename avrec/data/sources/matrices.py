"""Feature matrices from files: `.npy` with a row for each items row, or Parquet with `item_id` and a vector column."""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.errors import ArtefactError
from avrec.core.files import read_npy, read_table
from avrec.data.arrow import is_list
from avrec.data.columns import Column, id_text
from avrec.data.problems import Place, Problems

ZeroRows = Literal["error", "absent"]
Matrix = tuple[pa.Array, np.ndarray]


def read_matrix(path: Path, item_ids: pa.Array | None, zero_rows: ZeroRows, problems: Problems) -> Matrix | None:
    """Ids and float32 vectors of one modality, or None after a problem.

    Args:
        path: `.npy` (items, F), row i belongs to `item_ids[i]`; or `.parquet` with `item_id` and one list column, where
            a null vector means that the item lacks the modality.
        item_ids: ids of the items table's rows; None when there is no such table.
        zero_rows: 'absent' takes a row of zeros for an item that lacks the modality.
        problems: gets what is wrong.
    """
    try:
        found = _from_parquet(path, problems) if path.suffix == ".parquet" else _from_npy(path, item_ids, problems)
    except ArtefactError as error:
        problems.lines.append(str(error).replace(str(path), path.name))
        return None
    if found is None:
        return None
    ids, values = found
    if zero_rows == "absent":
        keep = np.any(values != 0, axis=1)
        ids, values = ids.filter(pa.array(keep)), values[keep]
    return ids, values


def _from_npy(path: Path, item_ids: pa.Array | None, problems: Problems) -> Matrix | None:
    if item_ids is None:
        problems.add(path.name, "its rows are in the order of an items table, and none is given. Give `items`.")
        return None
    values = read_npy(path, ndim=2, mmap=False)
    if len(values) != len(item_ids):
        problems.add(
            path.name,
            f"{len(values)} rows, but the items table has {len(item_ids)}. Row i must be the vector of items row i.",
        )
        return None
    single = as_float32(values, path.name, problems)
    return None if single is None else (item_ids, single)


def _from_parquet(path: Path, problems: Problems) -> Matrix | None:
    table = read_table(path)
    vectors = [field.name for field in table.schema if is_list(field.type)]
    if "item_id" not in table.column_names or len(vectors) != 1:
        problems.add(
            path.name,
            f"has the columns {table.column_names}; expected item_id and one list column of numbers.",
        )
        return None
    table = table.filter(pc.is_valid(table[vectors[0]]))
    ids = id_text(Column(table["item_id"], "item_id", Place(path.name), problems)).combine_chunks()
    lists = table[vectors[0]].combine_chunks()
    lengths = np.asarray(pc.list_value_length(lists))
    if len(set(lengths.tolist())) > 1:
        problems.add(path.name, f"vectors have {lengths.min()} to {lengths.max()} numbers; expected one length.")
        return None
    flat = lists.flatten()
    if flat.null_count:
        problems.add(path.name, f"{flat.null_count} numbers inside vectors are null. Fill them or drop the vector.")
        return None
    width = int(lengths[0]) if len(lengths) else 0
    values = as_float32(np.asarray(flat).reshape(len(ids), width), path.name, problems)
    return None if values is None else (ids, values)


def as_float32(values: np.ndarray, name: str, problems: Problems) -> np.ndarray | None:
    """A numeric matrix as float32; any other dtype is a problem."""
    if values.dtype.kind not in "fiu":
        problems.add(name, f"has the dtype {values.dtype}; expected numbers. Save it as float32.")
        return None
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which validation tells of by item
        return np.ascontiguousarray(values, dtype=np.float32)
