"""The objective that selects, and the items that play cold where validation has too few."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.core.query import held_out_query
from avrec.evaluation.evaluate import evaluate
from avrec.models.item_tower import OperatingPoint
from avrec.training.module import LossWeights
from avrec.training.scorer import TwoTowerScorer, catalogue_features, content_table
from avrec.training.validation import MIN_COLD_TARGETS, Validator, pseudo_cold_items
from tests.evaluation.world import Matrix, naive_evaluation
from tests.training.world import (
    CONTENT,
    IDS,
    Untouchable,
    block_world,
    make_model,
    random_world,
    randomise,
    state_of,
    without_test,
)

JOINT = LossWeights(0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def world():
    dataset = random_world(30)
    return dataset, randomise(make_model(dataset), size=0.5)


def naive(dataset, scores):
    data = replace(dataset, test=dataset.validation)
    return naive_evaluation(scores, data, "validation", (20,))


def by_ids(model, dataset):
    """Scores by ids and bias alone; an item without training is behind everybody."""
    users = np.arange(dataset.num_users)
    query = held_out_query(dataset, "validation", users, dataset.train)
    taste = TwoTowerScorer(model, catalogue_features(dataset, model.item_tower.modalities)).user_vectors(query)
    table, bias = (value.detach().numpy() for value in (model.item_table.output_ND, model.item_table.bias_N))
    return np.where(dataset.cold_items, -1e4, taste[:, : table.shape[1]] @ table.T + bias)


def by_content(model, dataset):
    """Scores by content alone, for trained items as well."""
    content = content_table(model, catalogue_features(dataset, model.item_tower.modalities))
    scores = np.zeros((dataset.num_users, dataset.num_items))
    for user in range(dataset.num_users):
        span = slice(dataset.train.indptr[user], dataset.train.indptr[user + 1])
        weight = dataset.train.weight[span]
        if len(weight):
            scores[user] = (weight @ content[dataset.train.item_idx[span]] / np.sqrt(weight.sum())) @ content.T
    return scores


@pytest.mark.parametrize(
    ("weights", "prefixes"),
    [(IDS, [""]), (CONTENT, ["content/"]), (LossWeights(1, 1), ["", "content/"]), (JOINT, ["", "content/"])],
    ids=["id", "content", "both", "joint"],
)
def test_the_objective_is_the_recall_and_ndcg_of_what_is_trained(weights, prefixes, world):
    dataset, model = world
    found = Validator(without_test(dataset), catalogue_features(dataset, model.item_tower.modalities))(model, weights)
    scores = {"": by_ids(model, dataset), "content/": by_content(model, dataset)}
    expected = {}
    for prefix in prefixes:
        metrics = naive(dataset, scores[prefix].astype(np.float32))
        expected |= {prefix + name: metrics[name] for name in ("recall@20", "ndcg@20")}
    expected["objective"] = sum(expected.values())
    assert found == pytest.approx(expected, abs=1e-6)
    assert all(value > 0.02 for value in found.values())


def test_content_is_judged_by_cold_targets_where_there_are_enough():
    dataset = random_world(90, num_users=80)
    assert dataset.validation.item_counts[dataset.cold_items].sum() >= MIN_COLD_TARGETS
    model = randomise(make_model(dataset), size=0.5)
    found = Validator(without_test(dataset), catalogue_features(dataset, model.item_tower.modalities))(
        model, LossWeights(1, 1)
    )
    ids, content = (
        naive(dataset, scores.astype(np.float32)) for scores in (by_ids(model, dataset), by_content(model, dataset))
    )
    assert found["content/recall@20"] == pytest.approx(content["recall@20"], abs=1e-6)
    expected = ids["recall@20"] + ids["ndcg@20"] + content["cold/recall@20"] + content["cold/ndcg@20"]
    assert found["objective"] == pytest.approx(expected, abs=1e-6)


def test_validation_depends_on_no_operating_point_and_changes_nothing(world):
    dataset, model = world
    validate = Validator(dataset, catalogue_features(dataset, model.item_tower.modalities))
    weights = LossWeights(1, 1)
    before = validate(model, weights)
    model.set_operating_point(OperatingPoint(cold_offset=50.0, content_scale=3.0))
    model.train()
    state = state_of(model)
    assert validate(model, weights) == before
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    model.set_operating_point(OperatingPoint())


def test_the_views_of_a_scorer_are_what_they_are_called(world):
    dataset, model = world
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    for view, scores in (("collaborative", by_ids(model, dataset)), ("content", by_content(model, dataset))):
        found = evaluate(TwoTowerScorer(model, catalogue, view), dataset, "validation", (5, 20)).metrics
        expected = evaluate(Matrix(scores), dataset, "validation", (5, 20)).metrics
        assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_enough_real_cold_targets_need_no_pseudo_cold_items():
    dataset = block_world()
    assert dataset.validation.item_counts[dataset.cold_items].sum() == 64 >= MIN_COLD_TARGETS
    assert pseudo_cold_items(without_test(dataset), 0.2, 0) is None


def test_pseudo_cold_items_are_trained_items_with_a_validation_target():
    dataset = without_test(block_world(with_cold=False))
    drawn = pseudo_cold_items(dataset, 0.25, seed=1)
    wanted = dataset.validation.item_counts > 0
    assert drawn is not None
    assert drawn.sum() == round(0.25 * wanted.sum()) > 5
    assert wanted[drawn].all() and not dataset.cold_items[drawn].any()
    assert np.array_equal(drawn, pseudo_cold_items(dataset, 0.25, seed=1))
    assert not np.array_equal(drawn, pseudo_cold_items(dataset, 0.25, seed=2))
    assert pseudo_cold_items(dataset, 1e-6, seed=1).sum() == 1


def test_a_few_real_cold_targets_are_not_enough():
    dataset = block_world()
    few = dataset.validation.select(np.arange(len(dataset.validation)) < 2 * (MIN_COLD_TARGETS - 1))
    drawn = pseudo_cold_items(replace(dataset, validation=few, test=Untouchable()), 0.25, 0)
    assert drawn is not None and not (drawn & dataset.cold_items).any()


def test_without_features_or_share_nothing_plays_cold():
    dataset = block_world(with_cold=False)
    assert pseudo_cold_items(dataset, 0.0, 0) is None
    assert pseudo_cold_items(replace(dataset, features={}), 0.25, 0) is None
