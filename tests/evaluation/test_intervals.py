import numpy as np
import pytest
from scipy import stats

from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.intervals import main_intervals, mean_interval
from avrec.evaluation.lists import ListMeasures
from tests.evaluation.world import Matrix, random_dataset


def test_equals_scipy_with_gaps_left_out():
    values = np.random.default_rng(0).random(50)
    low, high = stats.t.interval(0.95, 49, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(np.append(values, [np.nan, np.nan])) == pytest.approx((low, high), abs=1e-12)


def test_it_holds_the_mean_in_about_nineteen_of_twenty():
    draws = np.random.default_rng(1).random((400, 80)) < 0.2
    inside = sum(low <= 0.2 <= high for low, high in (mean_interval(draw.astype(float)) for draw in draws))
    assert 360 <= inside <= 396


def test_one_user_or_no_spread_has_no_width():
    assert mean_interval(np.array([0.5])) == (0.5, 0.5)
    assert mean_interval(np.array([0.25, 0.25, np.nan])) == (0.25, 0.25)


def test_the_main_metrics_have_one():
    data = random_dataset(0)
    scores = np.random.default_rng(0).random((data.num_users, data.num_items))
    result = evaluate(Matrix(scores), data, "test", (10,), measures=ListMeasures.of(data))
    found = main_intervals(result)
    assert {"recall@10", "map@10", "novelty@10", "cold/recall@10", "cold_only/ndcg@10", "warm/mrr@10"} <= found.keys()
    assert not {"tail/recall@10", "missing_audio/recall@10", "coverage@10", "gini@10"} & found.keys()
    for name, (low, high) in found.items():
        assert low <= result.metrics[name] <= high, name
