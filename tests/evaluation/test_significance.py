import numpy as np
import pytest
from scipy import stats

from avrec.core.errors import AvrecError
from avrec.evaluation.evaluate import Evaluation
from avrec.evaluation.significance import adjusted, compare, holm


def evaluation(values, part="test", protocol="same"):
    values = np.array(values, np.float64)
    return Evaluation(part, protocol, np.arange(len(values)), {"recall@20": values}, {}, {})


def test_hits_and_misses_are_compared_by_mcnemar():
    """9 users won, 1 lost, 90 equal: two-sided p = 2 (1 + 10) / 2^10."""
    a, b = np.zeros(100), np.zeros(100)
    a[:9], b[9] = 1, 1
    found = compare(evaluation(a), evaluation(b), "recall@20")
    assert (found.wins, found.losses, found.users, found.test) == (9, 1, 100, "McNemar, exact")
    assert found.p_value == pytest.approx(22 / 1024)
    assert found.mean_difference == pytest.approx(0.08)
    assert found.interval[0] < 0.08 < found.interval[1]


def test_graded_values_are_compared_by_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(200), rng.random(200)
    a[:3] = np.nan
    b[:3] = np.nan
    found = compare(evaluation(a), evaluation(b), "recall@20")
    expected = stats.ttest_rel(a[3:], b[3:])
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.users, found.test) == (197, "paired t")
    back = compare(evaluation(b), evaluation(a), "recall@20")
    assert back.p_value == pytest.approx(found.p_value)
    assert (back.mean_difference, back.wins) == (pytest.approx(-found.mean_difference), found.losses)


def test_no_difference_and_a_single_user_are_no_evidence():
    same = compare(evaluation([0.2, 0.4]), evaluation([0.2, 0.4]), "recall@20")
    assert (same.mean_difference, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert compare(evaluation([0.9]), evaluation([0.1]), "recall@20").p_value == 1.0


def test_chance_is_called_significant_in_about_one_of_twenty():
    rng = np.random.default_rng(1)
    values = rng.random((400, 2, 60))
    hits = sum(compare(evaluation(a), evaluation(b), "recall@20").p_value < 0.05 for a, b in values)
    assert 8 <= hits <= 34


def test_only_equal_questions_are_compared():
    message = "only over the same users and by the same protocol"
    for other in (
        evaluation([1.0, 0.0], part="validation"),
        evaluation([1.0]),
        evaluation([1.0, 0.0], protocol="other"),
    ):
        with pytest.raises(AvrecError, match=message):
            compare(evaluation([1.0, 0.0]), other, "recall@20")
    with pytest.raises(AvrecError, match=r"metric 'recall@7' has no values by user here; there are \['recall@20'\]"):
        compare(evaluation([1.0]), evaluation([1.0]), "recall@7")


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    one = compare(evaluation([1.0] * 9 + [0.0]), evaluation([0.0] * 9 + [1.0]), "recall@20")
    both = adjusted({"a": one, "b": one})
    assert both["a"].p_value == pytest.approx(2 * one.p_value)
    assert both["a"].test == "McNemar, exact, Holm over 2"
