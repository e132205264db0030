import itertools
import math

import numpy as np
import pytest

from avrec.core.dataset import Dataset, Feature
from avrec.evaluation.evaluate import evaluate
from avrec.evaluation.item_space import BLOCK_ITEMS, ItemSpace
from avrec.evaluation.lists import GROUPS, ListMeasures, diversity, popularity_groups, self_information
from avrec.evaluation.metrics import gini
from tests.evaluation.world import Matrix, Vectors, dataset, events, naive_evaluation, naive_lists, random_dataset


def with_features(data, seed=0):
    """Two modalities, one of several steps in time, each lacking somewhere; some items have neither."""
    rng = np.random.default_rng(seed)
    features = {}
    for name, shape in {"audio": (5,), "visual": (3, 4)}.items():
        present = rng.random(data.num_items) < 0.7
        values = (rng.standard_normal((data.num_items, *shape)) * 3 + 2).astype(np.float32)
        values[~present] = 0
        features[name] = Feature(values, present)
    return Dataset(**{**vars(data), "features": features})


def naive_vectors(data):
    """{item: vector} by content, in float64."""
    parts = {}
    for name, feature in data.features.items():
        values = feature.values.astype(np.float64)
        values = values.mean(axis=1) if values.ndim == 3 else values
        there = values[feature.present]
        scaled = (values - there.mean(axis=0)) / there.std(axis=0)
        parts[name] = {item: scaled[item] / np.linalg.norm(scaled[item]) for item in np.flatnonzero(feature.present)}
    vectors = {}
    for item in range(data.num_items):
        blocks = [part.get(item) for part in parts.values()]
        if any(block is not None for block in blocks):
            widths = [len(next(iter(part.values()))) for part in parts.values()]
            whole = [np.zeros(width) if block is None else block for block, width in zip(blocks, widths, strict=True)]
            vectors[item] = np.concatenate(whole) / np.linalg.norm(np.concatenate(whole))
    return vectors


def naive_columns(data):
    """{item: its train users as a 0/1 vector}, for trained items."""
    columns = np.zeros((data.num_items, data.num_users))
    columns[data.train.item_idx, data.train.user_idx] = 1
    return {item: columns[item] for item in np.flatnonzero(columns.any(axis=1))}


def cosine(one, other):
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))


def naive_list_metrics(items, known, data, vectors):
    """Novelty, diversity and popularity divergence of one list."""
    counts = data.train.item_counts
    active = int((data.train.user_counts > 0).sum())
    found = {"novelty": sum(math.log2(active / max(counts[item], 1)) for item in items) / len(items)}
    pairs = [
        1 - cosine(vectors[a], vectors[b]) for a, b in itertools.combinations([i for i in items if i in vectors], 2)
    ]
    found["diversity"] = sum(pairs) / len(pairs) if pairs else math.nan
    groups = popularity_groups(data)
    divergence = 0.0
    for group in range(len(GROUPS)):
        p = sum(groups[item] == group for item in known) / max(len(known), 1)
        q = 0.99 * sum(groups[item] == group for item in items) / len(items) + 0.01 * p
        divergence += p * math.log(p / q) if p else 0.0
    found["popularity_kl"] = divergence if known else math.nan
    return found


@pytest.mark.parametrize("by_content", [True, False])
@pytest.mark.parametrize("levels", [3, None])
def test_equals_naive_loops(by_content, levels):
    data = random_dataset(1)
    data = with_features(data) if by_content else Dataset(**{**vars(data), "features": {}})
    scores = np.random.default_rng(1).standard_normal((data.num_users, data.num_items))
    scores = (np.round(scores * levels) / levels if levels else scores).astype(np.float32)
    vectors = naive_vectors(data) if by_content else naive_columns(data)
    lists, history = naive_lists(scores, data, "test"), events(data.history("test"))
    cutoffs = (4, 12)
    result = evaluate(Matrix(scores), data, "test", cutoffs, measures=ListMeasures.of(data), block_bytes=4 * 80 * 20)
    expected = dict(naive_evaluation(scores, data, "test", cutoffs, more=True))
    for cutoff in cutoffs:
        rows = [naive_list_metrics(items[:cutoff], history[user], data, vectors) for user, items in lists.items()]
        for name in ("novelty", "diversity", "popularity_kl"):
            values = np.array([row[name] for row in rows])
            np.testing.assert_allclose(result.per_user[f"{name}@{cutoff}"], values, atol=2e-6)
            expected[f"{name}@{cutoff}"] = np.nanmean(values)
        shown = np.bincount([i for items in lists.values() for i in items[:cutoff]], minlength=data.num_items)
        expected[f"gini@{cutoff}"] = gini(shown)
    assert result.metrics.keys() == expected.keys()
    for name, value in expected.items():
        assert result.metrics[name] == pytest.approx(value, abs=2e-6), name
    plain = {
        name for name in expected if name.split("@")[0].rpartition("/")[2] in ("recall", "ndcg", "mrr", "coverage")
    }
    assert evaluate(Matrix(scores), data, "test", cutoffs).metrics == {name: result.metrics[name] for name in plain}
    space = "content (audio, visual)" if by_content else "train users in common"
    assert result.diversity_by == space


