import datetime as dt
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.data.content_hash import content_hash, is_storable

TABLE = pa.table(
    {
        "idx": pa.array([0, 1, 2, None], pa.int64()),
        "text": pa.array(["a", "", None, "bc"], pa.large_string()),
        "real": pa.array([1.5, float("nan"), None, 0.0]),
        "flag": pa.array([True, None, False, True]),
        "tags": pa.array([["x", None], [], None, ["y"]], pa.large_list(pa.large_string())),
        "when": pa.array([dt.datetime(2026, 1, 1), None, None, dt.datetime(1999, 1, 1)], pa.timestamp("us")),
        "kind": pa.array(["p", "q", None, "p"]).dictionary_encode(),
    }
)
MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)


def digest(table=TABLE, matrix=MATRIX):
    return content_hash({"t": table}, {"audio": matrix})


def parquet_again(table, **options):
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return pq.read_table(file)


def test_the_hash_is_over_values_alone():
    same = digest()
    assert digest(pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 0), TABLE.slice(1)])) == same  # chunks
    assert digest(pa.concat_tables([TABLE, TABLE]).slice(4)) == same  # offsets into larger buffers
    assert digest(TABLE.select(TABLE.column_names[::-1])) == same
    assert digest(matrix=np.asfortranarray(MATRIX)) == same
    for compression in ("none", "zstd", "snappy"):
        assert digest(parquet_again(TABLE, compression=compression, row_group_size=2)) == same
    assert digest(parquet_again(TABLE, use_dictionary=False, data_page_version="2.0", store_schema=True)) == same
    decoded = TABLE.set_column(6, "kind", TABLE["kind"].cast(pa.large_string()))
    assert digest(decoded) == same
    small = TABLE.set_column(1, "text", TABLE["text"].cast(pa.string()))
    assert digest(small) == same


def test_what_stands_behind_a_null_does_not_count():
    hidden = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(np.array([7, 99]).tobytes())])
    clean = pa.array([7, None], pa.int64())
    assert content_hash({"t": pa.table({"x": hidden})}, {}) == content_hash({"t": pa.table({"x": clean})}, {})


@pytest.mark.parametrize("name", TABLE.column_names)
@pytest.mark.parametrize("row", range(4))
def test_every_value_counts(name, row):
    values = TABLE[name].to_pylist()
    other = {
        "idx": 9,
        "text": "ab",
        "real": 2.5,
        "flag": None,
        "tags": ["x"],
        "when": dt.datetime(2000, 1, 1),
        "kind": "q",
    }
    values[row] = None if values[row] == other[name] else other[name]
    if values[row] == TABLE[name][row].as_py():
        values[row] = {"flag": True}.get(name)
    changed = TABLE.set_column(TABLE.column_names.index(name), name, pa.array(values, TABLE.schema.field(name).type))
    assert digest(changed) != digest()


def test_shape_names_order_and_type_count():
    same = digest()
    assert digest(TABLE.slice(0, 3)) != same
    assert digest(TABLE.take([1, 0, 2, 3])) != same
    assert digest(TABLE.rename_columns(["id", *TABLE.column_names[1:]])) != same
    assert digest(TABLE.set_column(0, "idx", TABLE["idx"].cast(pa.int32()))) != same
    assert digest(matrix=MATRIX.reshape(3, 4)) != same
    assert digest(matrix=MATRIX + np.eye(4, 3, dtype=np.float32) * 1e-6) != same
    split_elsewhere = [pa.table({"x": pa.array(texts, pa.large_string())}) for texts in (["ab", "c"], ["a", "bc"])]
    assert content_hash({"t": split_elsewhere[0]}, {}) != content_hash({"t": split_elsewhere[1]}, {})
    lists = [pa.table({"x": pa.array(rows, pa.large_list(pa.int64()))}) for rows in ([[1], [2, 3]], [[1, 2], [3]])]
    assert content_hash({"t": lists[0]}, {}) != content_hash({"t": lists[1]}, {})


def test_which_types_are_stored():
    for kind in (pa.string(), pa.list_(pa.int8()), pa.dictionary(pa.int8(), pa.string()), pa.date32(), pa.bool_()):
        assert is_storable(kind)
    for kind in (pa.decimal128(9, 2), pa.struct([("x", pa.int8())]), pa.binary(), pa.list_(pa.binary()), pa.null()):
        assert not is_storable(kind)
