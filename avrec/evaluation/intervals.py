"""How sure a mean over users is: Student's t, which needs no seed and over hundreds of users agrees with a bootstrap over them."""

import numpy as np
from scipy import stats

from avrec.core.arrays import Float64
from avrec.evaluation.evaluate import Evaluation

LEVEL = 0.95
METHOD = "95 % interval of the mean over users by Student's t"
MAIN_SLICES = ("", "cold/", "warm/", "cold_only/")


def mean_interval(values: Float64) -> tuple[float, float]:
    """The 95 % interval of a mean: `mean +- t_{n-1} s / sqrt(n)`, users without a value left out.

    It speaks of users like these, on this split and with this model: another seed of training is another matter, see
    `compare.py`. A single user gives no interval but his value.

    Args:
        values: (U,) NaN for a user without a value; at least one has one.

    Example: 1, 2 and 3: 2 +- 4.3027 x 1 / sqrt(3).
        >>> tuple(round(end, 4) for end in mean_interval(np.array([1.0, np.nan, 2.0, 3.0])))
        (-0.4841, 4.4841)
    """
    known = values[~np.isnan(values)]
    mean, error = float(known.mean()), standard_error(known)
    half_width = error * float(stats.t.ppf((1 + LEVEL) / 2, len(known) - 1)) if error > 0 else 0.0
    return mean - half_width, mean + half_width


def standard_error(values: Float64) -> float:
    """Of a mean of independent values (U,): `s / sqrt(n)`, 0 for a single one."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def main_intervals(evaluation: Evaluation) -> dict[str, tuple[float, float]]:
    """The interval of every metric that has values by user, for all targets and for cold and warm ones."""
    slices = {name: name.rpartition("/")[0] for name in evaluation.per_user}
    return {
        name: mean_interval(evaluation.per_user[name])
        for name, prefix in slices.items()
        if (f"{prefix}/" if prefix else "") in MAIN_SLICES
    }
