"""The files of a record cache: raw records in blocks with checksums, and an index that makes them exist.

A part is `STEM.bin`, records one after another, and `STEM.GENERATION.CRC.parquet`, its index: names, valid shares, notes and
the checksum of each block. The index is renamed into place last, so records without one do not exist. Its file's name holds
its own checksum. A higher generation of a stem replaces the lower ones.
"""

import io
import json
import math
import re
import secrets
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import ArtefactError
from avrec.core.files import atomic_write, read_table

BLOCK_BYTES = 64 * 1024
WRITE_BYTES = 8 * 2**20
ABOUT = b"avrec"
INDEX_NAME = re.compile(r"(?P<stem>\d{20}-[0-9a-f]{12})\.(?P<generation>\d{6})\.(?P<crc>[0-9a-f]{8})\.parquet")
RECORDS_NAME = re.compile(r"(?P<stem>\d{20}-[0-9a-f]{12})\.bin")


@dataclass(frozen=True)
class RecordLayout:
    """What every record of a cache looks like.

    Attributes:
        shape: of one record.
        dtype: of its values.
        num_clips: C, valid shares kept beside a record.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    num_clips: int = 1

    @property
    def record_bytes(self) -> int:
        """Bytes of one record in the file."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def block_rows(self) -> int:
        """Records under one checksum."""
        return max(1, BLOCK_BYTES // self.record_bytes)

    @property
    def write_rows(self) -> int:
        """Records that are written in one go: whole blocks."""
        return self.block_rows * max(1, WRITE_BYTES // (self.block_rows * self.record_bytes))

    def num_blocks(self, num_records: int) -> int:
        """Blocks of a part with that many records."""
        return -(-num_records // self.block_rows)


@dataclass(frozen=True, eq=False)
class Part:
    """One committed part.

    Attributes:
        index: the index file.
        table: `name`, `note`, `valid`; the records' rows in file order, then rows of names that are known to have none. A
            name is null where its record was struck out.
        num_records: rows of the first kind.
        checksums: (blocks,) CRC-32 of each.
    """

    index: Path
    table: pa.Table
    num_records: int
    checksums: Int64

    @property
    def stem(self) -> str:
        """Order of the part among all; the first to hold a name wins."""
        return self.index.name.split(".")[0]

    @property
    def generation(self) -> int:
        """How often the index was written again."""
        return int(self.index.name.split(".")[1])

    @property
    def records_file(self) -> Path:
        """The raw records; absent when there are none."""
        return self.index.with_name(f"{self.stem}.bin")

    @property
    def records(self) -> pa.Table:
        """Rows of the records."""
        return self.table.slice(0, self.num_records)

    @property
    def absent(self) -> pa.Table:
        """Rows of the names that are known to have no record; the note is the reason."""
        return self.table.slice(self.num_records)


def new_stem() -> str:
    """A stem that nobody else has, later in order than those that stand."""
    return f"{time.time_ns():020d}-{secrets.token_hex(6)}"


def part_table(names: Sequence[str | None], notes: Sequence[str | None], valid: Float32) -> pa.Table:
    """An index table of (rows,) names and notes and (rows, C) valid shares."""
    shares = pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(valid, np.float32).reshape(-1)), valid.shape[1]
    )
    text = pa.large_string()
    return pa.table({"name": pa.array(names, text), "note": pa.array(notes, text), "valid": shares})


def valid_of(table: pa.Table, num_clips: int) -> Float32:
    """(rows, C) valid shares of an index table."""
    shares = table["valid"].combine_chunks()
    if isinstance(shares, pa.ChunkedArray):  # what an empty table gives
        return np.empty((0, num_clips), np.float32)
    return np.asarray(shares.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(-1, num_clips)


def blocks_of(values: np.ndarray, block_rows: int) -> Iterator[np.ndarray]:
    """`values` cut into blocks; the last may be shorter."""
    return (values[start : start + block_rows] for start in range(0, len(values), block_rows))


def checksum(block: np.ndarray) -> int:
    """CRC-32 of contiguous values: finds every change within 32 bits, others with 1 - 2^-32; 4 GB/s, BLAKE2 has 1."""
    return zlib.crc32(block.reshape(-1).view(np.uint8).data)


def write_part(
    folder: Path, layout: RecordLayout, table: pa.Table, num_records: int, chunks: Iterable[np.ndarray]
) -> Path:
    """Write a new part: its records, then its index.

    Args:
        folder: of all parts.
        layout: of the records.
        table: as in `Part`.
        num_records: as in `Part`.
        chunks: the records in order, each chunk but the last a whole number of blocks.

    Returns:
        The index file.
    """
    stem, checksums = new_stem(), []
    if num_records:
        written = 0
        with atomic_write(folder / f"{stem}.bin") as file:
            for chunk in chunks:
                chunk = np.ascontiguousarray(chunk, layout.dtype)
                checksums += [checksum(block) for block in blocks_of(chunk, layout.block_rows)]
                file.write(chunk.reshape(-1).view(np.uint8).data)
                written += len(chunk)
        assert written == num_records and len(checksums) == layout.num_blocks(num_records)
    return write_index(folder, stem, 0, table, num_records, checksums)


def write_index(
    folder: Path, stem: str, generation: int, table: pa.Table, num_records: int, checksums: Iterable[int]
) -> Path:
    """Commit a part, or a new generation of it, by the atomic rename of its index."""
    about = json.dumps({"num_records": num_records, "checksums": [int(value) for value in checksums]})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({ABOUT: about.encode()}), buffer, compression="zstd")
    content = buffer.getbuffer()
    path = folder / f"{stem}.{generation:06d}.{zlib.crc32(content):08x}.parquet"
    with atomic_write(path) as file:
        file.write(content)
    return path


def read_part(index: Path, layout: RecordLayout) -> Part:
    """Read an index and hold it against its checksum.

    Raises:
        FileNotFoundError: it was removed, as sealing does.
        ArtefactError: it is damaged; its records can no longer be named.
    """
    advice = "Its records count as missing and are encoded again."
    claimed = INDEX_NAME.fullmatch(index.name)
    assert claimed, index
    if zlib.crc32(index.read_bytes()) != int(claimed["crc"], 16):
        raise ArtefactError(f"{index}: damaged (its checksum differs). {advice}")
    table = read_table(index, ["name", "note", "valid"])
    try:
        about = json.loads((table.schema.metadata or {})[ABOUT])
        num_records, checksums = int(about["num_records"]), np.asarray(about["checksums"], np.int64)
        whole = (
            0 <= num_records <= len(table)
            and len(checksums) == layout.num_blocks(num_records)
            and table.schema.types == [pa.large_string(), pa.large_string(), pa.list_(pa.float32(), layout.num_clips)]
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise ArtefactError(f"{index}: not an index of records ({error!r}). {advice}") from error
    if not whole:
        raise ArtefactError(f"{index}: its rows, checksums and columns contradict one another. {advice}")
    return Part(index, table, num_records, checksums)


def committed(folder: Path) -> list[Path]:
    """Index files in order, of each stem the highest generation; one that vanishes afterwards was sealed elsewhere.

    A folder is not listed in one moment: a listing may miss a new part and, further on, the removed ones that it replaces.
    So it is listed until nothing went while it was.
    """
    before: set[Path] | None = None
    while True:
        now = _listed(folder)
        if before is not None and before.issubset(now):
            return now
        before = set(now)


def _listed(folder: Path) -> list[Path]:
    newest: dict[str, Path] = {}
    for path in sorted(folder.glob("*.parquet")):
        if found := INDEX_NAME.fullmatch(path.name):
            newest[found["stem"]] = path  # ascending generations: fixed width
    return [newest[stem] for stem in sorted(newest)]


def leftovers(folder: Path) -> list[Path]:
    """Drafts, records without an index and replaced indexes: all of them stale when no writer is alive."""
    current = set(committed(folder))
    stems = {path.name.split(".")[0] for path in current}
    stale = [path for path in folder.iterdir() if path.name.startswith(".") and path.name.endswith(".tmp")]
    for path in folder.iterdir():
        records = RECORDS_NAME.fullmatch(path.name)
        replaced = INDEX_NAME.fullmatch(path.name) and path not in current
        if replaced or (records and records["stem"] not in stems):
            stale.append(path)
    return stale
