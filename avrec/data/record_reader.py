"""Reading a record cache: parts mapped into memory, rows gathered by index, each block verified when it is first touched."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.errors import ArtefactError
from avrec.core.files import map_records
from avrec.data.record_parts import Part, RecordLayout, checksum, valid_of

MAX_SHOWN = 5


class DamagedRecordsError(ArtefactError):
    """Records are not what was written; `names` lists all that share their blocks."""

    def __init__(self, names: Sequence[str], places: Sequence[str]) -> None:
        self.names = list(names)
        more = len(self.names) - MAX_SHOWN
        shown = ", ".join(repr(name) for name in self.names[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
        super().__init__(
            f"{', '.join(places)}: {len(self.names)} records are damaged (checksum or length differs): {shown}. Strike them "
            "out with `RecordCache.drop_damaged()`; then only they are encoded again."
        )


class Shards:
    """The records of several parts as one long table of rows, in the order of the parts.

    Args:
        parts: in total order.
        layout: of the records.

    Raises:
        FileNotFoundError: a part was removed, as sealing does.
    """

    def __init__(self, parts: Sequence[Part], layout: RecordLayout) -> None:
        self.parts = list(parts)
        self.layout = layout
        self.maps = [self._map(part) for part in self.parts]
        self.starts = np.cumsum([0, *[part.num_records for part in self.parts]])
        blocks = [layout.num_blocks(part.num_records) for part in self.parts]
        self.first_block = np.cumsum([0, *blocks])
        self._verified = np.zeros(self.first_block[-1], bool)
        self._all_verified = len(self._verified) == 0

    def _map(self, part: Part) -> np.ndarray:
        """The part's rows; fewer where the file was truncated, none where somebody removed it from under its index."""
        if part.num_records == 0:
            return np.empty((0, *self.layout.shape), self.layout.dtype)
        try:
            return map_records(part.records_file, self.layout.dtype, self.layout.shape, part.num_records)
        except FileNotFoundError:
            if not part.index.exists():
                raise
            return np.empty((0, *self.layout.shape), self.layout.dtype)

    @property
    def num_rows(self) -> int:
        """Rows of all parts."""
        return int(self.starts[-1])

    @cached_property
    def names(self) -> pa.Array:
        """(rows,) null where a record was struck out."""
        chunks = [chunk for part in self.parts for chunk in part.records["name"].chunks]
        return pa.chunked_array(chunks, pa.large_string()).combine_chunks()

    @cached_property
    def part_of_row(self) -> Int64:
        """(rows,)."""
        parts: Int64 = np.repeat(np.arange(len(self.parts)), np.diff(self.starts))
        return parts

    @cached_property
    def block_of_row(self) -> Int64:
        """(rows,) over the blocks of all parts."""
        inside = np.arange(self.num_rows) - self.starts[self.part_of_row]
        blocks: Int64 = self.first_block[self.part_of_row] + inside // self.layout.block_rows
        return blocks

    @cached_property
    def winners(self) -> Bool:
        """(rows,) true where the row is the one that its name is read from."""
        winners: Bool = self.find(self.names) == np.arange(self.num_rows)
        return winners

    def find(self, names: pa.Array) -> Int64:
        """(names,) the first row of each name, -1 where there is none."""
        found = pc.index_in(names, value_set=self.names, skip_nulls=True)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)

    def valid(self, rows: Int64) -> Float32:
        """(len, C) valid shares of rows."""
        shares = [valid_of(part.records, self.layout.num_clips) for part in self.parts]
        return np.concatenate([np.empty((0, self.layout.num_clips), np.float32), *shares])[rows]

    def notes(self, rows: Int64) -> list[str | None]:
        """Notes of rows."""
        chunks = [chunk for part in self.parts for chunk in part.records["note"].chunks]
        notes: list[str | None] = pa.chunked_array(chunks, pa.large_string()).take(pa.array(rows)).to_pylist()
        return notes

    def gather(self, rows: Int64) -> np.ndarray:
        """(len, *shape) records.

        Raises:
            DamagedRecordsError: a block that is touched for the first time does not match its checksum.
            IndexError: a row is none.
        """
        if not self._all_verified:
            bad = self.bad_blocks(self.block_of_row[rows])
            if len(bad):
                raise self.damage(bad)
        if len(self.maps) == 1:
            return self.maps[0].take(rows, axis=0)
        values = np.empty((len(rows), *self.layout.shape), self.layout.dtype)
        parts = self.part_of_row[rows]
        order = np.argsort(parts, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1) if len(rows) else ():
            part = parts[here[0]]
            values[here] = self.maps[part].take(rows[here] - self.starts[part], axis=0)
        return values

    def bad_blocks(self, blocks: Int64) -> Int64:
        """Which of these blocks are not what was written; those that are right are not looked at again."""
        unseen = np.unique(blocks[~self._verified[blocks]])
        right = np.fromiter((self._is_right(int(block)) for block in unseen), bool, len(unseen))
        self._verified[unseen[right]] = True
        self._all_verified = bool(self._verified.all())
        bad: Int64 = unseen[~right]
        return bad

    def _is_right(self, block: int) -> bool:
        part = int(np.searchsorted(self.first_block, block, side="right")) - 1
        number = block - int(self.first_block[part])
        start = number * self.layout.block_rows
        end = min(start + self.layout.block_rows, self.parts[part].num_records)
        held = self.maps[part][start:end]
        return len(held) == end - start and checksum(held) == self.parts[part].checksums[number]

    def all_bad_blocks(self) -> Int64:
        """Every damaged block that still holds a named record."""
        return self.bad_blocks(np.unique(self.block_of_row[self.names.is_valid().to_numpy(zero_copy_only=False)]))

    def rows_of(self, blocks: Int64) -> Int64:
        """Named rows in these blocks."""
        named = self.names.is_valid().to_numpy(zero_copy_only=False)
        return np.flatnonzero(np.isin(self.block_of_row, blocks) & named)

    def damage(self, blocks: Int64) -> DamagedRecordsError:
        """The error that names what stands in these blocks."""
        rows = self.rows_of(blocks)
        places = sorted({str(self.parts[part].records_file) for part in self.part_of_row[rows]})
        return DamagedRecordsError(self.names.take(pa.array(rows)).to_pylist(), places)


