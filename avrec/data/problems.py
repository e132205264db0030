"""Collects everything that is wrong with a data set, so that the user meets all of it at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Int64
from avrec.core.errors import DataError

MAX_SHOWN = 5
MAX_VALUE_CHARS = 60


@dataclass(frozen=True)
class Place:
    """A table as its owner knows it.

    Attributes:
        name: the file's name.
        skipped: row numbers that are in the file but not in the table, ascending.
    """

    name: str
    skipped: tuple[int, ...] = ()

    def rows(self, positions: Int64) -> list[int]:
        """The file's row numbers of table positions: counted from 1, a header is not counted."""
        numbers = np.asarray(positions, np.int64) + 1
        for number in self.skipped:
            numbers = numbers + (numbers >= number)
        return [int(number) for number in numbers]


@dataclass
class Problems:
    """A growing list of problem lines."""

    lines: list[str] = field(default_factory=list)

    def add(self, place: Place | str, text: str) -> None:
        """One problem of a whole file or column."""
        self.lines.append(f"{place.name if isinstance(place, Place) else place}: {text}")

    def rows(
        self, place: Place, column: str, bad: Bool, values: pa.Array | pa.ChunkedArray | Sequence[object], advice: str
    ) -> None:
        """The same problem in some rows: the first five by name, the others as a count.

        Args:
            place: the table.
            column: the column's name.
            bad: (rows,) true where the problem is.
            values: (rows,) what stands there.
            advice: what was expected and what to do.
        """
        positions = np.flatnonzero(bad)
        for position, number in zip(positions[:MAX_SHOWN], place.rows(positions[:MAX_SHOWN]), strict=True):
            self.lines.append(f"{place.name} row {number}: {column} is {shown(values[int(position)])}; {advice}")
        more = len(positions) - MAX_SHOWN
        if more > 0:
            self.lines.append(f"{place.name}: {more} more rows with this problem in {column}, {len(positions)} in all.")

    def raise_any(self) -> None:
        """Raise DataError with every line, if there is one."""
        if self.lines:
            raise DataError(self.lines)


def shown(value: object) -> str:
    """A value as an error message shows it: short, quoted, never raw control characters."""
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}... ({len(text)} characters)"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be; capitals are ignored."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.7)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` or nothing."""
    found = nearest(name, known)
    return f" Did you mean {found!r}?" if found else ""
