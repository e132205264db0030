"""Is one recommender better than another? Paired tests over the users that both were asked about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from avrec.core.arrays import Float64
from avrec.core.errors import AvrecError
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.intervals import mean_interval, standard_error


@dataclass(frozen=True)
class Comparison:
    """The difference a - b of one metric over paired users.

    Attributes:
        metric: name of the metric.
        mean_difference: mean over users of a - b.
        interval: 95 % interval of that mean by Student's t.
        p_value: two-sided, adjusted if `test` says so.
        wins: users for whom a is better.
        losses: users for whom b is better.
        users: paired users, ties included.
        test: name of the test.
    """

    metric: str
    mean_difference: float
    interval: tuple[float, float]
    p_value: float
    wins: int
    losses: int
    users: int
    test: str


def compare(a: Evaluation, b: Evaluation, metric: str) -> Comparison:
    """Compare two evaluations of the same part, user by user.

    Where every value is 0 or 1 (one target a user: a hit or a miss) the p-value is McNemar's exact one, a sign test on the
    users for whom the two differ (McNemar 1947). Otherwise it is the paired t-test's, which over hundreds of users agrees
    with the permutation test (Smucker, Allan and Carterette 2007).

    Args:
        a: evaluation of the one recommender.
        b: evaluation of the other.
        metric: a key of `per_user`, such as `cold/recall@20`.

    Raises:
        AvrecError: the parts, the users or the protocols differ, or the metric is not there.
    """
    values_a, values_b = _paired(a, b, metric)
    difference = values_a - values_b
    count, mean = len(difference), float(difference.mean())
    wins, losses = int(np.sum(difference > 0)), int(np.sum(difference < 0))
    error = standard_error(difference)
    if error == 0 or (np.isin(values_a, (0.0, 1.0)).all() and np.isin(values_b, (0.0, 1.0)).all()):
        test = "McNemar, exact"
        p_value = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    else:
        test = "paired t"
        p_value = float(2 * stats.t.sf(abs(mean) / error, count - 1))
    return Comparison(metric, mean, mean_interval(difference), p_value, wins, losses, count, test)


def adjusted(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The same comparisons with p-values adjusted for their number by Holm's method."""
    p_values = holm([comparison.p_value for comparison in comparisons.values()])
    return {
        name: replace(comparison, p_value=p_value, test=f"{comparison.test}, Holm over {len(p_values)}")
        for (name, comparison), p_value in zip(comparisons.items(), p_values, strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false alarm below the level (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1, then none may be smaller than the one before it.

    Example: .01 x 3, .02 x 2 and max(.04, .03 x 1).
        >>> holm([0.02, 0.01, 0.03])
        [0.04, 0.03, 0.04]
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    rising = np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(rising, 1.0)
    return [float(value) for value in adjusted]


def _paired(a: Evaluation, b: Evaluation, metric: str) -> tuple[Float64, Float64]:
    for evaluation in (a, b):
        if metric not in evaluation.per_user:
            raise AvrecError(f"metric {metric!r} has no values by user here; there are {sorted(evaluation.per_user)}.")
    named = [f"{one.protocol_name}: {one.protocol}" for one in (a, b)]
    if a.part != b.part or not np.array_equal(a.user_idx, b.user_idx) or named[0] != named[1]:
        raise AvrecError(
            f"two evaluations can be compared only over the same users and by the same protocol; these are [{named[0]}] "
            f"and [{named[1]}]. Evaluate both with the same data set, part and protocol."
        )
    both = ~np.isnan(a.per_user[metric])
    return a.per_user[metric][both], b.per_user[metric][both]
