"""What was left out of side information, and why: a line for each reason, with how many rows and the first of them."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool
from avrec.data.problems import Place, shown


@dataclass
class Warned:
    """A growing list of warning lines."""

    lines: list[str] = field(default_factory=list)

    def rows(self, place: Place, bad: Bool, first: pa.Array | pa.ChunkedArray, what: str) -> int:
        """Tell of the rows where `bad` (rows,) is true, if there are any.

        Args:
            place: the table.
            bad: (rows,) true where something is odd.
            first: (rows,) what stands there; the line shows the value of the first.
            what: what it is and what becomes of such rows.

        Returns:
            How many there are.
        """
        count = int(np.count_nonzero(bad))
        if count:
            value = shown(first[int(np.argmax(bad))])
            self.lines.append(f"{place.name}: {count} of {len(bad)} rows {what} The first is {value}.")
        return count
