import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.bundle import recommender as recommender_module
from avrec.bundle.queries import query_histories, query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.dataset import tie_order
from avrec.core.errors import ArtefactError, AvrecError, DataError
from avrec.core.ids import IdMap
from avrec.core.query import Scorer, UserQuery
from avrec.factors.neighbours import content_neighbours
from avrec.training.scorer import content_table
from tests.bundle.test_reader import edit, forge
from tests.export.world import ID_DIM, NUM_ITEMS, NUM_USERS, World, world_of


@pytest.fixture(scope="module")
def served(world: World) -> Recommender:
    return Recommender(Bundle.open(world.folder))


def everybody(world: World) -> UserQuery:
    return UserQuery.of_users(np.arange(NUM_USERS), world.history)


def strangers(world: World) -> UserQuery:
    query = everybody(world)
    return UserQuery(np.full(NUM_USERS, -1), query.indptr, query.item_idx, query.weight, query.age_days)


def test_scores_equal_pytorch_for_known_users_and_histories(world: World, served: Recommender) -> None:
    assert isinstance(served, Scorer)
    for query in (everybody(world), strangers(world)):
        np.testing.assert_allclose(served.score(query), world.scorer.score(query), rtol=1e-5, atol=1e-5)


def test_a_batch_of_one_and_blocks_change_nothing(attention_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    served, query = Recommender(Bundle.open(attention_world.folder)), everybody(attention_world)
    whole = served.user_vectors(query)
    monkeypatch.setattr(recommender_module, "USERS_PER_BLOCK", 3)
    np.testing.assert_allclose(served.user_vectors(query), whole, atol=1e-6)
    monkeypatch.setattr(recommender_module, "USERS_PER_BLOCK", 1)
    np.testing.assert_allclose(served.user_vectors(query), whole, atol=1e-6)
    assert served.user_vectors(UserQuery.of_users(np.zeros(0, np.int64), attention_world.history)).shape == (0, 15)


def naive(scores: np.ndarray, seen: np.ndarray, k: int) -> list[str]:
    by_score = np.lexsort((tie_order(IdMap([f"item {index}" for index in range(NUM_ITEMS)])), -scores))
    return [f"item {index}" for index in by_score if index not in set(seen.tolist())][:k]


def test_lists_are_the_largest_scores_without_what_was_seen(world: World, served: Recommender) -> None:
    query, scores = everybody(world), world.scorer.score(everybody(world))
    for exclude in (True, False):
        for row, answer in enumerate(served.for_users([f"user {row}" for row in range(NUM_USERS)], 10, exclude)):
            seen = query.item_idx[query.indptr[row] : query.indptr[row + 1]] if exclude else np.zeros(0)
            popular = world.dataset.train.item_counts.astype(np.float32)  # for the user of whom nothing is known
            assert list(answer.item_ids) == naive(popular if answer.how == "popularity" else scores[row], seen, 10)
            assert list(answer.scores) == sorted(answer.scores, reverse=True)


def test_a_list_is_as_long_as_the_catalogue_allows(attention_world: World) -> None:
    served = Recommender(Bundle.open(attention_world.folder))
    counts = attention_world.history.user_counts
    answers = served.for_users([f"user {row}" for row in range(NUM_USERS)], 1000)
    assert [len(answer.item_ids) for answer in answers] == (30 - counts).tolist()
    assert all(len(answer.scores) == len(answer.item_ids) for answer in answers)
    only = np.arange(30) == 7
    answer = served.recommend(query_users(served.bundle, ["user 19"]), 5, allowed=only)[0]
    assert answer.item_ids == ("item 7",)


def test_how_a_user_was_served(world: World, served: Recommender) -> None:
    has_own = world.model.user_vectors().numpy().any(axis=1)
    known = [answer.how for answer in served.for_users([f"user {row}" for row in range(NUM_USERS)], 1)]
    assert known[:19] == ["known user"] * 19
    assert known[19] == ("known user" if has_own[19] else "popularity")
    assert [answer.how for answer in served.for_histories([["item 1"], []], 1)] == ["history", "popularity"]


def test_an_unknown_user_is_named_or_served_as_nobody(attention_world: World) -> None:
    served = Recommender(Bundle.open(attention_world.folder))
    with pytest.raises(DataError, match=r"^user id 'who\?' is not in .* Give the user's history instead"):
        served.for_users(["user 0", "who?"], 3)
    answers = served.for_users(["user 0", "who?", "user 1"], 3, unknown="no history")
    assert [answer.how for answer in answers] == ["known user", "popularity", "known user"]
    alone = [*served.for_users(["user 0", "user 1"], 3), *served.for_histories([[]], 3)]
    for answer, other in zip([answers[0], answers[2], answers[1]], alone, strict=True):
        assert answer.item_ids == other.item_ids and answer.scores == pytest.approx(other.scores, rel=1e-6)


def test_unknown_items_of_a_history_are_named_or_skipped(attention_world: World) -> None:
    served = Recommender(Bundle.open(attention_world.folder))
    with pytest.raises(DataError) as caught:
        served.for_histories([["item 1", "x"], ["y"]], 3)
    assert [problem.split(" is not in ")[0] for problem in caught.value.problems] == ["item id 'x'", "item id 'y'"]
    answers = served.for_histories([["item 1", "x"], ["y"]], 3, unknown="skip")
    assert answers == served.for_histories([["item 1"], []], 3)


def test_many_unknown_ids_are_counted(attention_world: World) -> None:
    bundle = Bundle.open(attention_world.folder)
    with pytest.raises(DataError) as caught:
        query_histories(bundle, [[f"x{index}" for index in range(25)]])
    assert len(caught.value.problems) == 21 and caught.value.problems[-1] == "... and 5 more."


def test_a_query_of_users_is_the_core_s_with_gaps(attention_world: World) -> None:
    bundle = Bundle.open(attention_world.folder)
    query = query_users(bundle, ["user 2", "?", "user 19", "user 0"], unknown="no history")
    expected = UserQuery.of_users(np.array([2, 19, 0]), attention_world.history)
    counts = np.diff(expected.indptr)
    assert query.user_idx.tolist() == [2, -1, 19, 0]
    assert np.diff(query.indptr).tolist() == [counts[0], 0, counts[1], counts[2]]
    for name in ("item_idx", "weight", "age_days"):
        np.testing.assert_array_equal(getattr(query, name), getattr(expected, name))
    later = query_users(bundle, ["user 2"], now_sec=1_700_000_000)
    stamps = attention_world.history.timestamp[attention_world.history.indptr[2] : attention_world.history.indptr[3]]
    np.testing.assert_allclose(later.age_days, (1_700_000_000 - stamps) / 86_400, rtol=1e-6)


def test_k_must_be_positive(attention_world: World) -> None:
    with pytest.raises(AvrecError, match="k is 0; expected at least 1"):
        Recommender(Bundle.open(attention_world.folder)).for_users(["user 0"], 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_idx": np.array([30])}, r"item_idx holds 30 \.\.\. 30; .* has 0 \.\.\. 29"),
        ({"item_idx": np.array([-1])}, r"item_idx holds -1"),
        ({"user_idx": np.array([20])}, r"user_idx holds 20 \.\.\. 20; .* has -1 \.\.\. 19"),
        ({"weight": np.array([np.nan], np.float32)}, "weight holds a value that is not finite"),
        ({"age_days": np.array([np.inf], np.float32)}, "age_days holds a value that is not finite"),
    ],
)
def test_a_query_of_another_catalogue_is_refused(
    attention_world: World, changes: dict[str, np.ndarray], message: str
) -> None:
    one = np.ones(1, np.float32)
    query = replace(UserQuery(np.array([0]), np.array([0, 1]), np.array([0]), one, one), **changes)
    with pytest.raises(DataError, match=message):
        Recommender(Bundle.open(attention_world.folder)).recommend(query, 3)


