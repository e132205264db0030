"""Ranking among the items alive: whatever the scorer, what is dead is no candidate."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import ConfigError
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.new_users import new_users
from avrec.evaluation.protocols import protocol_named
from avrec.evaluation.question import Question
from avrec.evaluation.rerank_prices import RerankTrials, rerank_prices
from tests.evaluation.world import Matrix, Vectors, naive_evaluation, random_dataset

ALIVE = protocol_named("alive")
WINDOWS = {"name": "WindowSplit", "train_hours": 24, "validation_hours": 6, "test_hours": 6, "lifetime_hours": 12}


def with_lives(data, seed):
    """Half of what is no target is dead, in each window another half."""
    draw = np.random.default_rng(seed)
    columns = {}
    for part in ("validation", "test"):
        alive = draw.random(data.num_items) < 0.5
        alive[data.target(part).item_idx[::1]] = True
        columns[f"alive_in_{part}"] = alive
    return replace(data, item_table=pa.table(columns)), columns


@pytest.fixture
def world():
    """Few targets on many items, so that many items can be dead."""
    data = random_dataset(3, num_users=25, num_items=200, num_cold=60)
    return with_lives(data, 3)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_equals_a_ranking_in_which_the_dead_come_last(world, part):
    data, columns = world
    alive = columns[f"alive_in_{part}"]
    assert alive.sum() < 0.85 * data.num_items
    scores = np.round(np.random.default_rng(1).standard_normal((data.num_users, data.num_items)), 1)
    expected = naive_evaluation(np.where(alive, scores, -1e9), data, part, (10, 20))
    users = scores @ np.linalg.pinv(np.eye(data.num_items))
    for scorer in (Matrix(scores), Vectors(users, np.eye(data.num_items))):
        found = evaluate(scorer, data, part, (10, 20), ALIVE)
        assert found.counts["items"] == alive.sum()
        assert found.counts["cold_items"] == (alive & data.cold_items).sum()
        assert f"all {alive.sum()} items alive in its window ranked" in found.protocol
        for name, value in expected.items():
            value *= data.num_items / alive.sum() if name.startswith("coverage") else 1
            assert found.metrics[name] == pytest.approx(value), name
    assert {name for name in expected} <= set(found.metrics)


def test_honest_ranks_all_at_test_and_choices_are_made_among_the_living(world):
    data, columns = world
    assert Question.of(data, "test").alive_N is None
    np.testing.assert_array_equal(Question.of(data, "validation").alive_N, columns["alive_in_validation"])
    np.testing.assert_array_equal(ALIVE.question(data, "test").alive_N, columns["alive_in_test"])
    plain = replace(data, item_table=None)
    assert ALIVE.question(plain, "test").alive_N is None
    scorer = Matrix(np.random.default_rng(2).standard_normal((data.num_users, data.num_items)))
    assert evaluate(scorer, data, "test").metrics == evaluate(scorer, plain, "test").metrics
    assert evaluate(scorer, data, "validation").metrics != evaluate(scorer, plain, "validation").metrics


def test_lists_gini_and_coverage_are_of_the_living(world):
    data, columns = world
    scorer = Matrix(np.tile(np.arange(data.num_items, dtype=float), (data.num_users, 1)))
    found = evaluate(scorer, data, "test", (10,), ALIVE, measures=ListMeasures.of(data), keep=150)
    shown = found.top.item_idx[found.top.item_idx >= 0]
    assert set(shown) <= set(np.flatnonzero(columns["alive_in_test"]))
    everything = evaluate(scorer, data, "test", (10,), measures=ListMeasures.of(data))
    assert found.metrics["gini@10"] < everything.metrics["gini@10"]


def test_reranking_and_new_users_see_no_dead_item(world):
    data, columns = world
    draw = np.random.default_rng(4)
    users, items = draw.standard_normal((data.num_users, 5)), draw.standard_normal((data.num_items, 5))
    items[:, 0] = np.where(columns["alive_in_validation"], 0.0, 50.0)
    users[:, 0] = 1.0
    scorer = Vectors(users, items)
    flat = items[:, 1:] / np.linalg.norm(items[:, 1:], axis=1, keepdims=True)
    prices = rerank_prices(scorer, data, RerankTrials(), ("taste", flat), ListMeasures.of(data))
    among = evaluate(scorer, data, "validation", (20,))
    assert prices.rows["as ranked"]["coverage@20"] == pytest.approx(among.metrics["coverage@20"])
    told = [new_users(scorer, data, "test", one).metrics for one in (ALIVE, protocol_named("honest"))]
    assert told[0]["new_users/0/popularity/recall@20"] > told[1]["new_users/0/popularity/recall@20"]


def test_a_split_without_lives_is_refused(world):
    data, _ = world
    ALIVE.check(WINDOWS, data)
    with pytest.raises(ConfigError) as caught:
        ALIVE.check(WINDOWS | {"lifetime_hours": None}, data)
    assert str(caught.value) == (
        "protocol=alive does not fit the data set 'hand-made', split by WindowSplit(train_hours=24, validation_hours=6, "
        "test_hours=6, lifetime_hours=None): its items live for a while. Prepare it with +split=window "
        "+data.split.lifetime_hours=24, or take protocol=honest."
    )


def test_a_dead_target_is_a_defect(world):
    data, columns = world
    wrong = columns["alive_in_test"].copy()
    wrong[data.test.item_idx[0]] = False
    with pytest.raises(AssertionError, match="a target is dead"):
        ALIVE.question(replace(data, item_table=pa.table({"alive_in_test": wrong})), "test")
