"""Re-ranking against loops: every candidate looked at for every place of every user."""

import numpy as np
import pytest

import avrec.retrieval.rerank as rerank
from avrec.core.errors import AvrecError, ConfigError
from avrec.retrieval.rerank import Reranking, age_days, unit_vectors

NUM_ITEMS, WIDTH = 60, 5
NOTHING = np.zeros((NUM_ITEMS, 1))


def world(num_users=40, pool=15, seed=0):
    """Candidates by falling score, of which the last users have few or none; vectors of which three are zero; ages."""
    rng = np.random.default_rng(seed)
    item_idx = np.argsort(rng.random((num_users, NUM_ITEMS)), axis=1)[:, :pool]
    scores = -np.sort(-rng.standard_normal((num_users, pool)), axis=1).astype(np.float32)
    for row, count in ((-1, 0), (-2, 1), (-3, 4)):
        item_idx[row, count:], scores[row, count:] = -1, -np.inf
    vectors = rng.standard_normal((NUM_ITEMS, WIDTH)).astype(np.float32)
    vectors[:3] = 0
    return item_idx, scores, unit_vectors(vectors), rng.uniform(0, 200, item_idx.shape)


def naive_list(items, values, k, mmr_lambda, vectors):
    """One user: at every place each remaining candidate is compared with each that was picked."""
    left, picked = sorted(range(len(items)), key=lambda place: -values[place]), []
    while left and len(picked) < k:
        marginal = []
        for place in left:
            cosines = [float(vectors[items[place]].astype(float) @ vectors[items[one]].astype(float)) for one in picked]
            marginal.append(mmr_lambda * values[place] - (1 - mmr_lambda) * max(cosines) if picked else values[place])
        picked.append(left.pop(marginal.index(max(marginal))))
    return [int(items[place]) for place in picked] + [-1] * (k - len(picked))


def naive(item_idx, scores, k, mmr_lambda=1.0, fresh_weight=0.0, half_life=30.0, vectors=None, ages=None):
    lists = []
    for items, own, age in zip(item_idx, scores, np.zeros(item_idx.shape) if ages is None else ages, strict=True):
        there = items >= 0
        low, high = own[there].min(initial=np.inf), own[there].max(initial=-np.inf)
        values = [
            (1 - fresh_weight) * (float(score) - low) / (high - low if high > low else 1)
            + (1 - fresh_weight) * (high == low)
            + fresh_weight * 0.5 ** (days / half_life)
            for score, days in zip(own[there].tolist(), age[there].tolist(), strict=True)
        ]
        lists.append(naive_list(items[there], values, k, mmr_lambda, NOTHING if vectors is None else vectors))
    return np.array(lists)


@pytest.mark.parametrize("mmr_lambda", [0.9, 0.6, 0.3, 0.0])
@pytest.mark.parametrize("fresh_weight", [0.0, 0.4])
def test_lists_are_those_of_the_loops(mmr_lambda, fresh_weight):
    item_idx, scores, vectors, ages = world()
    found, _ = Reranking(mmr_lambda, fresh_weight)(item_idx, scores, 8, vectors, ages)
    expected = naive(item_idx, scores, 8, mmr_lambda, fresh_weight, vectors=vectors, ages=ages)
    np.testing.assert_array_equal(found, expected)


def test_freshness_alone_and_its_half_life():
    item_idx, scores, _, ages = world()
    for half_life in (5.0, 90.0):
        found, _ = Reranking(fresh_weight=0.5, half_life_days=half_life)(item_idx, scores, 8, None, ages)
        expected = naive(item_idx, scores, 8, fresh_weight=0.5, half_life=half_life, ages=ages)
        np.testing.assert_array_equal(found, expected)


def test_lambda_one_keeps_the_order_and_the_scores():
    item_idx, scores, vectors, ages = world()
    found, values = Reranking()(item_idx, scores, 8, vectors, ages)
    np.testing.assert_array_equal(found, np.where(np.isneginf(scores), -1, item_idx)[:, :8])
    np.testing.assert_array_equal(values, scores[:, :8])
    assert not Reranking().changes and Reranking(mmr_lambda=0.99).changes and Reranking(fresh_weight=0.01).changes


def test_scores_travel_with_their_items():
    item_idx, scores, vectors, _ = world()
    found, values = Reranking(mmr_lambda=0.2)(item_idx, scores, 8, vectors)
    for row in range(len(found)):
        of_item = dict(zip(item_idx[row].tolist(), scores[row].tolist(), strict=True))
        shown = found[row] >= 0
        assert values[row][shown].tolist() == [of_item[item] for item in found[row][shown].tolist()]
        assert np.isneginf(values[row][~shown]).all()


def test_lambda_zero_looks_at_nothing_but_diversity():
    """Three directions: after the best item come the opposite of it, then what stands across, whatever they score."""
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], np.float32)
    item_idx, scores = np.array([[0, 1, 2, 3]]), np.array([[9.0, 8.0, 1.0, 0.5]], np.float32)
    assert Reranking(mmr_lambda=0.0)(item_idx, scores, 4, vectors)[0].tolist() == [[0, 3, 2, 1]]
    assert Reranking(mmr_lambda=0.5)(item_idx, scores, 2, vectors)[0].tolist() == [[0, 3]]
    assert Reranking(mmr_lambda=0.9)(item_idx, scores, 2, vectors)[0].tolist() == [[0, 1]]