def test_a_graph_of_another_bundle_is_refused_by_name(attention_world: World, ids_world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))
    for name, source in (("item_tower", "user_tower"), ("user_tower", "user_tower")):
        shutil.copy(ids_world.folder / f"{source}.onnx", folder / f"{name}.onnx")
        forge(folder, f"{name}.onnx")
    served = Recommender(Bundle.open(folder))
    with pytest.raises(
        ArtefactError, match=r"(?s)user_tower\.onnx: cannot run on .* Does the graph belong to this bundle\?"
    ):
        served.for_users(["user 0"], 3)
    with pytest.raises(ArtefactError, match=r"item_tower\.onnx: takes .* expected .*'feature_audio'"):
        served.embed_items({"audio": np.zeros((1, 5), np.float32)})


def test_a_graph_that_is_none_is_refused_by_name(attention_world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))
    (folder / "user_tower.onnx").write_bytes(b"")
    forge(folder, "user_tower.onnx")
    with pytest.raises(ArtefactError, match=r"user_tower\.onnx: ONNX Runtime cannot load it"):
        Recommender(Bundle.open(folder))


def features_of(world: World) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    features = world.dataset.features
    return {name: value.values for name, value in features.items()}, {
        name: value.present for name, value in features.items()
    }


@pytest.mark.parametrize("kind", ["attention", "concatenation"])
def test_a_cold_item_embeds_to_its_rows_of_the_tables(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    world = world_of(kind, tmp_path_factory.mktemp("world"))
    bundle, cold = Bundle.open(world.folder), np.flatnonzero(world.dataset.cold_items)
    features, masks = features_of(world)
    item, history, share = Recommender(bundle).embed_items(
        {name: values[cold] for name, values in features.items()}, {name: mask[cold] for name, mask in masks.items()}
    )
    np.testing.assert_allclose(item, bundle.item_vectors[cold], atol=1e-5)
    np.testing.assert_allclose(history, bundle.history_vectors[cold], atol=1e-5)
    np.testing.assert_allclose(share, world.scorer.share[cold], atol=1e-5)
    id_dim = world.model.item_tower.id_dim
    smoothed = bundle.history_vectors[:, id_dim:] != content_table(world.model, world.catalogue)
    assert smoothed.any() and not smoothed[cold].any()  # without a training event nobody is reached over shared users
    assert history[:, :id_dim].any(axis=1).tolist() == [True, True, True, False]  # the last has no modality


def test_a_warm_item_embeds_as_if_nobody_had_seen_it(attention_world: World) -> None:
    world = attention_world
    features, masks = features_of(world)
    found = Recommender(Bundle.open(world.folder)).embed_items(features, masks)
    content = content_table(world.model, world.catalogue)
    present = masks["audio"] | masks["video"]
    # As new items they come a second time: nobody's neighbour, but they may resemble themselves.
    candidates = np.append(present & ~world.dataset.cold_items, np.zeros(NUM_ITEMS, np.bool_))
    rows = content_neighbours(np.concatenate([content, content]), np.append(present, present), candidates)
    rows = rows[NUM_ITEMS:, :NUM_ITEMS]
    stand_ins = torch.from_numpy(rows @ world.model.item_table.output_ND.detach().numpy())
    zeros = torch.zeros(NUM_ITEMS, ID_DIM)
    with torch.no_grad():
        arguments = (zeros, stand_ins, zeros[:, 0], zeros[:, 0])
        expected = world.model.item_tower(world.catalogue.values, world.catalogue.masks, *arguments)
    for array, tensor in zip(found, expected, strict=True):
        np.testing.assert_allclose(array, tensor, atol=1e-5)


def test_nothing_is_lent_where_the_operating_point_says_so(attention_world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))
    edit(folder, operating_point__neighbour_weight=0.0)
    _, history, _ = Recommender(Bundle.open(folder)).embed_items({"audio": np.ones((2, 5), np.float32)})
    assert not history[:, :ID_DIM].any() and history[:, ID_DIM:].any()


