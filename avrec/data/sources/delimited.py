"""CSV and TSV to a table of text columns, with every fault of the file told by row."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from avrec.data.arrow import TEXT
from avrec.data.problems import MAX_SHOWN, Place, Problems, shown

BLOCK_BYTES = 8 * 2**20
HEADER_BYTES = 2**20
SEPARATORS = ",\t;|"
NUMBER_WITHOUT_LEADING_ZERO = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"


@dataclass
class _Ragged:
    """Rows with another number of cells than the header; they are left out of the table."""

    rows: list[tuple[int | None, int, int]]

    def __call__(self, row: pacsv.InvalidRow) -> str:
        self.rows.append((row.number, row.expected_columns, row.actual_columns))
        return "skip"


def read_header(path: Path, separator: str, problems: Problems) -> list[str] | None:
    """The column names of the first line, or None when the file cannot be a table in UTF-8."""
    with open(path, "rb") as file:
        head = file.read(HEADER_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        problems.add(path.name, "is UTF-16; expected UTF-8. Save it as UTF-8.")
        return None
    if not head.strip():
        problems.add(path.name, "is empty; expected a line of column names. Is this the right file?")
        return None
    try:
        line = head.splitlines()[0].decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.add(path.name, "the header is not UTF-8. Save the file as UTF-8.")
        return None
    names = next(csv.reader(io.StringIO(line), delimiter=separator))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.add(path.name, f"column {twice[0]!r} stands twice in the header. Rename or drop one.")
        return None
    if len(names) == 1:
        others = [other for other in SEPARATORS if other != separator and other in line]
        if others:
            problems.add(path.name, f"the header {shown(line)} has no {separator!r}. Set separator={others[0]!r}.")
            return None
    return names


def read_text_table(
    path: Path, separator: str, wanted: Sequence[str] | None, problems: Problems
) -> tuple[pa.Table, Place] | None:
    """Read a CSV file whole; each cell stays exactly the text that stands there.

    Args:
        path: the file. A byte order mark and CRLF are accepted.
        separator: one character.
        wanted: the columns to read; all when None.
        problems: gets non-UTF-8 cells and rows with too many or too few cells.

    Returns:
        The table and its place, or None when the file is no table at all.
    """
    names = read_header(path, separator, problems)
    if names is None:
        return None
    columns = names if wanted is None else [name for name in wanted if name in names]
    ragged = _Ragged([])
    try:
        table = _parse(path, separator, columns, TEXT, ragged, threads=True)
        if ragged.rows:  # row numbers are known only when the file is read in order
            ragged = _Ragged([])
            table = _parse(path, separator, columns, TEXT, ragged, threads=False)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            problems.add(path.name, f"is not readable as a table ({error}). Look for a quote that is never closed.")
            return None
        ragged = _Ragged([])
        table = _parse(path, separator, columns, pa.large_binary(), ragged, threads=False)
    place = Place(path.name, tuple(sorted((number or 2) - 1 for number, _, _ in ragged.rows)))
    _tell_ragged(place, ragged, problems)
    return _as_text(table, place, problems), place


def typed(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A side field read from text: whole numbers or floats if every filled cell is one without leading zeros, else text."""
    text = pc.if_else(pc.equal(values, ""), pa.scalar(None, TEXT), values)
    filled = pc.drop_null(text)
    if len(filled) and pc.all(pc.match_substring_regex(filled, NUMBER_WITHOUT_LEADING_ZERO)).as_py():
        for kind in (pa.int64(), pa.float64()):
            try:
                return text.cast(kind)
            except pa.ArrowInvalid:
                continue
    return text


def _parse(
    path: Path, separator: str, columns: Sequence[str], kind: pa.DataType, ragged: _Ragged, threads: bool
) -> pa.Table:
    return pacsv.read_csv(
        path,
        read_options=pacsv.ReadOptions(use_threads=threads, block_size=BLOCK_BYTES),
        parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=ragged),
        convert_options=pacsv.ConvertOptions(
            include_columns=list(columns), column_types=dict.fromkeys(columns, kind), strings_can_be_null=False
        ),
    )


def _tell_ragged(place: Place, ragged: _Ragged, problems: Problems) -> None:
    for number, expected, actual in ragged.rows[:MAX_SHOWN]:
        problems.add(
            f"{place.name} row {(number or 2) - 1}",
            f"has {actual} cells; the header has {expected}. Quote a cell that holds the separator, or drop the row.",
        )
    more = len(ragged.rows) - MAX_SHOWN
    if more > 0:
        problems.add(
            place, f"{more} more rows with another number of cells than the header, {len(ragged.rows)} in all."
        )


def _as_text(table: pa.Table, place: Place, problems: Problems) -> pa.Table:
    for index, name in enumerate(table.column_names):
        values = table[name]
        if values.type == TEXT:
            continue
        try:
            text = values.cast(TEXT)
        except pa.ArrowInvalid:
            cells = values.to_pylist()
            decoded = [cell.decode("utf-8", "replace") for cell in cells]
            bad = np.array([cell != again.encode() for cell, again in zip(cells, decoded, strict=True)])
            problems.rows(place, name, bad, cells, "expected UTF-8. Save the file as UTF-8.")
            text = pa.chunked_array([pa.array(decoded, TEXT)])
        table = table.set_column(index, name, text)
    return table
