import numpy as np
import pytest
from scipy.sparse import csr_array

from avrec.factors import fold_in
from avrec.factors.fold_in import fold_in_map, ridge_map, solve_users

NUM_ITEMS, NUM_FACTORS, LAMBDA = 40, 6, 0.7


@pytest.fixture
def item_factors() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((NUM_ITEMS, NUM_FACTORS)).astype(np.float32)


def histories(weighted: bool) -> csr_array:
    rng = np.random.default_rng(1)
    dense = (rng.random((25, NUM_ITEMS)) < rng.random((25, 1))).astype(np.float32)
    dense[3] = 0
    dense[4] = 1
    return csr_array(dense * rng.integers(1, 6, dense.shape) if weighted else dense, dtype=np.float32)


def naive(item_factors: np.ndarray, history: csr_array, alpha: float) -> np.ndarray:
    """Weighted ridge regression over *all* items, confidence 1 and preference 0 where nothing was seen."""
    factors, result = item_factors.astype(np.float64), []
    for weights in history.toarray():
        confidence = np.where(weights > 0, alpha * weights, 1.0)
        system = (factors * confidence[:, None]).T @ factors + LAMBDA * np.eye(NUM_FACTORS)
        result.append(np.linalg.solve(system, factors.T @ (confidence * (weights > 0))))
    return np.array(result)


@pytest.mark.parametrize("block_values", [1, 2000, 10**9])
@pytest.mark.parametrize(("alpha", "weighted"), [(1.0, False), (5.0, True), (0.2, False)])
def test_solution_equals_weighted_ridge_regression(monkeypatch, item_factors, alpha, weighted, block_values):
    monkeypatch.setattr(fold_in, "BLOCK_VALUES", block_values)
    history = histories(weighted)
    found = solve_users(item_factors, LAMBDA, history, alpha)
    assert found.dtype == np.float32
    assert np.allclose(found, naive(item_factors, history, alpha), atol=1e-5)
    assert not found[3].any()


def test_map_is_exact_at_confidence_one(item_factors):
    history = histories(weighted=False)
    mapped = (history @ item_factors) @ fold_in_map(item_factors, LAMBDA)
    assert np.allclose(mapped, solve_users(item_factors, LAMBDA, history, 1.0), atol=1e-5)


def test_map_is_not_exact_above_it(item_factors):
    history = histories(weighted=False)
    mapped = (history @ item_factors) @ fold_in_map(item_factors, LAMBDA)
    assert np.abs(mapped - solve_users(item_factors, LAMBDA, history, 5.0)).max() > 0.05


def test_map_is_the_symmetric_inverse(item_factors):
    found = fold_in_map(item_factors, LAMBDA)
    assert found.shape == (NUM_FACTORS, NUM_FACTORS) and found.dtype == np.float32
    assert np.array_equal(found, found.T)
    system = item_factors.T.astype(np.float64) @ item_factors + LAMBDA * np.eye(NUM_FACTORS)
    assert np.allclose(found @ system, np.eye(NUM_FACTORS), atol=1e-5)


def test_no_users_and_one_user(item_factors):
    assert solve_users(item_factors, LAMBDA, csr_array((0, NUM_ITEMS), dtype=np.float32)).shape == (0, NUM_FACTORS)
    history = histories(weighted=True)
    one = solve_users(item_factors, LAMBDA, history[[7]], 3.0)
    assert np.allclose(one, solve_users(item_factors, LAMBDA, history, 3.0)[[7]], atol=1e-6)


def test_ridge_map_is_ridge_regression():
    rng = np.random.default_rng(2)
    inputs, outputs = rng.standard_normal((30, 4)).astype(np.float32), rng.standard_normal((30, 3)).astype(np.float32)
    penalty = 0.5 * (inputs.astype(np.float64) ** 2).sum() / 4
    stacked = np.vstack([inputs, np.sqrt(penalty) * np.eye(4)])
    expected = np.linalg.lstsq(stacked, np.vstack([outputs, np.zeros((4, 3))]), rcond=None)[0]
    assert np.allclose(ridge_map(inputs, outputs, share=0.5), expected, atol=1e-5)


def test_ridge_map_of_nothing_is_zero():
    assert not ridge_map(np.zeros((5, 4), np.float32), np.ones((5, 3), np.float32)).any()
