"""The few Arrow conversions that every module of this room shares."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool

TEXT = pa.large_string()


def truth(values: pa.Array | pa.ChunkedArray) -> Bool:
    """Arrow booleans to numpy; null is false."""
    return np.asarray(pc.fill_null(values, False), np.bool_)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's string types."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is one of Arrow's list types."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def constant_text(value: str | None, num_rows: int) -> pa.ChunkedArray:
    """A text column that holds one value in every row."""
    return pa.chunked_array([pa.repeat(pa.scalar(value, TEXT), num_rows)])
