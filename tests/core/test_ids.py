import hashlib

import pyarrow as pa
import pytest

from avrec.core.errors import DataError
from avrec.core.ids import IdMap


def test_from_values_numbers_by_utf8_bytes():
    ids = IdMap.from_values(["b", "a", "é", "Z", "b", "10", "9"])
    assert ids.array.to_pylist() == ["10", "9", "Z", "a", "b", "é"]
    chunked = pa.chunked_array([["b", None], ["a", "b"]])
    assert IdMap.from_values(chunked).array.to_pylist() == ["a", "b"]
    assert len(IdMap.from_values([])) == 0


def test_index_and_ids_are_each_others_inverse():
    ids = IdMap(["x", "a", "m"])
    assert ids.index(["m", "unknown", "x"]).tolist() == [2, -1, 0]
    assert ids.index(pa.array([None, "a"])).tolist() == [-1, 1]
    assert ids.ids(ids.index(["a", "x"])) == ["a", "x"]
    assert ids.index([]).tolist() == [] and ids.ids([]) == []


def test_extension_appends_and_never_moves():
    ids = IdMap(["b", "c"])
    longer = ids.extended(["a", "c", "a", "d"])
    assert longer.array.to_pylist() == ["b", "c", "a", "d"]
    assert ids.array.to_pylist() == ["b", "c"] and ids != longer
    assert ids.extended([]) == ids == IdMap(pa.chunked_array([["b"], ["c"]]))


def test_null_and_repeated_ids_are_refused():
    with pytest.raises(DataError, match=r"1 ids are null. Give every row an id"):
        IdMap(pa.array(["a", None]))
    with pytest.raises(DataError, match=r"1 ids occur more than once, the first is 'b'. Keep one row for each id"):
        IdMap(["b", "a", "b"])


def test_hashes_are_blake2b_of_the_bytes():
    ids = IdMap(["é", "a"])
    expected = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) for text in ("é", "a")]
    assert ids.hashes().tolist() == expected
    assert len(IdMap([]).hashes()) == 0


def test_a_map_is_no_key():
    with pytest.raises(TypeError, match="unhashable"):
        hash(IdMap(["a"]))
