"""What a study found: every variant beside the reference, with paired tests, as JSON and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import avrec
from avrec.core.errors import ArtefactError
from avrec.core.files import atomic_write, read_table, write_json
from avrec.evaluation.compare import SeedComparison, SeedSeries, compare_all, read_series

FORMAT_VERSION = 1
JSON_FILE, CSV_FILE = "ablation.json", "ablation.csv"
LEVEL = 0.05
Verdict = Literal["better", "worse", "same", "unclear", "untested"]


@dataclass(frozen=True)
class Entry:
    """One recommender of the study and where its results stand.

    Attributes:
        name: as it is shown.
        study: what it belongs to.
        words: what it adds to the command line.
        files: seed -> its `per_user.parquet`.
        failed: seed -> why there is none.
        view: of the file; the marked one when None.
        note: for the reader.
    """

    name: str
    study: str
    words: tuple[str, ...]
    files: Mapping[int, Path]
    failed: Mapping[int, str]
    view: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Measure:
    """One metric of one entry.

    Attributes:
        mean: over seeds, of the mean over users.
        sd: over seeds.
        by_seed: seed -> mean over users.
        comparison: against the reference; None for the reference itself, and where they share no seed.
    """

    mean: float
    sd: float
    by_seed: Mapping[int, float]
    comparison: SeedComparison | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the difference is more than chance, by the corrected p-value over users."""
        found = self.comparison
        if found is None:
            return "untested"
        if found.wins == found.losses == 0:
            return "same"
        if found.p_value >= LEVEL:
            return "unclear"
        return "better" if found.mean_difference > 0 else "worse"


@dataclass(frozen=True)
class Row:
    """An entry with what was measured; no metric where no seed has a result."""

    entry: Entry
    measures: Mapping[str, Measure]


@dataclass(frozen=True)
class StudyResult:
    """The whole study.

    Attributes:
        name: of the data set.
        about: plain values for the files: data hash, part, protocol, seeds, the command line ...
        metrics: what was compared, the main one first.
        reference: the row of the reference.
        rows: of the variants.
        left_out: (name, study, reason) of variants that were not trained.
    """

    name: str
    about: Mapping[str, Any]
    metrics: tuple[str, ...]
    reference: Row
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str, str], ...] = ()

    @property
    def test(self) -> str:
        """How the p-values were found, in words."""
        found = [one.comparison for row in self.rows for one in row.measures.values() if one.comparison]
        return found[0].test if found else "no test"


def measured(
    name: str,
    about: Mapping[str, Any],
    metrics: Sequence[str],
    reference: Entry,
    entries: Sequence[Entry],
    left_out: Sequence[tuple[str, str, str]] = (),
) -> StudyResult:
    """Read and compare what the runs of a study left.

    Args:
        name: of the data set.
        about: see `StudyResult`.
        metrics: the main one, which must have been measured, and others, which may be absent where nobody has such a target.
        reference: what the others are compared with.
        entries: the others.
        left_out: (name, study, reason).

    Raises:
        ArtefactError: a file is damaged or was made by another protocol or data set.
    """
    present = [metric for place, metric in enumerate(metrics) if place == 0 or _has([reference, *entries], metric)]
    found: dict[str, dict[str, Measure]] = {one.name: {} for one in (reference, *entries)}
    for metric in present:
        series = {one.name: _series(one, metric) for one in (reference, *entries) if one.files}
        base = series.get(reference.name)
        others = {name: one for name, one in series.items() if name != reference.name}
        paired = {name: one for name, one in others.items() if base and set(one.seeds) & set(base.seeds)}
        compared = compare_all(base, paired) if base and paired else {}
        for key, one in series.items():
            by_seed = dict(zip(one.seeds, map(float, one.means), strict=True))
            found[key][metric] = Measure(one.mean, one.sd, by_seed, compared.get(key))
    telling = [metric for metric in present if metric == metrics[0] or not _all_equal(found, metric)]
    rows = [
        Row(one, {metric: found[one.name][metric] for metric in telling if metric in found[one.name]})
        for one in (reference, *entries)
    ]
    return StudyResult(name, about, tuple(telling), rows[0], tuple(rows[1:]), tuple(left_out))


def _all_equal(found: Mapping[str, Mapping[str, Measure]], metric: str) -> bool:
    """Whether nobody's value of a metric differs anywhere, as where there are fewer new items than places in a list."""
    compared = [one[metric] for one in found.values() if metric in one and one[metric].comparison is not None]
    return bool(compared) and all(one.verdict == "same" for one in compared)


def _series(entry: Entry, metric: str) -> SeedSeries:
    return read_series(list(entry.files.values()), metric, entry.view, entry.name)


def _has(entries: Sequence[Entry], metric: str) -> bool:
    """Whether anybody had a target for this metric; one file tells, since all were asked the same question."""
    file = next((file for one in entries for file in one.files.values()), None)
    try:
        return file is None or metric in read_table(file, [metric]).column_names
    except ArtefactError:
        return False


def document(result: StudyResult) -> dict[str, Any]:
    """The study as plain values."""
    return {
        "format_version": FORMAT_VERSION,
        "code_version": avrec.__version__,
        "data": result.name,
        **result.about,
        "metrics": list(result.metrics),
        "test": result.test,
        "reference": _plain(result.reference),
        "variants": [_plain(row) for row in result.rows],
        "left_out": [dict(zip(("name", "study", "reason"), one, strict=True)) for one in result.left_out],
    }


def _plain(row: Row) -> dict[str, Any]:
    measures = {
        metric: {
            "mean": one.mean,
            "sd": one.sd,
            "by_seed": {str(seed): value for seed, value in one.by_seed.items()},
            "verdict": one.verdict,
            "comparison": None if one.comparison is None else asdict(one.comparison),
        }
        for metric, one in row.measures.items()
    }
    entry = row.entry
    return {
        "name": entry.name,
        "study": entry.study,
        "words": list(entry.words),
        "note": entry.note,
        "failed": {str(seed): reason for seed, reason in entry.failed.items()},
        "measures": measures,
    }


COLUMNS = (
    "variant", "study", "metric", "mean", "sd", "seeds", "difference", "low", "high", "p_value", "p_value_seeds",
    "wins", "losses", "users", "verdict", "words", "note",
)  # fmt: skip


def write(folder: Path, result: StudyResult) -> None:
    """Write `ablation.json` and `ablation.csv`, one line a variant and metric, atomically."""
    write_json(folder / JSON_FILE, document(result))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in (result.reference, *result.rows):
        for metric, one in row.measures.items():
            writer.writerow(_cells(row.entry, metric, one))
    with atomic_write(folder / CSV_FILE) as file:
        file.write(text.getvalue().encode())


def _cells(entry: Entry, metric: str, one: Measure) -> list[object]:
    found = one.comparison
    compared: list[object] = [""] * 8
    if found is not None:
        seeds = "" if found.p_value_seeds is None else found.p_value_seeds
        compared = [found.mean_difference, *found.interval, found.p_value, seeds, found.wins, found.losses, found.users]
    seeds_run = " ".join(map(str, one.by_seed))
    return [
        entry.name,
        entry.study,
        metric,
        one.mean,
        one.sd,
        seeds_run,
        *compared,
        one.verdict,
        " ".join(entry.words),
        entry.note,
    ]
