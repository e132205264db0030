"""Records of one size by name, kept on disk: many processes add to it at once, and no death of theirs loses what was added."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import ArtefactError, DataError
from avrec.core.files import file_lock
from avrec.data.record_key import claim
from avrec.data.record_parts import (
    Part,
    RecordLayout,
    blocks_of,
    committed,
    leftovers,
    part_table,
    read_part,
    write_index,
    write_part,
)
from avrec.data.record_reader import RecordReader, Shards
from avrec.data.record_sealing import seal_parts

SHARD_BYTES = 2 * 2**30
INDEX_BYTES = 256  # a record's name and note in the index, before compression: a guess on the high side
MAX_SHOWN = 5
MAX_LOOKS = 100
T = TypeVar("T")
DTYPES = ("float16", "float32", "uint8")


class RecordCache:
    """Records of one shape and dtype by name; open it with `RecordCache.open`.

    Attributes:
        folder: of the key, the parts and the locks.
        layout: of the records.
        unreadable: parts whose index is damaged, each with the reason; what they held counts as missing.
    """

    def __init__(self, folder: Path, layout: RecordLayout) -> None:
        self.folder = folder
        self.layout = layout
        self.unreadable: dict[Path, str] = {}
        self._parts = folder / "parts"
        self._writers = folder / "writers.lock"  # shared while a part is written, alone to sweep up after the dead
        self._sealer = folder / "sealer.lock"
        self._known: dict[Path, Part] = {}

    @classmethod
    def open(
        cls, folder: str | Path, key: Mapping[str, Any], shape: tuple[int, ...], dtype: object, num_clips: int = 1
    ) -> "RecordCache":
        """Open the cache in `folder`, or begin one.

        Args:
            folder: of this cache alone.
            key: plain values that tell what the records are; every entry must equal what the cache was begun with.
            shape: of a record.
            dtype: float16, float32 or uint8.
            num_clips: C, how many valid shares are kept beside a record.

        Raises:
            ArtefactError: the folder holds records of another key, shape or dtype, or no cache.
        """
        layout = RecordLayout(tuple(int(length) for length in shape), np.dtype(dtype), num_clips)  # type: ignore[call-overload]
        assert layout.dtype.name in DTYPES and layout.record_bytes > 0 and num_clips > 0, layout
        cache = cls(Path(folder), layout)
        records = {"shape": layout.shape, "dtype": layout.dtype.name, "num_clips": num_clips}
        claim(cache.folder / "key.json", cache._writers, {**key, "record": records})
        cache._sweep()
        return cache

    def missing(self, names: Sequence[str]) -> Int64:
        """Positions of names that neither have a record nor are known to have none; a repeated name is given once."""
        tables = [part.table["name"] for part in self._unsealed(self._scan)]
        asked = pa.array(names, pa.large_string())
        known = pa.chunked_array([chunk for table in tables for chunk in table.chunks], pa.large_string())
        stored = pc.is_in(asked, value_set=known.combine_chunks(), skip_nulls=True).to_numpy(zero_copy_only=False)
        first = pc.index_in(asked, value_set=asked).to_numpy(zero_copy_only=False) == np.arange(len(asked))
        return np.flatnonzero(~stored & first)

    def append(
        self, names: Sequence[str], values: np.ndarray, valid: Float32, notes: Sequence[str | None] | None = None
    ) -> None:
        """Add records as one part, on the disk when this returns; a name that has one already keeps the first.

        Args:
            names: (len,).
            values: (len, *shape).
            valid: (len, C) shares.
            notes: (len,) remarks to keep beside them.

        Raises:
            DataError: a number is not finite, or is too large for the cache's dtype.
            ArtefactError: the disk is full; nothing was added.
        """
        values, valid = np.asarray(values), np.asarray(valid, np.float32)
        expected = (len(names), *self.layout.shape), (len(names), self.layout.num_clips)
        assert (values.shape, valid.shape) == expected, f"{values.shape} {valid.shape}, expected {expected}"
        assert np.can_cast(values.dtype, self.layout.dtype, "same_kind"), f"{values.dtype} to {self.layout.dtype}"
        if not len(names):
            return
        with np.errstate(over="ignore"):
            values = values.astype(self.layout.dtype, copy=False)
        if values.dtype.kind == "f":
            self._check_finite(names, values)
        table = part_table(names, notes or [None] * len(names), valid)
        chunks = blocks_of(values, self.layout.write_rows)
        with self._room(len(names)), self._writing():
            write_part(self._parts, self.layout, table, len(names), chunks)

    def append_absent(self, names: Sequence[str], reasons: Sequence[str]) -> None:
        """Remember that these names have no record, and why; a record that comes later counts, and so does a later reason.

        Raises:
            ArtefactError: the disk is full; nothing was added.
        """
        if not len(names):
            return
        table = part_table(names, reasons, np.zeros((len(names), self.layout.num_clips), np.float32))
        with self._room(0), self._writing():
            write_part(self._parts, self.layout, table, 0, ())

    def reader(self, names: Sequence[str | None]) -> RecordReader:
        """The records of these names as they stand now; None has none."""
        return RecordReader(self._shards(), names)

    def seal(self, shard_bytes: int = SHARD_BYTES) -> int:
        """Merge small parts into large ones, which read faster, and leave repeated records behind.

        Readers and writers go on meanwhile. Parts with a damaged block stay as they are, and so does everything when another
        process is sealing or the disk lacks the room for a second copy of what is merged.

        Returns:
            Parts that were merged.
        """
        with file_lock(self._sealer, wait=False) as alone:
            if not alone:
                return 0
            shards = self._shards()
            with self._writing():
                merged = seal_parts(shards, self._parts, shard_bytes, shutil.disk_usage(self.folder).free)
        self._sweep()
        return merged

    def drop_damaged(self) -> list[str]:
        """Verify everything, and strike out what is damaged, so that `missing` names it again.

        Returns:
            Names of the struck out records; those under an index in `unreadable` are not known and not listed.
        """
        with file_lock(self._sealer):
            shards = self._shards()
            rows = shards.rows_of(shards.all_bad_blocks())
            for number in np.unique(shards.part_of_row[rows]).tolist():
                part = shards.parts[number]
                struck = np.zeros(len(part.table), bool)
                struck[rows[shards.part_of_row[rows] == number] - shards.starts[number]] = True
                names = pc.if_else(pa.array(struck), pa.scalar(None, pa.large_string()), part.table["name"])
                table = part.table.set_column(0, "name", names)
                with self._room(0), self._writing():
                    write_index(
                        self._parts, part.stem, part.generation + 1, table, part.num_records, part.checksums.tolist()
                    )
            for index in list(self.unreadable):
                index.unlink(missing_ok=True)
                del self.unreadable[index]
        self._sweep()
        struck_out: list[str] = shards.names.take(pa.array(rows)).to_pylist()
        return struck_out

    def required_bytes(self, num_records: int) -> int:
        """Disk space that so many more records need, on the high side."""
        return num_records * (self.layout.record_bytes + 4 * self.layout.num_clips + INDEX_BYTES)

    def check_room(self, num_records: int) -> None:
        """Raise ArtefactError when the disk cannot take so many more records."""
        needed, free = self.required_bytes(num_records), shutil.disk_usage(self.folder).free
        if needed > free:
            raise ArtefactError(self._full(needed, free))

    def _full(self, needed: int, free: int) -> str:
        return (
            f"{self.folder}: the disk is full: {needed} bytes are needed, {free} are free. Make room or give another folder; "
            "what was added before is kept, and a second run goes on from there."
        )

    @contextlib.contextmanager
    def _room(self, num_records: int) -> Iterator[None]:
        """Name the bytes where the disk is full, be it foreseen or met."""
        self.check_room(num_records)
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = shutil.disk_usage(self.folder).free
            raise ArtefactError(self._full(self.required_bytes(num_records), free)) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell a sweeper that somebody who writes is alive."""
        with file_lock(self._writers, shared=True):
            yield

    def _check_finite(self, names: Sequence[str], values: np.ndarray) -> None:
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
        if len(bad):
            raise DataError(
                [
                    f"record {names[row]!r}: holds numbers that are not finite as {values.dtype}"
                    for row in bad[:MAX_SHOWN]
                ]
                + [f"{len(bad)} of {len(values)} records have this problem. Look at what made them."]
            )

    def _scan(self) -> list[Part]:
        """The parts that stand now, in total order; an index is read once."""
        indexes = committed(self._parts)
        parts = [part for index in indexes if (part := self._read(index))]
        self._known = {part.index: part for part in parts}
        self.unreadable = {path: reason for path, reason in self.unreadable.items() if path in set(indexes)}
        return parts

    def _read(self, index: Path) -> Part | None:
        if index in self._known:
            return self._known[index]
        if index not in self.unreadable:
            try:
                return read_part(index, self.layout)
            except ArtefactError as error:
                if not index.exists():
                    raise FileNotFoundError(index) from error
                self.unreadable[index] = str(error)
        return None

    def _shards(self) -> Shards:
        return self._unsealed(lambda: Shards(self._scan(), self.layout))

    def _unsealed(self, look: Callable[[], T]) -> T:
        """Look again where another process sealed meanwhile: what vanished stands in a newer part."""
        for _ in range(MAX_LOOKS):
            with contextlib.suppress(FileNotFoundError):
                return look()
        raise ArtefactError(
            f"{self._parts}: its files vanish while they are read. Does something else clean this folder?"
        )

    def _sweep(self) -> None:
        """Remove what dead writers left, when none is alive."""
        if not self._parts.is_dir() or not os.access(self.folder, os.W_OK):
            return
        with file_lock(self._writers, wait=False) as alone:
            for path in [*leftovers(self._parts), *self.folder.glob(".*.tmp")] if alone else ():
                path.unlink(missing_ok=True)
