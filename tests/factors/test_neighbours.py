import numpy as np
import pytest

from avrec.core.interactions import Interactions
from avrec.factors.neighbours import content_neighbours, jaccard_neighbours, p3_neighbours

NUM_USERS, NUM_ITEMS = 30, 14


@pytest.fixture
def train() -> Interactions:
    """Random events; the last two items and the last user have none."""
    rng = np.random.default_rng(3)
    seen = rng.random((NUM_USERS, NUM_ITEMS)) < 0.3
    seen[:, -2:] = False
    seen[-1] = False
    users, items = np.nonzero(seen)
    weight = rng.integers(1, 9, len(users)).astype(np.float32)
    return Interactions.from_events(users, items, NUM_USERS, NUM_ITEMS, weight)


def users_of(train: Interactions) -> list[set[int]]:
    return [set(train.user_idx[train.item_idx == item].tolist()) for item in range(train.num_items)]


def top_k_normalised(dense: np.ndarray, k: int) -> np.ndarray:
    result = np.zeros_like(dense)
    for row, values in enumerate(dense.astype(np.float32)):
        best = sorted((j for j in range(len(values)) if values[j] > 0), key=lambda j: (-values[j], j))[:k]
        result[row, best] = dense[row, best]
        if best:
            result[row] /= result[row].sum()
    return result


@pytest.mark.parametrize(("power", "k"), [(-1.5, 5), (-1.0, 3), (0.0, 100)])
def test_p3_equals_a_loop_over_shared_users(train, power, k):
    audiences = users_of(train)
    dense = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for i in range(NUM_ITEMS):
        for j in range(NUM_ITEMS):
            if i != j:
                dense[i, j] = sum(float(train.user_counts[u]) ** power for u in sorted(audiences[i] & audiences[j]))
    found = p3_neighbours(train, power, k)
    assert np.allclose(found.toarray(), top_k_normalised(dense, k), atol=1e-6)


@pytest.mark.parametrize("k", [2, 20])
def test_jaccard_equals_a_loop_over_sets(train, k):
    audiences = users_of(train)
    dense = np.zeros((NUM_ITEMS, NUM_ITEMS))
    for i in range(NUM_ITEMS):
        for j in range(NUM_ITEMS):
            if i != j and audiences[i] | audiences[j]:
                dense[i, j] = len(audiences[i] & audiences[j]) / len(audiences[i] | audiences[j])
    assert np.allclose(jaccard_neighbours(train, k).toarray(), top_k_normalised(dense, k), atol=1e-6)


def test_defaults_are_the_recipe(train):
    assert np.diff(p3_neighbours(train).indptr).max() == 5
    assert (p3_neighbours(train) != p3_neighbours(train, -1.5, 5)).nnz == 0
    assert (jaccard_neighbours(train) != jaccard_neighbours(train, 20)).nnz == 0


@pytest.mark.parametrize("make", [p3_neighbours, jaccard_neighbours])
def test_rows_sum_to_one_or_are_empty(train, make):
    sums = make(train).sum(axis=1)
    assert np.allclose(sums[:-2], 1.0)
    assert np.all(sums[-2:] == 0)
    assert make(train).shape == (NUM_ITEMS, NUM_ITEMS)


def test_content_rows_of_cold_items_lead_to_trained_ones(train):
    rng = np.random.default_rng(0)
    vectors = np.abs(rng.standard_normal((NUM_ITEMS, 6))).astype(np.float32)
    trained = train.item_counts > 0
    present = np.ones(NUM_ITEMS, np.bool_)
    present[0] = False
    found = content_neighbours(vectors, present, trained, 4)
    assert np.diff(found.indptr).tolist() == [0] + [4] * (NUM_ITEMS - 1)
    assert np.allclose(found.sum(axis=1)[1:], 1.0)
    assert found.toarray()[:, ~trained].sum() == 0 and found.toarray()[:, 0].sum() == 0


def test_content_weights_are_cosines_and_negative_ones_are_dropped():
    vectors = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [-1, 0]], np.float32)
    everything = np.ones(4, np.bool_)
    found = content_neighbours(vectors, everything, everything, 3).toarray()
    assert np.allclose(found[0], [0, 0.6 / 1.4, 0.8 / 1.4, 0], atol=1e-6)
    assert not found[3].any()


def test_nobody_shares_an_item():
    train = Interactions.from_events(np.arange(3), np.arange(3), 3, 3)
    assert p3_neighbours(train).nnz == 0 and jaccard_neighbours(train).nnz == 0


def test_no_events_at_all():
    train = Interactions.from_events(np.array([], np.int64), np.array([], np.int64), 2, 3)
    assert p3_neighbours(train).shape == (3, 3) and jaccard_neighbours(train).nnz == 0
