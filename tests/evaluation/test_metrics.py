import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.metrics import MRR, NDCG, AveragePrecision, HitRate, Recall, coverage, gini
from tests.evaluation.world import Matrix, events, naive_lists, naive_metrics, random_dataset

METRICS = [Recall, NDCG, MRR, AveragePrecision, HitRate]


def test_hand_worked_numbers():
    ranks, indptr = np.array([2.0, 11.0, 1.5, 1.5, 30.0]), np.array([0, 2, 2, 4, 5])
    np.testing.assert_allclose(Recall(10)(ranks, indptr), [0.5, np.nan, 1.0, 0.0])
    np.testing.assert_allclose(MRR(10)(ranks, indptr), [0.5, np.nan, 1 / 1.5, 0.0])
    ideal = 1 + 1 / math.log2(3)
    np.testing.assert_allclose(
        NDCG(10)(ranks, indptr), [1 / math.log2(3) / ideal, np.nan, 2 / math.log2(2.5) / ideal, 0]
    )
    np.testing.assert_allclose(AveragePrecision(10)(ranks, indptr), [1 / 2 / 2, np.nan, 1.0, 0.0])
    np.testing.assert_allclose(AveragePrecision(20)(ranks, indptr), [(1 / 2 + 2 / 11) / 2, np.nan, 1.0, 0.0])
    np.testing.assert_allclose(HitRate(10)(ranks, indptr), [1.0, np.nan, 1.0, 0.0])


def test_the_ideal_is_cut_at_the_length_of_the_list():
    """Three targets, a list of two, both places hit: perfect."""
    assert NDCG(2)(np.array([1.0, 2.0, 3.0]), np.array([0, 3])).tolist() == [1.0]
    assert Recall(2)(np.array([1.0, 2.0, 3.0]), np.array([0, 3])).round(4).tolist() == [0.6667]


@pytest.mark.parametrize("cutoff", [1, 5, 20])
@pytest.mark.parametrize("metric", METRICS)
def test_equals_a_naive_loop(metric, cutoff):
    rng = np.random.default_rng(cutoff)
    counts = rng.integers(1, 9, 200)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    ranks = rng.integers(2, 100, indptr[-1]) / 2
    ranks[rng.random(len(ranks)) < 0.2] = np.inf
    measured = metric(cutoff)
    expected = [naive_metrics(ranks[a:b].tolist(), cutoff)[measured.name] for a, b in itertools.pairwise(indptr)]
    np.testing.assert_allclose(measured(ranks, indptr), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_is_one_and_a_better_rank_is_never_worse(metric):
    indptr = np.array([0, 1])
    values = [float(metric(10)(np.array([rank]), indptr)[0]) for rank in (1.0, 1.5, 2.0, 10.0, 10.5, np.inf)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[-2:] == [0.0, 0.0]


def test_no_users():
    for metric in METRICS:
        assert metric(5)(np.empty(0), np.zeros(1, np.int64)).shape == (0,)


def test_a_tie_counts_half_in_average_precision():
    """Two targets and a stranger tie for places 1 to 3: each has rank 2 and 1.5 targets down to it."""
    assert AveragePrecision(5)(np.array([2.0, 2.0]), np.array([0, 2])).tolist() == [0.75]
    # users 0 and 1 have equal ranks, which are no tie: they stand in two lists
    assert AveragePrecision(5)(np.array([2.0, 2.0]), np.array([0, 1, 2])).tolist() == [0.5, 0.5]


def test_coverage():
    assert coverage(np.array([True, False])) == 0.5


def test_gini():
    assert gini(np.full(7, 3)) == pytest.approx(0.0)
    assert gini(np.array([0, 0, 9, 0])) == pytest.approx(1.0)
    shown = np.random.default_rng(0).integers(0, 9, 40)
    pairs = [abs(one - other) for one in shown for other in shown]  # Gini is half the relative mean difference
    assert gini(shown) == pytest.approx(sum(pairs) / (2 * 40 * shown.sum()) * 40 / 39)
    assert np.isnan(gini(np.zeros(3, np.int64)))
    assert np.isnan(gini(np.array([4])))


# ranx compiles its metrics for more than a minute; as plain Python, in a process of its own, it answers in seconds.
RANX = """
import json, sys, ranx
truth, scores, names = json.load(sys.stdin)
answer = ranx.evaluate(ranx.Qrels(truth), ranx.Run(scores), names, return_mean=False)
json.dump({name: dict(zip(truth, map(float, values))) for name, values in answer.items()}, sys.stdout)
"""


def test_agrees_with_ranx_user_by_user_where_nothing_ties():
    """The whole evaluation, with what is masked left out of ranx's run; ranx knows nothing of half ranks."""
    pytest.importorskip("ranx")
    data = random_dataset(3, num_users=40, num_items=90)
    scores = np.random.default_rng(3).permuted(np.tile(np.arange(90.0), (40, 1)), axis=1)
    target = events(data.test)
    truth = {f"u{user:02d}": {f"i{item}": 1 for item in target[user]} for user in range(40) if target[user]}
    lists = naive_lists(scores, data, "test")
    run = {f"u{user:02d}": {f"i{item}": scores[user, item] for item in items} for user, items in lists.items()}
    names = [metric(cutoff).name for metric in METRICS for cutoff in (5, 20)]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps([truth, run, names]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = json.loads(answer.stdout)
    found = evaluate(Matrix(scores), data, "test", (5, 20), measures=ListMeasures.of(data))
    for name in names:
        oracle = [expected[name][f"u{user:02d}"] for user in found.user_idx]
        np.testing.assert_allclose(found.per_user[name], oracle, rtol=0, atol=1e-12, err_msg=name)
