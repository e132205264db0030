"""Is one recommender better than another over several seeds? What each run's `per_user.parquet` says, user by user.

# S seeds, U users
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import stats

from avrec.core.arrays import Float64
from avrec.core.errors import ArtefactError, AvrecError
from avrec.core.files import check_format_version, read_table
from avrec.core.ids import IdMap
from avrec.evaluation.intervals import mean_interval, standard_error
from avrec.evaluation.significance import holm

PER_USER_FORMAT = 1
METADATA = b"avrec"  # the key of the Parquet schema's metadata that holds what the file is about, as JSON
Test = Literal["t", "wilcoxon"]


@dataclass(frozen=True)
class SeedSeries:
    """One metric of one recommender over several seeds.

    Attributes:
        name: of the recommender.
        metric: such as `cold/recall@20`.
        seeds: (S,) distinct, rising.
        users: the U users that every seed was asked about.
        values_SU: NaN where a user has no such target.
        about: what the runs must share to be compared: `data_hash`, `part`, `protocol_name`, `protocol`, and for diversity
            the vectors it was measured by.
    """

    name: str
    metric: str
    seeds: tuple[int, ...]
    users: IdMap
    values_SU: Float64
    about: Mapping[str, str]

    @property
    def means(self) -> Float64:
        """(S,) the mean over users, for each seed."""
        known = ~np.isnan(self.values_SU[0])
        return np.asarray(self.values_SU[:, known].mean(axis=1))

    @property
    def mean(self) -> float:
        """Mean over seeds of the mean over users."""
        return float(self.means.mean())

    @property
    def sd(self) -> float:
        """Standard deviation over seeds of the mean over users, 0 for one seed."""
        return float(self.means.std(ddof=1)) if len(self.seeds) > 1 else 0.0

    def of_seeds(self, seeds: Sequence[int]) -> "SeedSeries":
        """The same recommender over those of its seeds that are among `seeds`."""
        kept = [row for row, seed in enumerate(self.seeds) if seed in set(seeds)]
        return replace(self, seeds=tuple(self.seeds[row] for row in kept), values_SU=self.values_SU[kept])


@dataclass(frozen=True)
class SeedComparison:
    """The difference a - b of one metric, paired by user within each seed.

    Attributes:
        metric: name of the metric.
        names: of a and b.
        seeds: over which both were run.
        mean_difference: over users and seeds.
        sd_difference: over seeds, of the mean over users; 0 for one seed.
        interval: 95 % interval of the mean difference by Student's t over users.
        p_value: over users: each user's differences are averaged over seeds, so that a user counts once, and tested against 0.
        p_value_seeds: over seeds: the paired t-test of the S means; None where they cannot tell (one seed, or all equal). It
            asks whether another seed would show the same, where `p_value` asks it of other users.
        wins: users for whom a is better on average.
        losses: users for whom b is.
        users: paired users, ties included.
        test: how `p_value` was found, and the correction if there was one.
    """

    metric: str
    names: tuple[str, str]
    seeds: tuple[int, ...]
    mean_difference: float
    sd_difference: float
    interval: tuple[float, float]
    p_value: float
    p_value_seeds: float | None
    wins: int
    losses: int
    users: int
    test: str


def read_series(files: Sequence[str | Path], metric: str, view: str | None = None, name: str = "") -> SeedSeries:
    """Read one metric of several runs.

    Args:
        files: each run's `per_user.parquet`, in any order.
        metric: a column, such as `recall@20`.
        view: a recommender of the file, such as `ease` or `ids only`; the marked operating point when None.
        name: what to call it; the view when empty.

    Raises:
        ArtefactError: a file is missing, damaged, of another format, or lacks the metric or the view.
        AvrecError: no files, two runs of one seed, or runs of different data, users or protocols.
    """
    if not files:
        raise AvrecError(f"no per_user.parquet was given, so there is no {metric!r} to read.")
    runs = sorted((_read_run(Path(file), metric, view) for file in files), key=lambda run: run.seeds)
    first = runs[0]
    for one, other in itertools.pairwise(runs):
        _check_same_question(first, other)
        if one.seeds == other.seeds:
            raise AvrecError(f"two of the runs have seed {one.seeds[0]}; give one run for each seed.")
    seeds = tuple(seed for run in runs for seed in run.seeds)
    return replace(first, name=name or first.name, seeds=seeds, values_SU=np.concatenate([r.values_SU for r in runs]))


def _read_run(file: Path, metric: str, view: str | None) -> SeedSeries:
    table = read_table(file, ["user_id", "view", metric])
    try:
        about = json.loads((table.schema.metadata or {})[METADATA])
    except (KeyError, ValueError) as error:
        raise ArtefactError(f"{file}: does not say what it is about. Give the per_user.parquet of a run.") from error
    check_format_version(about, file, PER_USER_FORMAT)
    view = about["marked"] if view is None else view
    views = np.array(table["view"].to_pylist())
    rows = np.flatnonzero(views == view)
    if not len(rows):
        raise ArtefactError(f"{file}: no view {view!r}; it has {sorted(set(views.tolist()))}.")
    values = np.asarray(table[metric].to_numpy(zero_copy_only=False), np.float64)[rows]
    keys = ["data_hash", "part", "protocol_name", "protocol", *(["diversity_by"] if "diversity" in metric else [])]
    shared = {key: str(about[key]) for key in keys}
    return SeedSeries(view, metric, (int(about["seed"]),), IdMap(table["user_id"].take(rows)), values[None], shared)


def compare_series(a: SeedSeries, b: SeedSeries, test: Test = "t") -> SeedComparison:
    """Compare two recommenders over the users and seeds of both.

    Values of one user under several seeds are not independent, so they are averaged first: the unit of the test is the user
    (clustered, as in Cameron and Miller 2015). Where a and b differ for nobody the p-value is 1.

    Args:
        a: the one.
        b: the other, of the same seeds, metric, users, data and protocol.
        test: Student's paired t, or Wilcoxon's signed rank (users without a difference left out), which large differences of a
            few users do not move.

    Raises:
        AvrecError: they do not answer the same question.
    """
    _check_same_question(a, b)
    if a.seeds != b.seeds or a.metric != b.metric:
        raise AvrecError(
            f"{a.metric!r} of {a.name!r} has the seeds {list(a.seeds)}, {b.metric!r} of {b.name!r} the seeds {list(b.seeds)}; "
            "users are paired within a seed. Give runs of the same seeds, and one metric."
        )
    difference_SU = a.values_SU - b.values_SU
    difference_SU = difference_SU[:, ~np.isnan(difference_SU).any(axis=0)]
    of_user, of_seed = difference_SU.mean(axis=0), difference_SU.mean(axis=1)
    p_value, name = _over_users(of_user, test)
    spread = float(of_seed.std(ddof=1)) if len(of_seed) > 1 else 0.0
    return SeedComparison(
        metric=a.metric,
        names=(a.name, b.name),
        seeds=a.seeds,
        mean_difference=float(of_user.mean()),
        sd_difference=spread,
        interval=mean_interval(of_user),
        p_value=p_value,
        p_value_seeds=float(stats.ttest_1samp(of_seed, 0.0).pvalue) if spread > 1e-12 else None,
        wins=int(np.sum(of_user > 0)),
        losses=int(np.sum(of_user < 0)),
        users=len(of_user),
        test=f"{name} over users, each averaged over {len(of_seed)} seeds",
    )


def _over_users(of_user: Float64, test: Test) -> tuple[float, str]:
    name = "paired t" if test == "t" else "Wilcoxon signed rank"
    if not of_user.any() or len(of_user) < 2:
        return 1.0, name
    if test == "wilcoxon":
        return float(stats.wilcoxon(of_user).pvalue), name
    error = standard_error(of_user)
    if error == 0:  # every user gains the same
        return 0.0, name
    return float(2 * stats.t.sf(abs(of_user.mean()) / error, len(of_user) - 1)), name


def compare_all(reference: SeedSeries, others: Mapping[str, SeedSeries], test: Test = "t") -> dict[str, SeedComparison]:
    """Every other against the reference, other - reference, with Holm's correction over all of them (Holm 1979).

    Both p-values are corrected, each among its own kind. Of each pair only the seeds that both have are compared.

    Raises:
        AvrecError: one of them does not answer the same question as the reference, or shares no seed with it.
    """
    found = {name: _over_common_seeds(series, reference, test) for name, series in others.items()}
    over_users = holm([one.p_value for one in found.values()])
    told = [name for name, one in found.items() if one.p_value_seeds is not None]
    over_seeds = dict(zip(told, holm([found[name].p_value_seeds or 0.0 for name in told]), strict=True))
    return {
        name: replace(
            one, p_value=p_value, p_value_seeds=over_seeds.get(name), test=f"{one.test}, Holm over {len(found)}"
        )
        for (name, one), p_value in zip(found.items(), over_users, strict=True)
    }


def _over_common_seeds(series: SeedSeries, reference: SeedSeries, test: Test) -> SeedComparison:
    a, b = series.of_seeds(reference.seeds), reference.of_seeds(series.seeds)
    if not a.seeds:
        raise AvrecError(
            f"{series.name!r} has the seeds {list(series.seeds)}, {reference.name!r} the seeds {list(reference.seeds)}; none is "
            "in both, so nothing can be paired. Give runs of the same seeds."
        )
    return compare_series(a, b, test)


def _check_same_question(a: SeedSeries, b: SeedSeries) -> None:
    differing = [key for key in a.about if a.about[key] != b.about[key]]
    if a.users != b.users:
        differing.append("users")
    if differing:
        values = [f"{key}: {a.about[key]!r} and {b.about[key]!r}" for key in differing if key != "users"]
        raise AvrecError(
            f"{a.name!r} (seeds {list(a.seeds)}) and {b.name!r} (seeds {list(b.seeds)}) were not asked the same question: they "
            f"differ in {', '.join(differing)}{' (' + '; '.join(values) + ')' if values else ''}. Compare runs of one data set, "
            "part and protocol."
        )