@pytest.mark.parametrize("keep", [3, 30, 100])
def test_the_first_items_are_kept_with_scores_and_hits(keep):
    data = random_dataset(2)
    rng = np.random.default_rng(2)
    users, items = rng.integers(-2, 3, (data.num_users, 4)), rng.integers(-2, 3, (data.num_items, 4))
    result = evaluate(Vectors(users, items), data, "test", (10,), block_bytes=4 * 80 * 30, keep=keep)
    top, target = result.top, events(data.target("test"))
    assert top.item_idx.shape == top.score.shape == top.hit.shape == (len(result.user_idx), keep)
    for row, (user, expected) in enumerate(naive_lists(users @ items.T, data, "test").items()):
        assert result.user_idx[row] == user
        length = min(keep, len(expected))
        assert top.item_idx[row, :length].tolist() == expected[:keep]
        assert (top.item_idx[row, length:] == -1).all()
        assert not top.hit[row, length:].any()
        assert top.hit[row, :length].tolist() == [item in target[user] for item in expected[:keep]]
        assert top.score[row, :length].tolist() == [
            float((users[user] * items[item]).sum()) for item in expected[:keep]
        ]
    assert result.metrics == evaluate(Vectors(users, items), data, "test", (10,)).metrics
    assert evaluate(Vectors(users, items), data, "test", (10,)).top is None


def test_groups_are_divided_between_counts():
    # of 20 events the first item holds 20 % exactly, those with two or fewer 20 % together
    counts = [4, 3, 3, 3, 3, 2, 1, 1, 0]
    train = [(user, item) for item, count in enumerate(counts) for user in range(count)]
    data = dataset(train, [], [(0, 8)], 4, 9)
    names = [GROUPS[group] for group in popularity_groups(data)]
    assert names == ["head", *["middle"] * 4, *["tail"] * 3, "never trained"]
    assert self_information(data).round(3).tolist() == [0.0, *[0.415] * 4, 1.0, 2.0, 2.0, 2.0]
    even = dataset([(user, user) for user in range(4)], [], [(0, 1)], 4, 4)
    assert [GROUPS[group] for group in popularity_groups(even)] == ["head"] * 4


def test_a_calibrated_list_costs_nothing_and_an_opposite_one_much():
    data = dataset([(user, 0) for user in range(8)] + [(0, 1), (1, 2)], [], [(0, 3), (2, 3)], 8, 4)
    measures = ListMeasures.of(data)
    indptr, history = np.array([0, 2, 3, 3]), np.array([0, 1, 0])
    found = measures(np.array([[0, 2], [1, 2], [0, 1]]), (indptr, history))
    np.testing.assert_allclose(found["popularity_kl"], [0.0, math.log(100), np.nan], atol=1e-12)


def test_lists_that_are_short_or_out_of_place():
    data = dataset([(0, 0), (1, 0), (1, 1)], [], [(0, 1)], 2, 4)
    space = ItemSpace.of(data)
    lists = np.array([[0, 1, -1], [0, -1, -1], [0, 2, 3], [-1, -1, -1]])  # items 2 and 3 are never trained
    found = diversity(lists, space)
    np.testing.assert_allclose(found, [1 - 1 / math.sqrt(2), np.nan, np.nan, np.nan], rtol=1e-6)
    empty = ListMeasures.of(data)(lists[3:], (np.array([0, 1]), np.array([0])))
    assert all(np.isnan(values).all() for values in empty.values())


def test_a_measure_that_nobody_has_is_left_out():
    """No item has a place, so there is no diversity; nothing is made up and nothing is NaN in the file of the numbers."""
    data = dataset(
        [(0, 0)], [], [(0, 1), (1, 2)], 2, 3, {"audio": Feature(np.zeros((3, 2), np.float32), np.zeros(3, bool))}
    )
    result = evaluate(Matrix(np.zeros((2, 3))), data, "test", (2,), measures=ListMeasures.of(data))
    assert "diversity@2" not in result.metrics
    assert np.isnan(result.per_user["popularity_kl@2"]).tolist() == [False, True]  # user 1 has no history
    assert not np.isnan(list(result.metrics.values())).any()


def test_many_items_are_standardised_as_few():
    rng = np.random.default_rng(4)
    num_items = BLOCK_ITEMS + 50
    values = rng.standard_normal((num_items, 2, 3)).astype(np.float32)
    data = dataset([(0, 0)], [], [(0, 1)], 1, num_items, {"audio": Feature(values, np.ones(num_items, bool))})
    expected = naive_vectors(data)
    found = ItemSpace.of(data).vectors
    np.testing.assert_allclose(found, np.stack([expected[item] for item in range(num_items)]), atol=1e-5)
