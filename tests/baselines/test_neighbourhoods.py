"""UserKNN and RP3beta against dense loops, and what they need in memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from avrec.baselines.ease import EASE
from avrec.baselines.p3alpha import P3alpha
from avrec.baselines.rp3beta import RP3beta
from avrec.baselines.user_knn import UserKNN
from avrec.core.dataset import Dataset
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery
from tests.baselines.world import dense, known, random_world, strangers


def user_knn_loop(matrix: np.ndarray, histories: np.ndarray, k: int, shrinkage: float) -> np.ndarray:
    scores = np.zeros((len(histories), matrix.shape[1]))
    for row, history in enumerate(histories):
        similar = np.zeros(len(matrix))
        for user, other in enumerate(matrix):
            length = np.linalg.norm(history) * np.linalg.norm(other)
            if length:
                similar[user] = np.float32(history @ other / (length + shrinkage))
        nearest = sorted((u for u in range(len(matrix)) if similar[u] > 0), key=lambda u: (-similar[u], u))[:k]
        scores[row] = sum((similar[u] * matrix[u] for u in nearest), np.zeros(matrix.shape[1]))
    return scores


@pytest.mark.parametrize(("k", "shrinkage"), [(1, 0.0), (4, 0.0), (5, 10.0), (100, 2.0)])
def test_user_knn(k, shrinkage):
    dataset = random_world()
    matrix = dense(dataset.train)
    scores = UserKNN(k, shrinkage).fit(dataset).score(known(dataset))
    assert np.allclose(scores, user_knn_loop(matrix, matrix, k, shrinkage), atol=1e-5)


@pytest.mark.parametrize("products", [1, 40])
def test_user_knn_of_strangers_in_small_blocks(products, monkeypatch):
    monkeypatch.setattr("avrec.factors.similarity.BLOCK_PRODUCTS", products)
    dataset, others = random_world(0), random_world(5)
    query = strangers(known(others))
    scores = UserKNN(4, 3.0).fit(dataset).score(query)
    assert np.allclose(scores, user_knn_loop(dense(dataset.train), dense(others.train), 4, 3.0), atol=1e-5)


def test_a_known_user_is_his_own_nearest_neighbour():
    dataset = random_world()
    neighbours = UserKNN(1).fit(dataset).neighbours(known(dataset)).toarray()
    assert np.allclose(neighbours, np.diag(dataset.train.user_counts > 0), atol=1e-6)


def many_users(num_users: int, num_items: int, each: int) -> Dataset:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(num_users), each)
    train = Interactions.from_events(user, rng.integers(0, num_items, len(user)), num_users, num_items)
    nothing = train.select(np.zeros(len(train), np.bool_))
    ids = [IdMap([f"{row:06d}" for row in range(number)]) for number in (num_users, num_items)]
    return Dataset("many", "many-hash", ids[0], ids[1], train, nothing, nothing)


def peak_bytes(action) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_user_knn_makes_nothing_of_users_by_users(monkeypatch):
    """20,000 users: their similarities to one another would take 1.6 GB, and everybody's with one item 400 MB."""
    monkeypatch.setattr("avrec.factors.similarity.BLOCK_PRODUCTS", 200_000)
    dataset = many_users(20_000, 100, 5)
    query = UserQuery.of_users(np.arange(2_000), dataset.train)

    def answer() -> None:
        UserKNN(20).fit(dataset).score(query)

    assert peak_bytes(answer) < 40 * 2**20


def test_ease_needs_twelve_bytes_a_pair_of_items():
    """The Gram matrix is dense here; a sparse copy of it, or a second inverse, would double the peak."""
    dataset = many_users(3_000, 1_200, 60)
    assert peak_bytes(lambda: EASE(10.0).fit(dataset)) < 13.5 * 1_200**2 + 16 * len(dataset.train) * 4


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (0.6, 0.2)])
def test_rp3beta_divides_by_popularity(alpha, beta):
    dataset = random_world()
    matrix = dense(dataset.train)
    with np.errstate(invalid="ignore"):
        start = np.nan_to_num(matrix / matrix.sum(axis=1, keepdims=True))
        to_user = np.nan_to_num(matrix.T / matrix.T.sum(axis=1, keepdims=True)) ** alpha
    walk = to_user @ start**alpha
    np.fill_diagonal(walk, 0)
    for item in range(dataset.num_items):
        walk[:, item] /= max(1, np.count_nonzero(matrix[:, item])) ** beta
    scores = RP3beta(alpha, beta, None).fit(dataset).score(known(dataset))
    assert np.allclose(scores, start @ walk, atol=1e-6)


def test_rp3beta_at_zero_is_p3alpha():
    dataset = random_world()
    one, other = (method.fit(dataset).score(known(dataset)) for method in (RP3beta(0.7, 0.0, 3), P3alpha(0.7, 3)))
    assert np.array_equal(one, other)


def test_rp3beta_cuts_after_the_division():
    """Item 0 leads to a popular item 1 by more walks than to a rare item 2; beta turns the one neighbour kept around."""
    base = random_world()
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2), (2, 1), *((user, 1) for user in range(3, 12))]
    users, items = np.array(pairs).T
    dataset = replace(base, train=Interactions.from_events(users, items, base.num_users, base.num_items))
    kept = {beta: RP3beta(1.0, beta, 1).fit(dataset).similarity.toarray()[0].argmax() for beta in (0.0, 1.0)}
    assert kept == {0.0: 1, 1.0: 2}
