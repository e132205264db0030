"""Factors beside the ids: scores by a loop, the choice on planted blocks, and one answer from memory and file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery
from avrec.core.sparse import SparseRows
from avrec.factors.als import ALS
from avrec.factors.fold_in import solve_users
from avrec.factors.matrix import interaction_matrix
from avrec.models.item_tower import OperatingPoint
from avrec.models.pooling import AttentionPooling
from avrec.training.calibration import CalibrationGrid
from avrec.training.factor_segment import Beside, FactorGrid, lay_beside, no_factors
from avrec.training.fit import Calibrated, calibrate
from avrec.training.lending import Lent
from avrec.training.operating_rules import FrontierPoint
from avrec.training.propagation import Mix
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from tests.training.world import block_world, make_model, randomise, without_test

EVERYONE = np.arange(64)
FACTORISED = ALS(num_factors=8, regularisation=3.0, alpha=10.0)


def planted(noise, **options):
    """The block world, and an item table that knows the blocks the worse the more noise there is."""
    dataset = without_test(block_world())
    model = make_model(dataset, **options)
    blocks = torch.nn.functional.one_hot(torch.arange(dataset.num_items) // 12, 8).float()
    with torch.no_grad():
        torch.manual_seed(1)
        model.item_table.output_ND.copy_(blocks + noise * torch.randn_like(blocks))
    return dataset, model, catalogue_features(dataset, model.item_tower.modalities)


def worth_nothing():
    raise AssertionError("asked without need")


def middle(values):
    """The median, of an even number the lower one, as in torch."""
    return np.sort(values)[(len(values) - 1) // 2]


def vectors(model, catalogue, dataset):
    scorer = TwoTowerScorer(model, catalogue)
    return scorer.user_vectors(UserQuery.of_users(EVERYONE, dataset.train)), scorer.item_vectors


@pytest.mark.parametrize("pooling", ["normalized_sum", "attention"])
def test_scores_are_the_learned_ones_and_those_of_pooled_factors_by_a_loop(pooling):
    dataset = block_world()
    model = randomise(make_model(dataset, "none", user_table=True), 3)
    if pooling == "attention":
        model.user_tower.id_pooling = AttentionPooling(8)
    catalogue = catalogue_features(dataset, ())
    query = UserQuery.of_users(EVERYONE, dataset.train)
    before = TwoTowerScorer(model, catalogue).score(query)
    draw = np.random.default_rng(0)
    item_NF, map_FF = (draw.standard_normal(shape).astype(np.float32) for shape in ((96, 3), (3, 3)))
    model.set_factors(torch.from_numpy(item_NF), torch.from_numpy(map_FF))
    after = TwoTowerScorer(model, catalogue).score(query)
    gate_N = (
        model.item_evidence_N > 0
    ).numpy()  # at the operating point of a new model ids are not gated, cold ones are none
    for user in EVERYONE:
        items = dataset.train.item_idx[dataset.train.indptr[user] : dataset.train.indptr[user + 1]]
        pooled = sum(item_NF[item] * gate_N[item] for item in items) / len(items) ** 0.5
        assert after[user] == pytest.approx(before[user] + gate_N * (item_NF @ (map_FF @ pooled)), abs=1e-4)
    model.set_factors(*no_factors(model))
    assert np.array_equal(TwoTowerScorer(model, catalogue).score(query), before)


def test_factors_that_know_more_are_chosen_and_what_was_tried_is_told():
    dataset, model, catalogue = planted(noise=3.0, fusion="none")
    grid = FactorGrid({"als": FACTORISED}, (0.01, 1.0, 3.0))
    before = calibrate(model, catalogue, dataset, [Mix()], CalibrationGrid()).objective
    found = calibrate(model, catalogue, dataset, [Mix()], CalibrationGrid(), factors=grid)
    best, *others = found.beside
    assert best.factorisation == "als" and best.weight >= 1.0
    assert {tried.weight for tried in found.beside} == {0.0, 0.01, 1.0, 3.0}
    assert best.score == max(tried.score for tried in found.beside)
    assert next(tried.score for tried in others if tried.weight == 0) == pytest.approx(before)
    assert f"factors als at {best.weight:g} (ids alone {before:.4f} -> {best.score:.4f})" in str(found)
    assert found.objective == pytest.approx(best.score) and found.objective > 1.3 * before
    assert model.item_tower.id_dim == 16 and model.factors_NF[~dataset.cold_items].any(dim=1).all()
    assert not model.factors_NF[dataset.cold_items].any()


def test_factors_that_add_too_little_are_left_out():
    dataset, model, catalogue = planted(noise=3.0, fusion="none")
    grid = FactorGrid({"als": FACTORISED}, (1.0,), min_gain=50.0)
    before = vectors(model, catalogue, dataset)
    worths = iter([1.0, 50.9])
    best, *others = lay_beside(model, catalogue, dataset, grid, lambda: next(worths))
    assert (best.factorisation, best.weight) == ("", 0.0) and [tried.weight for tried in others] == [1.0]
    assert model.factors_NF.shape[1] == 0
    for old, new in zip(before, vectors(model, catalogue, dataset), strict=True):
        assert np.array_equal(old, new)
    worths = iter([1.0, 51.1])
    assert lay_beside(model, catalogue, dataset, grid, lambda: next(worths))[0].weight == 1.0


def test_nothing_is_factorised_where_nothing_is_to_be_tried():
    dataset, model, catalogue = planted(noise=0.5)
    assert lay_beside(model, catalogue, dataset, FactorGrid(), worth_nothing) == ()


def test_weights_are_in_units_of_equal_spread_and_stand_half_on_either_side():
    dataset, model, catalogue = planted(noise=3.0, fusion="none")
    users, items = vectors(model, catalogue, dataset)
    trained = ~dataset.cold_items
    spread = middle((users[:, :8] @ items[trained, :8].T).std(axis=1, ddof=1))
    for weight in (0.5, 2.0):
        lay_beside(model, catalogue, dataset, FactorGrid({"als": FACTORISED}, (weight,), min_gain=-1.0), lambda: 1.0)
        assert model.factors_NF.shape == (96, 8)
        users, items = vectors(model, catalogue, dataset)
        scores = users[:, 8:16] @ items[trained, 8:16].T
        assert middle(scores.std(axis=1, ddof=1)) == pytest.approx(weight * spread, rel=1e-4)
        squared = (items[trained] ** 2)[:, 8:16].sum(axis=1).mean() / (items[trained] ** 2)[:, :8].sum(axis=1).mean()
        assert squared == pytest.approx(weight, rel=1e-4)


def test_a_collapsed_factorisation_is_not_tried_and_idle_directions_are_dropped():
    dataset, model, catalogue = planted(noise=3.0, fusion="none")
    collapsed = ALS(num_factors=8, regularisation=300.0, alpha=3.0)
    assert np.abs(collapsed.fit(dataset.train).item).max() < 1e-3
    (alone,) = lay_beside(model, catalogue, dataset, FactorGrid({"als": collapsed}, (1.0,)), worth_nothing)
    assert alone.weight == 0 and model.factors_NF.shape[1] == 0
    wide = ALS(num_factors=20, regularisation=30.0, alpha=10.0)  # of eight blocks: twelve directions are idle
    size_F = np.linalg.svd(wide.fit(dataset.train).item, compute_uv=False)
    assert (size_F > 0.01 * size_F[0]).sum() == 8
    lay_beside(model, catalogue, dataset, FactorGrid({"als": wide}, (1.0,)), lambda: model.factors_NF.shape[1])
    assert model.factors_NF.shape[1] == 8


@pytest.mark.parametrize("weight", [0.0, -0.1, float("nan")])
def test_a_weight_that_weighs_nothing_is_refused(weight):
    with pytest.raises(
        ConfigError, match=r"factors\.weights: .* is not positive\. To go without factors set factors=none"
    ):
        FactorGrid({}, (0.1, weight))


def test_the_map_gives_nearly_the_factorisations_own_users():
    dataset, model, catalogue = planted(noise=3.0, fusion="none")
    lay_beside(model, catalogue, dataset, FactorGrid({"als": FACTORISED}, (3.0,)), lambda: model.factors_NF.shape[1])
    users, items = vectors(model, catalogue, dataset)
    factors = FACTORISED.fit(dataset.train)
    exact_UF = solve_users(factors.item, factors.regularisation, interaction_matrix(dataset.train), factors.alpha)
    exact, ours = exact_UF @ factors.item.T, users[:, 8:16] @ items[:, 8:16].T
    correlation = [np.corrcoef(one, other)[0, 1] for one, other in zip(exact, ours, strict=True)]
    assert min(correlation) > 0.97


def test_friends_lend_factors_too_and_cold_items_borrow_them():
    dataset, model, catalogue = planted(noise=3.0)
    user = np.arange(64)
    friends = SparseRows.from_entries(user, user // 8 * 8 + (user + 1) % 8, 64, 64)
    dataset = replace(dataset, social=friends)
    grid = CalibrationGrid(friend_strengths=(0.5,), friend_kappas=(None,))
    found = calibrate(model, catalogue, dataset, [Mix()], grid, factors=FactorGrid({"als": FACTORISED}, (3.0,)))
    assert found.beside[0].weight == 3.0
    assert str(found).startswith("chosen on validation: propagation none; factors als at 3 (ids alone ")
    assert f"; friends 0.5; Recall@20 + NDCG@20 {found.objective:.4f}" in str(found)
    assert model.friends_UD.shape == (64, 16) and model.friends_UD[:, 8:].any(dim=1).all()
    assert model.neighbour_vector_ND.shape == (96, 16)
    lent_N = model.neighbour_vector_ND[:, 8:].any(dim=1).numpy()
    assert lent_N[dataset.cold_items].all()


def test_a_model_of_another_width_takes_on_the_factors_of_a_file():
    dataset, model, catalogue = planted(noise=3.0)
    calibrate(model, catalogue, dataset, [Mix()], CalibrationGrid(), factors=FactorGrid({"als": FACTORISED}, (3.0,)))
    fresh = make_model(dataset)
    fresh.load_state_dict(model.state_dict())
    assert fresh.item_tower.id_dim == model.item_tower.id_dim == 16
    for old, new in zip(vectors(model, catalogue, dataset), vectors(fresh, catalogue, dataset), strict=True):
        assert np.array_equal(old, new)
    plain = make_model(dataset)
    model.load_state_dict(plain.state_dict())  # and gives them up again
    assert model.item_tower.id_dim == 8 and model.factors_NF.shape == (96, 0)


def test_the_line_of_what_was_chosen_names_nothing_that_was_not_asked_for():
    point = FrontierPoint(OperatingPoint(), 0.3, 0.2, 0.1, 0.4)
    found = Calibrated({"overall": point.point}, [point], Mix(p3=0.4, content=0.2), 0.5)
    said = "chosen on validation: propagation p3 0.4, content 0.2 over 2 hops"
    assert str(found) == f"{said}; Recall@20 + NDCG@20 0.5000"
    none = replace(found, beside=(Beside("", 0.0, 0.4),), lent=(Lent(0.3, 5.0, 0.2, 0.3),))
    assert str(none) == f"{said}; factors none; friends 0.3, kappa 5; Recall@20 + NDCG@20 0.5000"
