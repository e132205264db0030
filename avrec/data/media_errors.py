"""What went wrong with media files, as a table for people: `media_errors.csv`."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from avrec.core.clips import MediaKind
from avrec.core.errors import DataError
from avrec.core.files import atomic_write

COLUMNS = ("item_id", "item_path", "modality", "class", "reason")
NOTE = "note"
# A file without sound, or with nothing to hear, is whole: it lacks a modality, and nothing has to be mended.
NO_DAMAGE = frozenset({NOTE, "no_stream", "silent"})
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
MAX_SHOWN = 5
ROUNDING = 1e-9  # 0.29 * 100 is a little less than 29


@dataclass(frozen=True)
class MediaProblem:
    """Of one file and modality.

    Attributes:
        path: relative to the media root.
        modality: `audio` or `video`.
        kind: a `MediaError.kind`, or `note` when the file is used all the same.
        reason: with the value and the next step.
    """

    path: str
    modality: MediaKind
    kind: str
    reason: str

    @property
    def is_damage(self) -> bool:
        """Whether it counts against `max_bad_share`."""
        return self.kind not in NO_DAMAGE


def write_media_errors(path: Path, lines: Iterable[tuple[str, MediaProblem]]) -> None:
    """Write one line for each item id and problem, atomically; a cell that a spreadsheet would compute gets a quote before it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item_id, problem in lines:
        cells = item_id, problem.path, problem.modality, problem.kind, problem.reason
        writer.writerow([f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell for cell in cells])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode("utf-8", "backslashreplace"))


def check_bad_share(
    problems: Mapping[str, MediaProblem], num_files: int, num_looked_at: int, max_bad_share: float, table: Path
) -> None:
    """Raise when too many files are damaged.

    Args:
        problems: by path, of one modality.
        num_files: files in all, each counted once.
        num_looked_at: of them, before it was clear that there are too many.
        max_bad_share: of `num_files`.
        table: where every problem stands.

    Raises:
        DataError: the share is exceeded.
    """
    bad = [problem for problem in problems.values() if problem.is_damage]
    if not bad or len(bad) / num_files <= max_bad_share:
        return
    counts = ", ".join(f"{count} {kind}" for kind, count in Counter(problem.kind for problem in bad).most_common())
    stopped = "" if num_looked_at == num_files else f" Reading stopped after {num_looked_at} files."
    raise DataError(
        [
            f"{bad[0].modality}: {len(bad)} of {num_files} files cannot be used ({counts}); max_bad_share = {max_bad_share} "
            f"allows {math.floor(max_bad_share * num_files + ROUNDING)}.{stopped} All problems: {table}. Mend these files, leave their paths "
            "empty, or raise max_bad_share."
        ]
        + [f"{problem.kind}: {problem.reason}" for problem in bad[:MAX_SHOWN]]
    )
