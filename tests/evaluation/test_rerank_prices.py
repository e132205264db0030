"""What re-ranking costs, against lists made and judged one user at a time."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.dataset import Dataset, tie_order
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.core.side import NumericField
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.rerank_prices import SEEN_SHOWN, RerankTrials, rerank_prices
from avrec.retrieval.rerank import Reranking, unit_vectors
from tests.evaluation.world import Matrix, events, naive_metrics, random_dataset

DAY = 86_400


def with_time(data: Dataset, seed=0) -> Dataset:
    rng = np.random.default_rng(seed)

    def stamped(part: Interactions, first: int, last: int) -> Interactions:
        stamps = np.sort(rng.integers(first * DAY, last * DAY, len(part)))
        return Interactions.from_events(
            part.user_idx, part.item_idx, part.num_users, part.num_items, timestamp=rng.permutation(stamps)
        )

    parts = {"train": (0, 100), "validation": (80, 130), "test": (130, 150)}
    return replace(data, **{name: stamped(getattr(data, name), *days) for name, days in parts.items()})


@pytest.fixture(scope="module")
def world():
    data = with_time(random_dataset(1))
    rng = np.random.default_rng(5)
    scores = rng.standard_normal((data.num_users, data.num_items)).astype(np.float32)
    vectors = unit_vectors(rng.standard_normal((data.num_items, 6)).astype(np.float32))
    return data, scores, vectors


def naive_row(data, scores, vectors, part, reranking, k, hide=True, since=None):
    """Metrics of one order: every user's pool by a full sort, its list by `Reranking`, judged by definitions."""
    history, target, order = events(data.history(part)), events(data.target(part)), tie_order(data.items)
    events_of, held = data.history(part), data.target(part)
    first = [min(events_of.timestamp[events_of.item_idx == item], default=np.inf) for item in range(data.num_items)]
    means, shown = {}, set()
    for user in np.flatnonzero(held.user_counts):
        hidden = history[user] - target[user] if hide else set()
        ranked = sorted(set(range(data.num_items)) - hidden, key=lambda item: (-scores[user][item], order[item]))
        ranked = np.array(ranked[: reranking.pool])
        now = held.timestamp[held.indptr[user]]
        age = (now - np.array(first if since is None else since))[ranked] / DAY
        age = np.where(age < 0, 0.0 if since is None else np.inf, age)
        found = reranking(ranked[None], scores[user][ranked][None], k, vectors, age[None])[0][0].tolist()
        ranks = [found.index(item) + 1 if item in found else np.inf for item in target[user]]
        own = naive_metrics(ranks, k)
        for name in (f"recall@{k}", f"ndcg@{k}"):
            means.setdefault(name, []).append(own[name])
        means.setdefault(f"mean_age_days@{k}", []).append(
            np.mean(
                [age[ranked.tolist().index(item)] for item in found if np.isfinite(age[ranked.tolist().index(item)])]
            )
        )
        shown |= set(found)
    return {name: float(np.mean(values)) for name, values in means.items()} | {
        f"coverage@{k}": len(shown) / data.num_items
    }


@pytest.mark.parametrize("part", ["validation", "test"])
def test_every_row_is_that_of_the_loops(world, part):
    data, scores, vectors = world
    trials = RerankTrials(part=part, mmr_lambda=(0.6, 0.0), fresh_weight=(0.4,), half_life_days=20.0, pool=25)
    prices = rerank_prices(Matrix(scores), data, trials, ("taste", vectors), ListMeasures.of(data), 10, 40_000)
    orders = {
        "as ranked": Reranking(pool=25),
        "MMR, lambda 0.6": Reranking(0.6, pool=25),
        "MMR, lambda 0": Reranking(0.0, pool=25),
        "fresh, weight 0.4": Reranking(1.0, 0.4, 20.0, 25),
    }
    assert list(prices.rows) == [*orders, SEEN_SHOWN]
    for name, order in orders.items():
        expected = naive_row(data, scores, vectors, part, order, 10)
        assert {key: prices.rows[name][key] for key in expected} == pytest.approx(expected)
    expected = naive_row(data, scores, vectors, part, Reranking(pool=25), 10, hide=False)
    assert {key: prices.rows[SEEN_SHOWN][key] for key in expected} == pytest.approx(expected)
    assert prices.num_users == prices.of_all == np.count_nonzero(data.target(part).user_counts)
    assert prices.rows["as ranked"]["novelty@10"] > 0


def test_release_dates_instead_of_first_events(world):
    data, scores, vectors = world
    since = np.random.default_rng(2).uniform(0, 140, data.num_items) * DAY
    there = np.arange(data.num_items) > 0
    fields = {"released": NumericField(np.where(there, since, 0.0), there)}
    released = replace(data, item_fields=fields, item_table=pa.table({"a": [1]}))
    trials = RerankTrials(mmr_lambda=(), fresh_weight=(0.7,), pool=25, released="released")
    prices = rerank_prices(Matrix(scores), released, trials, ("taste", vectors), ListMeasures.of(data), 10)
    order = Reranking(1.0, 0.7, 30.0, 25)
    expected = naive_row(data, scores, vectors, "validation", order, 10, since=np.where(there, since, np.inf))
    assert {key: prices.rows["fresh, weight 0.7"][key] for key in expected} == pytest.approx(expected)
    with pytest.raises(ConfigError, match=r"rerank.released: 'born' is no column of numbers .* \['released'\] are"):
        trials = replace(trials, released="born")
        rerank_prices(Matrix(scores), released, trials, ("taste", vectors), ListMeasures.of(data), 10)


def test_without_time_nothing_is_fresh(world):
    _, scores, vectors = world
    data = random_dataset(1)
    prices = rerank_prices(Matrix(scores), data, RerankTrials(), ("taste", vectors), ListMeasures.of(data), 10)
    assert not [name for name in prices.rows if name.startswith("fresh")]
    assert "mean_age_days@10" not in prices.rows["as ranked"]


def test_a_sample_of_the_users_is_fixed(world):
    data, scores, vectors = world
    trials = RerankTrials(max_users=7)
    one, two = (
        rerank_prices(Matrix(scores), data, trials, ("taste", vectors), ListMeasures.of(data), 10) for _ in range(2)
    )
    assert one.rows == two.rows and one.num_users == 7 < one.of_all


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"part": "train"}, "rerank: part is 'train'; expected validation or test."),
        ({"max_users": 0}, "rerank: max_users is 0; expected at least 1."),
        ({"mmr_lambda": [0.5, 3]}, "rerank: mmr_lambda is 3; expected a number from 0 to 1."),
        ({"fresh_weight": [-1]}, "rerank: fresh_weight is -1; expected a number from 0 to 1."),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        RerankTrials(**settings)
