"""Propagation, stand-ins and smoothing against dense matrices."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.core.dataset import Feature
from avrec.models.item_tower import OperatingPoint
from avrec.training.calibration import CalibrationGrid
from avrec.training.fit import calibrate
from avrec.training.propagation import Mix, Neighbourhoods, apply_mix
from avrec.training.scorer import catalogue_features, content_table
from tests.training.world import block_world, make_model, randomise

MIX = Mix(p3=0.3, jaccard=0.1, content=0.25)


def world(fusion="concatenation", **options):
    """A data set, a random model, its content and the neighbourhoods over trained items."""
    dataset = block_world()
    model = randomise(make_model(dataset, fusion, **options))
    content = content_table(model, catalogue_features(dataset, model.item_tower.modalities))
    return dataset, model, content, Neighbourhoods(dataset.train, content, ~dataset.cold_items)


def table_of(model):
    return model.item_table.output_ND.detach().numpy().copy()


def start_of(model):
    return {name: value.clone() for name, value in model.item_table.state_dict().items()}


@pytest.mark.parametrize("hops", [1, 2])
def test_the_table_is_propagated_as_the_formula_says(hops):
    dataset, model, _, near = world()
    table = table_of(model).astype(np.float64)
    dense = MIX.p3 * near.p3.toarray() + MIX.jaccard * near.jaccard.toarray() + MIX.content * near.content.toarray()
    trained = ~dataset.cold_items
    dense = np.where(trained[:, None] & trained, dense, 0.0)
    expected = table + dense @ (table + dense @ table) if hops == 2 else table + dense @ table
    found = near.propagated(table_of(model), replace(MIX, hops=hops))
    assert np.abs(found - expected).max() < 1e-6
    assert np.abs(found - table).max() > 0.1
    assert np.array_equal(found[dataset.cold_items], table_of(model)[dataset.cold_items])


def test_every_neighbourhood_has_its_own_weight():
    _, model, _, near = world()
    table = table_of(model)
    for name in ("p3", "jaccard", "content"):
        found = near.propagated(table, Mix(**{name: 0.5}, hops=1))
        rows = near.trained_N[:, None] * (getattr(near, name).toarray() @ (table * near.trained_N[:, None]))
        assert np.abs(found - (table + 0.5 * rows)).max() < 1e-6
        assert np.abs(found - table).max() > 0.01


def test_cold_rows_neither_change_nor_change_others():
    dataset, model, _, near = world()
    table = table_of(model)
    other = table.copy()
    other[dataset.cold_items] = 1e3
    found, again = near.propagated(table, MIX), near.propagated(other, MIX)
    assert np.array_equal(found[~dataset.cold_items], again[~dataset.cold_items])
    assert (again[dataset.cold_items] == 1e3).all()
    assert np.array_equal(near.stand_ins(table), near.stand_ins(other))


def test_no_mix_is_the_identity():
    _, model, _, near = world(tied=False)
    before = start_of(model)
    apply_mix(model, before, near, Mix())
    assert all(torch.equal(value, before[name]) for name, value in model.item_table.state_dict().items())


def test_stand_ins_are_the_mean_of_the_ten_most_similar_trained_items():
    dataset, model, content, near = world()
    table = table_of(model)
    found = near.stand_ins(table)
    unit = content / np.linalg.norm(content, axis=1, keepdims=True)
    trained = np.flatnonzero(~dataset.cold_items)
    for item in [0, 10, 11, 40, *np.flatnonzero(dataset.cold_items)[-3:]]:
        others = trained[trained != item]
        cosine = unit[others] @ unit[item]
        best = np.argsort(-cosine)[:10]
        weight = np.maximum(cosine[best], 0)
        expected = weight @ table[others[best]] / weight.sum()
        assert np.abs(found[item] - expected).max() < 1e-5


def test_without_content_nothing_stands_in():
    dataset = block_world()
    model = randomise(make_model(dataset, "none"))
    near = Neighbourhoods(dataset.train, None, ~dataset.cold_items)
    assert not near.stand_ins(table_of(model)).any()
    assert np.array_equal(near.propagated(table_of(model), Mix(content=0.5)), table_of(model))


def test_pseudo_cold_items_lend_nothing():
    dataset, model, content, _ = world()
    lenders = ~dataset.cold_items
    lenders[::3] = False
    near = Neighbourhoods(dataset.train, content, lenders)
    assert not near.content.toarray()[:, ~lenders].any()
    other = table_of(model)
    other[~lenders] = 1e3
    assert np.array_equal(near.stand_ins(table_of(model)), near.stand_ins(other))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_mix_is_applied_to_every_table_from_the_start(tied):
    _, model, _, near = world(tied=tied)
    start = start_of(model)
    apply_mix(model, start, near, Mix(p3=0.9))
    apply_mix(model, start, near, MIX)
    for name, before in start.items():
        expected = before if name == "bias_N" else torch.from_numpy(near.propagated(before.numpy(), MIX))
        assert torch.equal(model.item_table.state_dict()[name], expected)
    # What a cold item borrows is the propagated table, by which warm items are scored.
    assert torch.equal(model.neighbour_vector_ND, torch.from_numpy(near.stand_ins(table_of(model))))


def test_smoothing_mixes_the_content_of_the_p3_neighbours_into_histories():
    dataset, model, _, near = world()
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    width = model.item_tower.content_dim
    apply_mix(model, start_of(model), near, Mix())
    item_before, plain, _ = model.item_vectors(catalogue)
    dense = near.p3.toarray()
    assert (np.count_nonzero(dense, axis=1) <= 5).all() and np.count_nonzero(dense) > 100
    found = np.zeros_like(dense)
    np.add.at(found, (np.arange(dataset.num_items)[:, None], model.smoothing_idx_NK), model.smoothing_weight_NK)
    assert np.abs(found - dense).max() < 1e-6
    model.set_operating_point(OperatingPoint(history_smoothing=0.4))
    item_after, smoothed, _ = model.item_vectors(catalogue)
    content = plain[:, -width:].numpy()
    assert np.abs(smoothed[:, -width:].numpy() - (content + 0.4 * dense @ content)).max() < 1e-5
    assert torch.equal(smoothed[:, :-width], plain[:, :-width])
    assert torch.equal(item_after[:, -width:], item_before[:, -width:])


def test_an_item_without_any_modality_resembles_nobody():
    dataset = block_world()
    bare = [0, 1, int(np.flatnonzero(dataset.cold_items)[0])]
    features = {}
    for name, feature in dataset.features.items():
        present = feature.present.copy()
        present[bare] = False
        features[name] = Feature(feature.values * present[:, None], present)
    dataset = replace(dataset, features=features)
    model = randomise(make_model(dataset, "attention"))
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    grid = CalibrationGrid((0.0,), (1.0,), (0.3,), (0.0,), (0.0,))
    table = torch.from_numpy(table_of(model))
    calibrate(model, catalogue, dataset, [Mix(content=0.3)], grid)
    assert not model.neighbour_vector_ND[bare].any()
    assert torch.equal(model.item_table.output_ND[bare], table[bare])
    others = torch.ones(dataset.num_items, dtype=torch.bool)
    others[bare] = False
    assert model.neighbour_vector_ND[others].any(dim=1).all()
