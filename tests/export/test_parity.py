import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.reader import Bundle
from avrec.core.query import UserQuery
from avrec.export.calls import item_calls, user_calls
from avrec.export.graphs import ItemTowerGraph, UserTowerGraph
from avrec.export.parity import (
    ParityReport,
    check_parity,
    count_equal_lists,
    count_equal_new_items,
    relative_errors,
)
from avrec.export.sample import EveryItem, ItemSample, spread
from avrec.export.tables import Tables
from tests.export.world import World


@pytest.fixture(scope="module")
def tables(attention_world: World) -> Tables:
    return Tables.of(attention_world.model, attention_world.catalogue, attention_world.dataset)


@pytest.fixture(scope="module")
def sample(attention_world: World) -> ItemSample:
    return ItemSample.of(EveryItem(attention_world.model, attention_world.catalogue, {}))


def arrays(**outputs: list[float]) -> dict[str, np.ndarray]:
    return {name: np.array(values, np.float32) for name, values in outputs.items()}


def runner(**outputs: list[float]):
    return lambda inputs: arrays(**outputs)


def test_relative_error_is_the_largest_difference_over_the_largest_reference() -> None:
    errors = relative_errors([arrays(a=[1, -4], b=[0, 0])], runner(a=[1.5, -3], b=[0, 0]), [{}])
    assert errors == {"a": 0.25, "b": 0.0}


@pytest.mark.parametrize("found", [[float("nan"), 0], [float("inf"), 0], [0, 0, 0], [1e-9, 0]])
def test_what_cannot_be_compared_is_infinitely_wrong(found: list[float]) -> None:
    assert relative_errors([arrays(a=[0, 0])], runner(a=found), [{}]) == {"a": float("inf")}


def test_the_worst_call_counts() -> None:
    values = iter([np.array([1.0]), np.array([1.5]), np.array([1.0])])
    errors = relative_errors([arrays(a=[1])] * 3, lambda inputs: {"a": next(values)}, [{}, {}, {}])
    assert errors == {"a": 0.5}


def query_of(histories: list[list[int]]) -> UserQuery:
    lengths = [len(history) for history in histories]
    item_idx = np.array([item for history in histories for item in history], np.int64)
    ones = np.ones(len(item_idx), np.float32)
    return UserQuery(np.arange(len(histories)), np.cumsum([0, *lengths]), item_idx, ones, ones * 0)


def test_lists_are_equal_up_to_ties() -> None:
    items = np.array([[1, 0], [1, 1e-6], [0.5, 0], [0.4, 1]], np.float32)
    reference = np.array([[1, 0], [1, 0], [1, 0]], np.float32)
    candidate = np.array([[1, 1], [1, 0.01], [0.9, -0.05]], np.float32)
    # user 0: item 3 comes first (1.4); user 1: items 0 and 1 change places within the tie; user 2: the order stays
    assert count_equal_lists(reference, candidate, items, query_of([[], [], []])) == 2
    assert (
        count_equal_lists(reference[:1], candidate[:1], items, query_of([[3]])) == 1
    )  # a consumed item is no difference


def test_calls_cover_batches_lengths_gaps_and_empty_histories(tables: Tables, sample: ItemSample) -> None:
    items = item_calls(sample)
    assert {len(call["bias"]) for call in items} == {1, 2, 7, 30}
    gaps = {(call["mask_audio"].any(), call["mask_video"].any()) for call in items if len(call["bias"]) == 7}
    assert gaps == {(True, True), (True, False), (False, True), (False, False)}
    assert any(not call["evidence"].any() for call in items)
    users = user_calls(tables, 6)
    assert {call["mask"].shape for call in users} == {(size, length) for size in (1, 2, 7) for length in (1, 3, 6)}
    assert any(not call["mask"].any() for call in users)
    assert any(call["mask"].any() and not call["user_vector"].any() for call in users)


def test_rows_are_spread_over_the_table() -> None:
    assert spread(10, 3).tolist() == [0, 4, 9]
    assert spread(2, 7).tolist() == [0, 1]
    assert spread(0, 7).tolist() == []


def test_recorded_parity_is_small(world: World) -> None:
    parity = json.loads((world.folder / "parity.json").read_text())
    errors = [error for found in parity["relative_error"].values() for error in found.values()]
    assert parity["passed"] is True and parity["tolerance"] == 1e-4
    assert max(errors) < 1e-5
    assert parity["equal_lists"] == {"onnx": 20, "torchscript": 20} and parity["num_users"] == 20
    cold = 3 if world.model.item_tower.modalities else 0
    assert parity["equal_new_items"] == parity["num_new_items"] == cold
    assert "divided by the largest |reference|" in parity["definition"]
    outputs = {"user_tower.vector", "item_tower.item_vector", "item_tower.history_vector"}
    outputs |= {"item_tower.share"} if world.model.item_tower.modalities else set()
    assert parity["relative_error"]["pytorch"].keys() == {"item_tower.item_vector"}
    assert parity["relative_error"]["onnx"].keys() == parity["relative_error"]["torchscript"].keys() == outputs


@pytest.mark.parametrize("tower", ["user_tower", "item_tower"])
def test_a_planted_difference_is_found(attention_world: World, tables: Tables, sample: ItemSample, tower: str) -> None:
    graphs = {
        "item_tower": ItemTowerGraph(attention_world.model.item_tower),
        "user_tower": UserTowerGraph(attention_world.model.user_tower),
    }
    with torch.no_grad():
        next(graphs[tower].parameters()).add_(0.01)
    manifest = Bundle.open(attention_world.folder).manifest
    report = check_parity(attention_world.folder, manifest, *graphs.values(), tables, sample)
    assert not report.passed
    assert (report.relative_error["pytorch"]["item_tower.item_vector"] > 1e-4) == (tower == "item_tower")
    for backend in ("onnx", "torchscript"):
        errors = report.relative_error[backend]
        assert {name.split(".")[0] for name, error in errors.items() if error > 1e-4} == {tower}


def test_new_items_that_borrow_from_others_are_found(
    attention_world: World, tables: Tables, sample: ItemSample
) -> None:
    """The graphs are the same; only the stand-ins that the tables were made with differ from the bundle's rule."""
    embedder = ItemEmbedder.of(Bundle.open(attention_world.folder))
    cold = sample.new
    assert cold.tolist() == [26, 27, 28]
    assert count_equal_new_items(embedder, tables, sample, cold) == 3
    history = tables.history_vectors.copy()
    history[27, 0] += 1e-3
    item = tables.item_vectors.copy()
    item[28, -1] += 1e-3
    other = replace(tables, item_vectors=item, history_vectors=history)
    assert count_equal_new_items(embedder, other, sample, cold) == 1
    assert count_equal_new_items(embedder, tables, sample, cold[:0]) == 0


def test_unequal_lists_and_new_items_fail_even_within_the_tolerance() -> None:
    report = ParityReport({"onnx": {"a": 0.0}}, {"onnx": 3}, 3, 1, equal_new_items=2, num_new_items=4, versions={})
    assert report.passed
    assert not replace(report, equal_lists={"onnx": 2}).passed
    assert not replace(report, equal_new_items=1).passed
