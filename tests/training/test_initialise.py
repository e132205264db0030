"""Starts: the untrained tower ranks as the matrix factorisation it was made from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery
from avrec.factors.als import ALS
from avrec.factors.fold_in import solve_users
from avrec.factors.matrix import interaction_matrix
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.initialise import FactorStart, RandomStart
from avrec.training.scorer import TwoTowerScorer
from tests.training.world import make_model, random_world, randomise, same, state_of

DIM = 8


def world() -> Dataset:
    """Plain views of 90 warm items by 38 users, 10 items never trained."""
    dataset = random_world(10)
    return replace(dataset, train=replace(dataset.train, weight=np.ones_like(dataset.train.weight)))


def als(alpha: float = 1.0, dim: int = DIM, regularisation: float = 0.5) -> ALS:
    return ALS(dim, regularisation, alpha, iterations=5, seed=1)


def model_of(
    dataset: Dataset, exponent: float = 0.0, max_history_items: int = 10_000, dim: int = DIM, **options
) -> TwoTower:
    model = make_model(dataset, "none", dim=dim, exponent=exponent, max_history_items=max_history_items, **options)
    randomise(model)  # so that a start has something to overwrite
    with torch.no_grad():
        model.user_tower.constant_D.zero_()  # a fresh model has none
    return model


def scores_of(model: TwoTower, users: np.ndarray, history: Interactions) -> np.ndarray:
    """Of known users, or of strangers (-1) whose rows of `history` are those of the query."""
    rows = np.where(users < 0, np.arange(len(users)), users)
    query = replace(UserQuery.of_users(rows, history), user_idx=users)
    return TwoTowerScorer(model, CatalogueFeatures({}, {})).score(query)


def new_histories(dataset: Dataset, seed: int = 3) -> Interactions:
    """Histories of 2 to 9 trained items that nobody has."""
    rng = np.random.default_rng(seed)
    trained = np.flatnonzero(~dataset.cold_items)
    counts = rng.integers(2, 10, 40)
    items = np.concatenate([rng.permutation(trained)[:count] for count in counts])
    return Interactions.from_events(np.repeat(np.arange(40), counts), items, 40, dataset.num_items)


def overlap(one: np.ndarray, other: np.ndarray, k: int = 20) -> float:
    """Mean share of the k best items of each row that are among the k best of the other matrix."""
    tops = [np.argsort(-matrix, axis=1, kind="stable")[:, :k] for matrix in (one, other)]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*tops, strict=True)]))


def test_at_alpha_1_the_fold_in_ranks_as_als_inside_and_outside_the_factorisation():
    dataset = world()
    model = model_of(dataset)
    FactorStart(als())(model, dataset)
    factors = als().fit(dataset.train)
    everybody = np.arange(dataset.num_users)
    inside = scores_of(model, everybody, dataset.train)
    assert overlap(inside, factors.user @ factors.item.T) >= 0.95
    assert np.abs(inside - factors.user @ factors.item.T).max() < 1e-4

    strangers = new_histories(dataset)
    outside = scores_of(model, np.full(40, -1), strangers)
    expected = solve_users(factors.item, 0.5, interaction_matrix(strangers), 1.0) @ factors.item.T
    assert overlap(outside, expected) >= 0.95
    assert np.abs(outside - expected).max() < 1e-4


def test_at_another_alpha_or_with_a_cut_history_it_is_no_longer_exact():
    dataset = world()
    everybody = np.arange(dataset.num_users)
    for alpha, limit in ((40.0, 10_000), (1.0, 2)):
        model = model_of(dataset, max_history_items=limit)
        FactorStart(als(alpha))(model, dataset)
        factors = als(alpha).fit(dataset.train)
        found, expected = scores_of(model, everybody, dataset.train), factors.user @ factors.item.T
        assert overlap(found, expected) < 0.999
        assert np.abs(found - expected).max() > 0.01


@pytest.mark.parametrize("options", [{}, {"exponent": 0.5, "max_history_items": 3}, {"tied": False}])
def test_a_look_up_starts_known_users_at_their_own_factors(options):
    dataset = world()
    model = model_of(dataset, user_table=True, **options)
    FactorStart(als(40.0), "look_up")(model, dataset)
    factors = als(40.0).fit(dataset.train)
    found = scores_of(model, np.arange(dataset.num_users), dataset.train)
    assert np.abs(found - factors.user @ factors.item.T).max() < 1e-3
    # A stranger with the same history has the fold-in alone.
    stranger = scores_of(model, np.full(dataset.num_users, -1), dataset.train)
    assert np.abs(found - stranger).max() > 0.01


def test_both_tables_start_from_the_item_factors_without_a_bias():
    dataset = world()
    model = model_of(dataset, tied=False)
    FactorStart(als())(model, dataset)
    item = torch.from_numpy(als().fit(dataset.train).item)
    assert torch.equal(model.item_table.output_ND, item)
    assert torch.equal(model.item_table.history_ND, item)
    assert not model.item_table.bias_N.any()


def test_a_random_start_leaves_everything_as_it_is():
    dataset = world()
    model = model_of(dataset)
    before = state_of(model)
    RandomStart()(model, dataset)
    assert same(state_of(model), before)


def test_a_start_that_does_not_fit_is_told_and_changes_nothing():
    dataset = world()
    model = model_of(dataset)
    before = state_of(model)
    with pytest.raises(
        ConfigError, match=r"has 16 factors, the item table 8. Set id_dim and start.als.num_factors to the same"
    ):
        FactorStart(als(dim=16))(model, dataset)
    with pytest.raises(ConfigError, match=r"start.method=look_up needs user_table.enabled=true"):
        FactorStart(als(), "look_up")(model, dataset)
    assert same(state_of(model), before)
