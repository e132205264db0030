"""iALS, BPR and SVD as recommenders: their formulas, and strangers who are folded in."""

import numpy as np
import pytest

from avrec.baselines.bpr import BPR
from avrec.baselines.factor_scorer import FactorScorer
from avrec.baselines.ials import IALS
from avrec.baselines.svd import SVD
from avrec.core.errors import ConfigError
from avrec.factors.als import ALS
from avrec.factors.bpr import BPR as BPRFactorisation
from tests.baselines.world import COLD_ITEM, ITEMS_EACH, USERS_EACH, block_world, dense, known, random_world, strangers


def test_ials_of_known_users_is_the_factorisation_of_implicit():
    dataset = random_world()
    factors = ALS(num_factors=3, regularisation=0.5, alpha=2.0, iterations=10, seed=4).fit(dataset.train)
    scores = IALS(3, alpha=2.0, regularisation=0.25, iterations=10, seed=4).fit(dataset).score(known(dataset))
    assert np.allclose(scores, factors.user @ factors.item.T, atol=1e-5)


def test_ials_of_strangers_solves_the_weighted_least_squares():
    dataset, others = random_world(0), random_world(5)
    scorer = IALS(3, alpha=2.0, regularisation=0.25).fit(dataset)
    item = scorer.item.astype(np.float64)
    expected = []
    for weights in dense(others.train):
        confidence = np.where(weights > 0, 2.0 * weights, 1.0)
        system = (item * confidence[:, None]).T @ item + 2.0 * 0.25 * np.eye(3)
        expected.append(np.linalg.solve(system, item.T @ (confidence * (weights > 0))) @ item.T)
    assert np.allclose(scorer.score(strangers(known(others))), expected, atol=1e-4)


@pytest.mark.parametrize("num_factors", [2, 5])
def test_svd_projects_histories_on_the_right_singular_vectors(num_factors):
    dataset, others = random_world(0), random_world(5)
    right = np.linalg.svd(dense(dataset.train))[2][:num_factors]
    scorer = SVD(num_factors).fit(dataset)
    for query, matrix in ((known(dataset), dense(dataset.train)), (strangers(known(others)), dense(others.train))):
        assert np.allclose(scorer.score(query), matrix @ right.T @ right, atol=1e-4)


def test_svd_takes_as_many_factors_as_the_matrix_has():
    dataset = random_world()
    most = min(dataset.num_users, dataset.num_items) - 1
    assert SVD(128).fit(dataset).item.shape == (dataset.num_items, most)
    with pytest.raises(ConfigError, match="svd: num_factors is 0; expected 1 to 13"):
        SVD(0).fit(dataset)


def test_bpr_folds_in_by_ridge_regression_on_mean_items():
    dataset, others = random_world(0), random_world(5)
    settings = {"num_factors": 3, "learning_rate": 0.1, "regularisation": 0.02, "iterations": 20, "seed": 3}
    factors = BPRFactorisation(**settings).fit(dataset.train)
    item, bias, user = factors.item[:, :-1].astype(np.float64), factors.item[:, -1], factors.user[:-1, :-1]

    def means(matrix: np.ndarray) -> np.ndarray:
        return np.array([item[row > 0].mean(axis=0) if row.any() else np.zeros(3) for row in matrix])

    inputs = means(dense(dataset.train))[:-1]  # the last user has no event
    penalty = 0.01 * np.trace(inputs.T @ inputs) / 3
    stacked = np.vstack([inputs, np.sqrt(penalty) * np.eye(3)])
    to_user = np.linalg.lstsq(stacked, np.vstack([user, np.zeros((3, 3))]), rcond=None)[0]
    scorer = BPR(**settings).fit(dataset)
    for query, matrix in ((known(dataset), dense(dataset.train)), (strangers(known(others)), dense(others.train))):
        assert np.allclose(scorer.score(query), means(matrix) @ to_user @ item.T + bias, atol=1e-4)


def test_bpr_without_a_history_is_left_with_the_biases_of_items():
    dataset = random_world()
    scorer = BPR(3).fit(dataset)
    assert np.array_equal(scorer.score(known(dataset))[-1], scorer.item[:, -1])


def test_bpr_learns_the_same_from_weighted_events():
    dataset = random_world()
    light = dataset.train.select(np.ones(len(dataset.train), np.bool_))
    light.weight[:] = 1
    query = known(dataset)
    plain = type(dataset)("x", "x", dataset.users, dataset.items, light, dataset.validation, dataset.test)
    assert np.array_equal(BPR(3).fit(dataset).score(query), BPR(3).fit(plain).score(query))


@pytest.mark.parametrize("method", [IALS(3, 3.0, 0.3), BPR(3, 0.1, 0.1), SVD(3)], ids=["ials", "bpr", "svd"])
def test_strangers_of_a_planted_block_are_offered_their_block(method):
    """Histories drawn anew from the same blocks: every trained item of the block comes before every one of the others."""
    scorer = method.fit(block_world())
    trained = np.arange(ITEMS_EACH * 3) % ITEMS_EACH != COLD_ITEM
    scores = scorer.score(strangers(known(block_world(seed=9))))[:-1]
    for user, row in enumerate(scores):
        block = np.arange(len(row)) // ITEMS_EACH == user // USERS_EACH
        assert row[block & trained].min() > row[~block & trained].max()


def test_vectors_multiply_out_to_the_scores():
    dataset = random_world()
    for method in (IALS(3, 2.0, 0.2), BPR(3), SVD(3)):
        scorer = method.fit(dataset)
        assert isinstance(scorer, FactorScorer)
        vectors = scorer.user_vectors(known(dataset))
        assert np.allclose(vectors @ scorer.item_vectors.T, scorer.score(known(dataset)), atol=1e-6)


def test_another_seed_gives_other_factors():
    dataset = random_world()
    for method in (IALS, BPR):
        assert not np.allclose(method(3, seed=0).fit(dataset).item, method(3, seed=1).fit(dataset).item)


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match=r"ials: regularisation is 0; expected a positive number"):
        IALS(regularisation=0)
    with pytest.raises(ConfigError, match=r"ials: alpha is -1\.0; expected a positive number"):
        IALS(alpha=-1.0)
    with pytest.raises(ConfigError, match=r"bpr: learning_rate is 0; expected a positive number"):
        BPR(learning_rate=0)
    with pytest.raises(ConfigError, match=r"bpr: regularisation is -0\.1; expected 0 or more"):
        BPR(regularisation=-0.1)
