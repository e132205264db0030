"""One SHA-256 over the values of tables and matrices: not over file bytes, chunks, compression or encodings."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.data.arrow import is_list, is_text

CHUNK_ROWS = 65_536


def content_hash(tables: Mapping[str, pa.Table], matrices: Mapping[str, np.ndarray]) -> str:
    """The hex digest of named tables and float32 matrices.

    Row order counts (the finisher sorts first); the order of columns, tables and matrices does not.
    """
    digest = hashlib.sha256()
    for name in sorted(tables):
        table = tables[name]
        _put_text(digest, f"table {name} {table.num_rows}")
        for column in sorted(table.column_names):
            _put_text(digest, column)
            _put_column(digest, table[column])
    for name in sorted(matrices):
        _put_text(digest, f"matrix {name} {matrices[name].shape}")
        _put_matrix(digest, matrices[name])
    return digest.hexdigest()


def is_storable(kind: pa.DataType) -> bool:
    """Whether a column of this type can be hashed, hence stored."""
    if pa.types.is_dictionary(kind):
        return is_storable(kind.value_type)
    if is_list(kind):
        return is_storable(kind.value_type)
    return bool(
        is_text(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or (pa.types.is_temporal(kind) and kind.bit_width in (32, 64))
    )


def _put_text(digest: "hashlib._Hash", text: str) -> None:
    data = text.encode("utf-8")
    digest.update(len(data).to_bytes(8, "little") + data)


def _put_column(digest: "hashlib._Hash", column: pa.Array | pa.ChunkedArray) -> None:
    """Type name, validity, then values with nulls as zero or empty; lists by lengths, then their flat values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    _put_text(digest, _type_name(kind))
    digest.update(np.packbits(np.asarray(pc.is_valid(array), np.bool_)).tobytes())
    if pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.large_list(kind.value_type))
    if is_list(array.type):
        _put_numbers(digest, np.asarray(pc.fill_null(pc.list_value_length(array), 0), np.int64))
        _put_column(digest, array.flatten())
    elif is_text(kind):
        _put_strings(digest, pc.fill_null(array.cast(pa.large_string()), ""))
    elif pa.types.is_temporal(kind):
        array = array.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
        _put_numbers(digest, np.asarray(pc.fill_null(array, 0)))
    else:
        _put_numbers(digest, np.asarray(pc.fill_null(array, False if pa.types.is_boolean(kind) else 0)))


def _put_strings(digest: "hashlib._Hash", array: pa.Array) -> None:
    _put_numbers(digest, np.asarray(pc.binary_length(array), np.int64))
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    if data is not None and len(bounds):
        digest.update(memoryview(data)[int(bounds[0]) : int(bounds[-1])])


def _put_numbers(digest: "hashlib._Hash", values: np.ndarray) -> None:
    if values.dtype.kind == "f":  # one NaN, whatever its bits
        values = np.where(np.isnan(values), np.array(np.nan, values.dtype), values)
    digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)


def _put_matrix(digest: "hashlib._Hash", matrix: np.ndarray) -> None:
    for start in range(0, len(matrix), CHUNK_ROWS):
        digest.update(np.ascontiguousarray(matrix[start : start + CHUNK_ROWS], "<f4").data)


def _type_name(kind: pa.DataType) -> str:
    """One name for types that differ only in their memory layout."""
    if is_text(kind):
        return "text"
    if is_list(kind):
        return f"list of {_type_name(kind.value_type)}"
    return str(kind)