class RecordReader:
    """The records of given names, by position; a snapshot that later writers and sealing leave alone.

    Attributes:
        present: (N,) true where there is a record.
        reasons: of the others, by position, why there will be none; a position in neither is merely missing.
        notes: remarks on records, by position.
    """

    def __init__(self, shards: Shards, names: Sequence[str | None]) -> None:
        self._shards = shards
        self._names = pa.array(names, pa.large_string())
        rows = shards.find(self._names)
        self.present: Bool = rows >= 0
        self._rows = np.where(self.present, rows, shards.num_rows)  # no such row: `take` refuses it
        self._valid = np.zeros((len(rows), shards.layout.num_clips), np.float32)
        self._valid[self.present] = shards.valid(rows[self.present])
        noted = zip(np.flatnonzero(self.present).tolist(), shards.notes(rows[self.present]), strict=True)
        self.notes: dict[int, str] = {position: note for position, note in noted if note is not None}
        self.reasons: dict[int, str] = self._find_reasons()

    def _find_reasons(self) -> dict[int, str]:
        """What was said last of each name without a record."""
        tables = [part.absent for part in reversed(self._shards.parts) if len(part.absent)]
        if not tables or self.present.all():
            return {}
        known = pa.concat_tables([table.take(list(range(len(table)))[::-1]) for table in tables])
        asked = self._names.filter(pa.array(~self.present))
        found = pc.index_in(asked, value_set=known["name"].combine_chunks(), skip_nulls=True).to_pylist()
        notes = known["note"]
        positions = np.flatnonzero(~self.present).tolist()
        return {place: notes[row].as_py() for place, row in zip(positions, found, strict=True) if row is not None}

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, idx: Int64) -> tuple[np.ndarray, Float32]:
        """(len, *shape) records and (len, C) valid shares of positions `idx`, all of them `present`.

        Raises:
            DamagedRecordsError: a record's block does not match its checksum.
            IndexError: a position has no record.
        """
        try:
            return self._shards.gather(self._rows[idx]), self._valid[idx]
        except IndexError:
            absent = [int(position) for position in np.asarray(idx) if not self.present[position]]
            raise IndexError(f"no records at the positions {absent[:MAX_SHOWN]}; read where `present` only") from None

    def damaged(self) -> list[str]:
        """Verify every record of this reader now; the names of those that are damaged."""
        rows = self._rows[self.present]
        bad = self._shards.bad_blocks(self._shards.block_of_row[rows])
        hit = np.isin(self._shards.block_of_row[rows], bad)
        names: list[str] = self._names.filter(pa.array(self.present)).filter(pa.array(hit)).to_pylist()
        return names
