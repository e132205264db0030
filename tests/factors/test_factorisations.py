"""ALS, BPR and SVD: what all factorisations promise, and what each promises alone."""

import numpy as np
import pytest

from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.factors.als import ALS
from avrec.factors.bpr import BPR
from avrec.factors.fold_in import fold_in_map, solve_users
from avrec.factors.matrix import interaction_matrix
from avrec.factors.svd import SVD
from tests.factors.world import block_interactions, unseen_in_block_first

METHODS = {
    "als": ALS(num_factors=3, regularisation=1.0, alpha=3.0, iterations=10),
    "bpr": BPR(num_factors=3, learning_rate=0.1, regularisation=0.1, iterations=100),
    "svd": SVD(num_factors=3),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", METHODS)
def test_planted_blocks_are_recovered(name, seed):
    train = block_interactions(seed)
    factors = METHODS[name].fit(train, "hash")
    assert unseen_in_block_first(factors.user @ factors.item.T, train)


@pytest.mark.parametrize("name", METHODS)
def test_shapes_types_and_lineage(name):
    train = block_interactions()
    factors = METHODS[name].fit(train, "hash")
    for array, rows in ((factors.user, train.num_users), (factors.item, train.num_items)):
        assert array.dtype == np.float32 and len(array) == rows and np.isfinite(array).all()
    assert factors.user.shape[1] == factors.item.shape[1]
    assert (factors.method, factors.data_hash, factors.seed) == (name, "hash", 0)


@pytest.mark.parametrize("name", METHODS)
def test_without_events_all_scores_are_zero(name):
    factors = METHODS[name].fit(block_interactions(), "")
    scores = factors.user @ factors.item.T
    assert np.allclose(scores[:, -1], 0, atol=1e-6)
    if name != "bpr":  # a stranger of BPR keeps the item biases
        assert np.allclose(scores[-1], 0, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_bits(name):
    first, second = (METHODS[name].fit(block_interactions(), "") for _ in range(2))
    assert np.array_equal(first.user, second.user) and np.array_equal(first.item, second.item)


def test_another_seed_gives_other_als_factors():
    first, second = (ALS(4, 0.1, 3.0, 2, seed=seed).fit(block_interactions(), "") for seed in (0, 1))
    assert not np.allclose(first.item, second.item)


def test_als_users_solve_the_least_squares_of_the_returned_items():
    train = block_interactions()
    factors = ALS(4, 0.1, 3.0, iterations=2).fit(train, "")
    expected = solve_users(factors.item, 0.1, interaction_matrix(train), 3.0)
    assert np.array_equal(factors.user, expected)


def test_als_minimises_the_weighted_objective():
    """Alternating exact float64 solves over weighted confidences, written as loops, reach the same loss."""
    train = block_interactions()
    rng = np.random.default_rng(5)
    train = Interactions.from_events(
        train.user_idx,
        train.item_idx,
        train.num_users,
        train.num_items,
        rng.integers(1, 4, len(train)).astype(np.float32),
    )
    weights = interaction_matrix(train).toarray().astype(np.float64)
    confidence, preference = np.where(weights > 0, 2.0 * weights, 1.0), weights > 0

    def solve(fixed: np.ndarray, c: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.array(
            [
                np.linalg.solve((fixed * row[:, None]).T @ fixed + 0.5 * np.eye(3), fixed.T @ (row * q))
                for row, q in zip(c, p, strict=True)
            ]
        )

    item = rng.random((train.num_items, 3))
    for _ in range(60):
        user = solve(item, confidence, preference)
        item = solve(user, confidence.T, preference.T)

    def loss(x: np.ndarray, y: np.ndarray) -> float:
        error = confidence * (preference - x @ y.T) ** 2
        return float(error.sum() + 0.5 * ((x**2).sum() + (y**2).sum()))

    factors = ALS(num_factors=3, regularisation=0.5, alpha=2.0, iterations=60).fit(train, "")
    assert loss(factors.user, factors.item) == pytest.approx(loss(user, item), rel=1e-3)


def test_als_at_alpha_one_is_its_fold_in():
    train = block_interactions()
    factors = ALS(4, 0.1, alpha=1.0).fit(train, "")
    folded = (interaction_matrix(train) @ factors.item) @ fold_in_map(factors.item, 0.1)
    assert np.allclose(folded, factors.user, atol=1e-5)


def test_als_names_a_bad_argument():
    with pytest.raises(ConfigError, match="alpha is 0; expected a positive number"):
        ALS(alpha=0)
    with pytest.raises(ConfigError, match="regularisation is -1"):
        ALS(regularisation=-1)


def test_als_of_one_user():
    train = Interactions.from_events(np.zeros(3, np.int64), np.array([0, 2, 3]), 1, 5)
    factors = ALS(2, 0.1, 2.0).fit(train, "")
    scores = (factors.user @ factors.item.T)[0]
    assert scores[[0, 2, 3]].min() > 0.5 and np.allclose(scores[[1, 4]], 0)


def test_bpr_keeps_the_item_bias_in_the_last_column():
    factors = BPR(num_factors=4).fit(block_interactions(), "")
    assert factors.user.shape[1] == 5 and np.all(factors.user[:, -1] == 1)


@pytest.mark.parametrize("power", [0.0, -0.5])
def test_svd_equals_the_dense_decomposition(power):
    rng = np.random.default_rng(0)
    dense = (rng.random((30, 12)) < 0.4).astype(np.float64)
    users, items = np.nonzero(dense)
    factors = SVD(num_factors=5, user_power=power).fit(Interactions.from_events(users, items, 30, 12), "")
    scaled = dense * np.maximum(dense.sum(axis=1, keepdims=True), 1) ** power
    left, values, right = np.linalg.svd(scaled, full_matrices=False)
    expected = (left[:, :5] * values[:5]) @ right[:5]
    assert np.allclose(factors.user @ factors.item.T, expected, atol=1e-5)
    assert np.allclose(np.abs(factors.item), np.abs(right[:5].T), atol=1e-5)


def test_svd_items_are_orthonormal_and_signed_so_the_fold_in_map_is_the_identity():
    train = block_interactions()
    factors = SVD(num_factors=3).fit(train, "")
    assert np.allclose(fold_in_map(factors.item, factors.regularisation), np.eye(3), atol=1e-5)
    assert np.allclose(interaction_matrix(train) @ factors.item, factors.user, atol=1e-5)
    largest = factors.item[np.argmax(np.abs(factors.item), axis=0), np.arange(3)]
    assert (largest > 0).all()


def test_svd_leaves_directions_that_the_matrix_lacks_at_zero():
    train = Interactions.from_events(np.repeat([0, 1], 3), np.array([0, 2, 3, 5, 6, 7]), 9, 10)  # of rank 2
    factors = SVD(num_factors=5).fit(train, "")
    dense = interaction_matrix(train).toarray()
    assert np.allclose(factors.user @ factors.item.T, dense, atol=1e-6)
    assert not factors.item[:, 2:].any()
    assert not factors.item[[1, 4, 8, 9]].any()


def test_svd_of_nothing_is_zero():
    nothing = Interactions.from_events(np.zeros(0, np.int64), np.zeros(0, np.int64), 9, 10)
    assert not SVD(num_factors=3).fit(nothing, "").item.any()


def test_bpr_names_a_bad_argument():
    with pytest.raises(ConfigError, match="bpr: num_factors is 0; expected a positive number"):
        BPR(num_factors=0)
    with pytest.raises(ConfigError, match="bpr: regularisation is -1; expected 0 or more"):
        BPR(regularisation=-1)


def test_svd_refuses_more_factors_than_the_matrix_has():
    with pytest.raises(ConfigError, match="num_factors is 25; expected 1 to 24 for 61 users and 25 items"):
        SVD(num_factors=25).fit(block_interactions(), "")
