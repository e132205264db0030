import numpy as np
import pytest

from avrec.core.interactions import Interactions
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.simulated import SimulatedSource
from avrec.data.splits import GlobalTimeSplit


@pytest.fixture(scope="module")
def source():
    return SimulatedSource()


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory):
    folder = prepare(source, GlobalTimeSplit(), PrepareOptions(), tmp_path_factory.mktemp("simulated") / "data")
    return load_dataset(folder)


def test_it_is_a_function_of_its_arguments(dataset, tmp_path):
    again = load_dataset(prepare(SimulatedSource(), GlobalTimeSplit(), PrepareOptions(), tmp_path / "a"))
    other = load_dataset(prepare(SimulatedSource(seed=1), GlobalTimeSplit(), PrepareOptions(), tmp_path / "b"))
    assert again.content_hash == dataset.content_hash != other.content_hash


def test_size_and_kinds_of_events(source):
    raw = source.read()
    assert 30_000 <= len(raw.interactions) <= 60_000
    counts = {row["values"]: row["counts"] for row in raw.interactions["event"].value_counts().to_pylist()}
    assert counts["view"] > counts["like"] > counts["share"] > 500
    assert {name: values.shape[1] for name, (_, values) in raw.features.items()} == {
        "audio": 64,
        "visual": 96,
        "text": 32,
    }


def test_every_item_has_the_sound_or_the_picture(dataset):
    audio, visual = dataset.features["audio"].present, dataset.features["visual"].present
    assert (audio | visual).all() and 0 < (~audio).sum() < 80 and 0 < (~visual).sum() < 80
    assert not dataset.features["text"].present.all()


def test_nothing_happens_before_a_release(source):
    raw = source.read()
    release = dict(zip(raw.items["item_id"].to_pylist(), raw.items["released"].to_pylist(), strict=True))
    released = np.array([release[item] for item in raw.interactions["item_id"].to_pylist()])
    assert (np.asarray(raw.interactions["timestamp"]) >= released).all()


def test_the_last_part_meets_cold_items_and_new_users(dataset):
    cold = dataset.cold_items[dataset.test.item_idx]
    new = dataset.new_users[dataset.test.user_idx]
    assert 0.05 < cold.mean() < 0.4 and 0.0 < new.mean() < 0.3
    counts = np.sort(dataset.train.item_counts)[::-1]
    assert counts[:60].sum() > 2 * counts.sum() * 60 / 600  # the tenth most popular items get over two tenths


def cold_recall(scores: np.ndarray, target: Interactions, cold: np.ndarray, k: int = 5) -> float:
    """Among cold items alone: share of each user's cold events within the first k, for users who were trained."""
    scores = scores + 1e-9 * np.random.default_rng(0).random(scores.shape)
    scores = np.where(cold, scores, -np.inf)
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    wanted = np.zeros(scores.shape, np.bool_)
    wanted[target.user_idx, target.item_idx] = True
    wanted &= cold
    users = wanted.any(axis=1)
    return float(
        (np.take_along_axis(wanted, top, axis=1).sum(axis=1) / np.maximum(wanted.sum(axis=1), 1))[users].mean()
    )


def test_content_finds_cold_items_and_popularity_does_not(source, dataset):
    train = np.zeros((dataset.num_users, dataset.num_items), np.float32)
    train[dataset.train.user_idx, dataset.train.item_idx] = 1.0
    content = np.zeros_like(train)
    for feature in dataset.features.values():
        values = feature.values - feature.values[feature.present].mean(axis=0)
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        values[~feature.present] = 0.0
        content += train @ values @ values.T
    popularity = np.broadcast_to(train.sum(axis=0), train.shape)
    found = {
        name: cold_recall(scores, dataset.test, dataset.cold_items)
        for name, scores in (("oracle", source.oracle()), ("content", content), ("popularity", popularity))
    }
    shuffled = content[:, np.random.default_rng(0).permutation(dataset.num_items)]
    found["shuffled"] = cold_recall(shuffled, dataset.test, dataset.cold_items)
    assert found["oracle"] > found["content"] > 2 * max(found["popularity"], found["shuffled"]), found


def test_the_truth_is_no_field_that_a_model_could_read(dataset):
    assert not [name for name in (*dataset.item_fields, *dataset.user_fields) if name.startswith("true_")]


def test_ears_follow_the_sound(source, dataset):
    follows = dataset.user_table["true_follows"].to_pylist()
    truth = {sense: np.asarray(dataset.item_table[f"true_{sense}_class"]) for sense in ("audio", "visual")}

    def concentration(sense, kind):
        users = np.flatnonzero((np.array(follows) == kind) & (dataset.train.user_counts >= 20))
        best = [
            np.bincount(truth[sense][dataset.train.item_idx[slice(*dataset.train.indptr[u : u + 2])]]).max()
            for u in users
        ]
        return (np.array(best) / dataset.train.user_counts[users]).mean()

    assert concentration("audio", "ears") > 1.5 * concentration("visual", "ears")
    assert concentration("visual", "eyes") > 1.5 * concentration("audio", "eyes")
    assert concentration("audio", "both") > 1.2 * concentration("visual", "ears")