def test_a_missing_modality_may_be_left_out_or_masked(attention_world: World) -> None:
    served = Recommender(Bundle.open(attention_world.folder))
    audio = np.ones((2, 5), np.float32)
    left_out = served.embed_items({"audio": audio})
    nothing = np.full((2, 7), np.nan, np.float32)
    masked = served.embed_items(
        {"audio": audio, "video": nothing}, {"audio": np.ones(2, np.bool_), "video": np.zeros(2, np.bool_)}
    )
    for one, other in zip(left_out, masked, strict=True):
        np.testing.assert_array_equal(one, other)
    assert left_out[2].tolist() == [[1, 0], [1, 0]]
    assert served.embed_items({"audio": audio[:0]})[0].shape == (0, 15)


@pytest.mark.parametrize(
    ("features", "masks", "message"),
    [
        ({"smell": np.zeros((2, 3))}, None, r"modality 'smell' is unknown; this bundle takes \['audio', 'video'\]"),
        ({"audio": np.zeros((2, 4))}, None, r"modality 'audio': shape \(2, 4\); expected \(items, 5\)"),
        ({"audio": np.zeros((2, 5)), "video": np.zeros((3, 7))}, None, r"\[2, 3\] rows; expected one number of items"),
        ({"audio": np.zeros((2, 5))}, {"video": np.ones(2, np.bool_)}, "modality 'video' has a mask but no content"),
        (
            {"audio": np.zeros((2, 5))},
            {"audio": np.ones((2, 1), np.bool_)},
            r"mask of shape \(2, 1\); expected \(items,\)",
        ),
        ({"audio": np.full((2, 5), np.nan)}, None, r"modality 'audio' row 0 is not finite \(2 such rows\)"),
        ({}, None, "expected one number of items"),
    ],
)
def test_features_that_do_not_fit_are_refused(attention_world: World, features, masks, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Recommender(Bundle.open(attention_world.folder)).embed_items(features, masks)


def test_ids_alone_embed_nothing(ids_world: World) -> None:
    with pytest.raises(AvrecError, match="trained on ids alone and cannot embed new items"):
        Recommender(Bundle.open(ids_world.folder)).embed_items({})
