"""A list of item ids in a file: which items may be shown."""

from pathlib import Path

import pyarrow as pa

from avrec.core.errors import DataError
from avrec.core.files import read_table

MAX_TEXT_BYTES = 2**30


def read_item_ids(path: str | Path) -> pa.Array:
    """The ids (Arrow large_string) in a Parquet file's column `item_id`, or in a text file, one a line.

    Raises:
        DataError: the file is missing, too large, no text, or names no item.
        ArtefactError: a Parquet file cannot be read or has no such column.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        column = read_table(path, ["item_id"])["item_id"].cast(pa.large_string())
        item_ids = column.combine_chunks().drop_null()
    else:
        try:
            if path.stat().st_size > MAX_TEXT_BYTES:
                raise DataError(
                    [f"{path}: more than {MAX_TEXT_BYTES} bytes. Give a Parquet file with a column item_id."]
                )
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError([f"{path}: cannot be read ({error}). Give a text file with one item id a line."]) from error
        item_ids = pa.array([line for line in lines if line], pa.large_string())
    if not len(item_ids):
        raise DataError([f"{path}: names no item, so nothing could be shown. Give one item id a line."])
    return item_ids
