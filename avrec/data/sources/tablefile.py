"""One table file of the caller, whatever its format, with its column names checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avrec.core.errors import ArtefactError
from avrec.core.files import read_table
from avrec.data.columns import Column
from avrec.data.problems import Place, Problems, did_you_mean, nearest
from avrec.data.sources.delimited import read_header, read_text_table

SUFFIXES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class LoadedTable:
    """A table as it stands in its file: text cells from CSV, typed columns from Parquet.

    Attributes:
        table: its wanted columns.
        place: how error messages call it.
        ignored: columns of the file that are not read.
        is_text: whether every cell is text.
    """

    table: pa.Table
    place: Place
    ignored: list[str]
    is_text: bool

    def column(self, name: str, problems: Problems) -> Column:
        """A column on its way in."""
        return Column(self.table[name], name, self.place, problems)


def load_table(
    path: Path, separator: str | None, required: Sequence[str], optional: Sequence[str] | None, problems: Problems
) -> LoadedTable | None:
    """Read a table file.

    Args:
        path: `.csv`, `.tsv` or `.parquet`.
        separator: of text files; by the file's name when None.
        required: columns that must be there.
        optional: columns that are read where they are there; every other column when None.
        problems: gets what is wrong.

    Returns:
        The table, or None when it cannot be made.
    """
    if path.suffix not in SUFFIXES:
        problems.add(path.name, f"has the ending {path.suffix!r}; expected {', '.join(SUFFIXES)}. Convert the file.")
        return None
    is_text = path.suffix != ".parquet"
    separator = separator or ("\t" if path.suffix == ".tsv" else ",")
    names = read_header(path, separator, problems) if is_text else _parquet_names(path, problems)
    if names is None or not _check_names(path.name, names, required, optional, problems):
        return None
    wanted = names if optional is None else [name for name in (*required, *optional) if name in names]
    found = read_text_table(path, separator, wanted, problems) if is_text else _parquet(path, wanted, problems)
    if found is None:
        return None
    return LoadedTable(*found, ignored=sorted(set(names) - set(wanted)), is_text=is_text)


def _check_names(
    place: str, names: Sequence[str], required: Sequence[str], optional: Sequence[str] | None, problems: Problems
) -> bool:
    """Tell of missing columns, and of unknown ones that are probably a misspelt optional one."""
    absent = [name for name in required if name not in names]
    for name in absent:
        guess = did_you_mean(name, [other for other in names if other not in required])
        problems.add(place, f"no column {name!r}; it has {list(names)}.{guess} Rename or add the column.")
    lacking = [name for name in optional or () if name not in names]
    for name in sorted(set(names) - {*required, *(optional or ())}) if optional is not None and not absent else ():
        if (meant := nearest(name, lacking)) is not None:
            problems.add(place, f"column {name!r} is not known; {meant!r} is. Rename the column, or drop it.")
    return not absent


def _parquet_names(path: Path, problems: Problems) -> list[str] | None:
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        problems.add(path.name, f"not a readable Parquet file ({error}). Write it again.")
        return None
    return list(names)


def _parquet(path: Path, wanted: Sequence[str], problems: Problems) -> tuple[pa.Table, Place] | None:
    try:
        return read_table(path, list(wanted)), Place(path.name)
    except ArtefactError as error:
        problems.lines.append(str(error).replace(str(path), path.name))
        return None
