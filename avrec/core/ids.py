"""`IdMap`: the only thing that converts between the caller's ids and dense indices."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Int64, UInt64
from avrec.core.errors import DataError


class IdMap:
    """An append-only list of distinct string ids; the position of an id is its dense int64 index.

    Args:
        ids: distinct, non-null strings, in index order.

    Raises:
        DataError: an id is null or occurs twice.
    """

    def __init__(self, ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        if isinstance(ids, pa.ChunkedArray):
            ids = ids.combine_chunks()
        array = ids if isinstance(ids, pa.Array) else pa.array(list(ids), pa.large_string())
        array = array.cast(pa.large_string())
        if array.null_count:
            raise DataError([f"{array.null_count} ids are null. Give every row an id."])
        if len(pc.unique(array)) != len(array):
            counts = pc.value_counts(array)
            twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
            raise DataError(
                [f"{len(twice)} ids occur more than once, the first is {twice[0].as_py()!r}. Keep one row for each id."]
            )
        self._ids = array

    @classmethod
    def from_values(cls, values: pa.Array | pa.ChunkedArray | Iterable[str]) -> "IdMap":
        """Number the distinct values in the order of their UTF-8 bytes, so that every engine agrees."""
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            values = pa.array(list(values), pa.large_string())
        distinct = pc.drop_null(pc.unique(values.cast(pa.large_string())))
        return cls(distinct.take(pc.sort_indices(distinct.cast(pa.large_binary()))))

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, IdMap) and self._ids.equals(other._ids)

    __hash__ = None  # type: ignore[assignment]

    @property
    def array(self) -> pa.Array:
        """All ids in index order (Arrow large_string)."""
        return self._ids

    def index(self, ids: pa.Array | pa.ChunkedArray | Sequence[str]) -> Int64:
        """Dense indices of `ids`; -1 where an id is unknown or null."""
        values = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(list(ids), pa.large_string())
        found = pc.index_in(values.cast(pa.large_string()), value_set=self._ids)
        return np.asarray(pc.fill_null(found, -1).cast(pa.int64()), dtype=np.int64)

    def ids(self, index: Int64 | Sequence[int]) -> list[str]:
        """The caller's ids of dense indices."""
        return list(self._ids.take(pa.array(index, pa.int64())).to_pylist())

    def hashes(self) -> UInt64:
        """A 64-bit BLAKE2b hash of each id's UTF-8 bytes: the same on every machine, whatever other ids stand beside it."""
        ids = self._ids.cast(pa.large_binary()).to_pylist()
        digests = b"".join(hashlib.blake2b(value, digest_size=8).digest() for value in ids)
        return np.frombuffer(digests, ">u8").astype(np.uint64)

    def extended(self, ids: Sequence[str]) -> "IdMap":
        """A map with the unknown ones of `ids` appended; the old indices stay."""
        distinct = list(dict.fromkeys(ids))
        new = [value for value, index in zip(distinct, self.index(distinct), strict=True) if index < 0]
        return IdMap(pa.concat_arrays([self._ids, pa.array(new, pa.large_string())]))
