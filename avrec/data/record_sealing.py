"""Small parts of a record cache merged into large ones, beside readers and writers, and safe to be killed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Int64
from avrec.data.record_parts import Part, part_table, valid_of, write_part
from avrec.data.record_reader import Shards

SMALL_SHARE = 4  # parts below shard_bytes / 4 are merged: a large one is copied seldom


def seal_parts(shards: Shards, folder: Path, shard_bytes: int, free_bytes: int) -> int:
    """Copy the records that small parts are read for into new parts, then remove the small ones.

    A copy is committed before its sources go. Killed between the two, records stand twice, and the first is read as ever.
    Parts with a damaged block stay; parts whose every record is read from elsewhere go.

    Args:
        shards: everything that stands.
        folder: of the parts.
        shard_bytes: records of a new part.
        free_bytes: on the disk; nothing is merged when the copies would not fit.

    Returns:
        Parts that were removed.
    """
    layout = shards.layout
    winners = shards.winners
    chosen = _sound_small_parts(shards, shard_bytes)
    rows = np.flatnonzero(winners & chosen[shards.part_of_row])
    if chosen.sum() < 2 or len(rows) * layout.record_bytes > free_bytes:
        chosen[:] = False
    read_from = np.bincount(shards.part_of_row[winners], minlength=len(shards.parts)) > 0
    gone = [
        part
        for part, merged, is_read in zip(shards.parts, chosen, read_from, strict=True)
        if merged or not (is_read or len(part.absent))
    ]
    if chosen.any():
        absent = _absent(shards, [part for part, merged in zip(shards.parts, chosen, strict=True) if merged])
        num_rows = max(1, shard_bytes // layout.record_bytes)
        last = max(0, len(rows) - 1) // num_rows * num_rows
        for start in range(0, last, num_rows):
            _copy(shards, rows[start : start + num_rows], absent.slice(0, 0), folder)
        if len(rows) or len(absent):
            _copy(shards, rows[last:], absent, folder)
    for part in gone:
        part.index.unlink(missing_ok=True)
        part.records_file.unlink(missing_ok=True)
    return len(gone)


def _sound_small_parts(shards: Shards, shard_bytes: int) -> Bool:
    """(parts,) true where merging is worth it, and every named record is what was written."""
    sizes = np.array([part.num_records * shards.layout.record_bytes for part in shards.parts], np.int64)
    small: Bool = sizes * SMALL_SHARE < shard_bytes
    rows = np.flatnonzero(small[shards.part_of_row] & shards.names.is_valid().to_numpy(zero_copy_only=False))
    damaged = shards.rows_of(shards.bad_blocks(shards.block_of_row[rows]))
    small[shards.part_of_row[damaged]] = False
    return small


def _absent(shards: Shards, parts: Sequence[Part]) -> pa.Table:
    """What is known of names without a record, each name once, as it was said last."""
    empty = part_table([], [], np.empty((0, shards.layout.num_clips), np.float32))
    table = pa.concat_tables([empty, *[part.absent.replace_schema_metadata() for part in parts]])
    last = {name: row for row, name in enumerate(table["name"].to_pylist()) if name is not None}
    table = table.take(pa.array(sorted(last.values()), pa.int64()))
    return table.filter(pa.array(shards.find(table["name"].combine_chunks()) < 0))


def _copy(shards: Shards, rows: Int64, absent: pa.Table, folder: Path) -> None:
    """One new part of these rows, and what is known of absent names."""
    layout = shards.layout
    names = shards.names.take(pa.array(rows)).to_pylist() + absent["name"].to_pylist()
    notes = shards.notes(rows) + absent["note"].to_pylist()
    valid = np.concatenate([shards.valid(rows), valid_of(absent, layout.num_clips)])
    chunks = (
        shards.gather(rows[start : start + layout.write_rows]) for start in range(0, len(rows), layout.write_rows)
    )
    write_part(folder, layout, part_table(names, notes, valid), len(rows), chunks)
