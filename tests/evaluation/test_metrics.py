import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from avrec.evaluation.metrics import MRR, NDCG, Recall, coverage
from tests.evaluation.world import naive_metrics

METRICS = [Recall, NDCG, MRR]


def test_hand_worked_numbers():
    ranks, indptr = np.array([2.0, 11.0, 1.5, 1.5, 30.0]), np.array([0, 2, 2, 4, 5])
    np.testing.assert_allclose(Recall(10)(ranks, indptr), [0.5, np.nan, 1.0, 0.0])
    np.testing.assert_allclose(MRR(10)(ranks, indptr), [0.5, np.nan, 1 / 1.5, 0.0])
    ideal = 1 + 1 / math.log2(3)
    np.testing.assert_allclose(
        NDCG(10)(ranks, indptr), [1 / math.log2(3) / ideal, np.nan, 2 / math.log2(2.5) / ideal, 0]
    )


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


def test_coverage():
    assert coverage(np.array([True, False])) == 0.5


# ranx compiles its metrics for more than a minute; as plain Python, in a process of its own, it answers in seconds.
RANX = """
import json, sys, ranx
truth, scores = json.load(sys.stdin)
qrels = ranx.Qrels({f"u{user}": {f"i{item}": 1 for item in items} for user, items in enumerate(truth)})
run = ranx.Run({f"u{user}": {f"i{item}": score for item, score in enumerate(row)} for user, row in enumerate(scores)})
json.dump({k: float(v) for k, v in ranx.evaluate(qrels, run, ["recall@10", "ndcg@10", "mrr@10"]).items()}, sys.stdout)
"""


def test_agrees_with_ranx_where_nothing_ties():
    pytest.importorskip("ranx")
    rng = np.random.default_rng(3)
    scores = rng.permuted(np.tile(np.arange(150.0), (30, 1)), axis=1)
    truth = [rng.choice(150, rng.integers(1, 6), replace=False) for _ in range(30)]
    question = json.dumps([[items.tolist() for items in truth], scores.tolist()])
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", RANX], input=question, env=environment, capture_output=True, text=True, check=True
    )
    expected = json.loads(answer.stdout)
    ranks = np.array(
        [1.0 + (scores[user] > scores[user, item]).sum() for user, items in enumerate(truth) for item in items]
    )
    indptr = np.cumsum([0, *map(len, truth)])
    for metric in METRICS:
        assert metric(10)(ranks, indptr).mean() == pytest.approx(expected[metric(10).name], abs=1e-12)