@pytest.mark.parametrize("fresh_weight", [0.3, 1.0])
def test_a_short_list_ends_and_never_repeats(fresh_weight):
    item_idx, scores, vectors, ages = world()
    found, _ = Reranking(0.5, fresh_weight)(item_idx, scores, 20, vectors, ages)
    assert found.shape == (40, 20)
    assert (found[-1] == -1).all() and (found[-2] >= 0).sum() == 1 and (found[-3] >= 0).sum() == 4
    for row, line in enumerate(found):
        shown = line[line >= 0]
        assert len(set(shown)) == len(shown) and set(shown) == set(item_idx[row][item_idx[row] >= 0])
        assert (line[len(shown) :] == -1).all()


def test_equal_scores_keep_their_order():
    item_idx, scores = np.array([[4, 2, 9, 7]]), np.zeros((1, 4), np.float32)
    ages = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert Reranking(fresh_weight=1.0)(item_idx, scores, 3, None, ages)[0].tolist() == [[4, 2, 9]]


def test_blocks_do_not_change_anything(monkeypatch):
    item_idx, scores, vectors, _ = world()
    whole = Reranking(mmr_lambda=0.4)(item_idx, scores, 8, vectors)[0]
    monkeypatch.setattr(rerank, "BLOCK_BYTES", 3 * 15 * WIDTH * 4)
    np.testing.assert_array_equal(Reranking(mmr_lambda=0.4)(item_idx, scores, 8, vectors)[0], whole)


def test_the_price_of_diversity_rises_as_lambda_falls():
    """Planted: who likes a taste finds the targets among the items of that taste, which the scores put first."""
    rng = np.random.default_rng(3)
    taste = np.arange(NUM_ITEMS) % 4
    vectors = unit_vectors((np.eye(4)[taste] + 0.05 * rng.standard_normal((NUM_ITEMS, 4))).astype(np.float32))
    likes = rng.integers(0, 4, 200)
    values = 2.0 * (taste == likes[:, None]) + rng.standard_normal((200, NUM_ITEMS))
    item_idx = np.argsort(-values, axis=1)[:, :40]
    scores = np.take_along_axis(values, item_idx, axis=1).astype(np.float32)
    hits, likeness = [], []
    for mmr_lambda in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0):
        found, _ = Reranking(mmr_lambda)(item_idx, scores, 10, vectors)
        hits.append((taste[found] == likes[:, None]).mean())
        sums = vectors[found].sum(axis=1)
        likeness.append((sums**2).sum(axis=1).mean())
    assert hits == sorted(hits, reverse=True) and hits[0] > 1.8 * hits[-1]
    assert likeness == sorted(likeness, reverse=True) and likeness[0] > 2 * likeness[-1]


def test_ages():
    since = np.array([0.0, 86_400.0, np.inf])
    now, item_idx = np.array([86_400.0, 43_200.0]), np.array([[0, 1, 2], [0, 1, 2]])
    assert age_days(since, item_idx, now).tolist() == [[1, 0, 0], [0.5, 0, 0]]
    assert age_days(since, item_idx, now, np.inf).tolist() == [[1, 0, np.inf], [0.5, np.inf, np.inf]]


def test_what_is_not_yet_out_is_not_fresh():
    item_idx, scores = np.array([[0, 1, 2]]), np.array([[3.0, 2.0, 1.0]], np.float32)
    ages = np.array([[100.0, np.inf, 0.0]])
    assert Reranking(fresh_weight=0.9)(item_idx, scores, 3, None, ages)[0].tolist() == [[2, 0, 1]]


def test_unit_vectors_leave_zero_rows():
    found = unit_vectors(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mmr_lambda": 1.5}, "rerank: mmr_lambda is 1.5; expected a number from 0 to 1."),
        ({"fresh_weight": -0.1}, "rerank: fresh_weight is -0.1; expected a number from 0 to 1."),
        ({"half_life_days": 0}, "rerank: half_life_days is 0; expected a positive number of days."),
        ({"pool": 0}, "rerank: pool is 0; expected at least 1 candidate."),
        ({"by": "colour"}, "rerank: by is 'colour'; expected content, taste or null."),
    ],
)
def test_settings_out_of_range_are_refused(settings, text):
    with pytest.raises(ConfigError, match=text):
        Reranking(**settings)


def test_what_is_needed_must_be_given():
    item_idx, scores, vectors, _ = world()
    with pytest.raises(AvrecError, match=r"mmr_lambda is 0.5, but there are no vectors to compare items by"):
        Reranking(mmr_lambda=0.5)(item_idx, scores, 3)
    with pytest.raises(AvrecError, match=r"fresh_weight is 0.5, but the age of the items is not known"):
        Reranking(fresh_weight=0.5)(item_idx, scores, 3, vectors)
    with pytest.raises(AvrecError, match="k is 0; expected at least 1"):
        Reranking()(item_idx, scores, 0)
