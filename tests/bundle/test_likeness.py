"""More like this: each way against cosines taken one by one."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avrec.bundle.likeness import Likeness
from avrec.bundle.queries import query_users
from avrec.bundle.reader import Bundle
from avrec.bundle.recommender import Recommender
from avrec.core.errors import ArtefactError, AvrecError, ConfigError, DataError
from avrec.core.files import write_npy
from avrec.retrieval.rerank import Reranking
from avrec.retrieval.rhythm import rhythms
from tests.bundle.test_reader import forge
from tests.export.world import NUM_ITEMS, World


@pytest.fixture(scope="module")
def served(attention_world: World) -> Recommender:
    return Recommender(Bundle.open(attention_world.folder))


def cosines(vectors, item):
    own = vectors[item] / np.linalg.norm(vectors[item])
    return [float(own @ vector / np.linalg.norm(vector)) if vector.any() else None for vector in vectors.astype(float)]


def check(answer, likeness, item, k):
    """The k largest, most alike first, without the item and without those that have no vector."""
    ranked = sorted((-value, other) for other, value in enumerate(likeness) if value is not None and other != item)[:k]
    assert answer.item_ids == tuple(f"item {other}" for _, other in ranked)
    np.testing.assert_allclose(answer.scores, [-value for value, _ in ranked], atol=1e-5)
    assert answer.how == "item"


@pytest.mark.parametrize("k", [3, 100])
def test_by_content(served: Recommender, k: int) -> None:
    check(served.similar("item 5", k, "content"), cosines(served.bundle.content_vectors, 5), 5, k)
    assert served.similar("item 5", k) == served.similar("item 5", k, "content")


def test_by_taste_only_trained_items(served: Recommender) -> None:
    trained = served.bundle.id_vectors * (served.bundle.evidence > 0)[:, None]
    assert not trained[27].any()
    check(served.similar("item 5", 40, "taste"), cosines(trained, 5), 5, 40)


@pytest.mark.parametrize(("words", "modality"), [(("sound", "audio"), "audio"), (("picture", "video"), "video")])
def test_by_a_sense(served: Recommender, attention_world: World, words: tuple[str, ...], modality: str) -> None:
    """The encoder's own output, less its mean over the items that have the modality."""
    world, present = attention_world, attention_world.dataset.features[modality].present
    encoder = world.model.item_tower.encoders[modality].eval()
    tokens = encoder(world.catalogue.values[modality]).detach().numpy().mean(axis=1)
    np.testing.assert_allclose(served.bundle.modality_vectors[modality], tokens * present[:, None], atol=1e-6)
    centred = (tokens - tokens[present].mean(axis=0)) * present[:, None]
    item = int(np.flatnonzero(present)[4])
    for word in words:
        check(served.similar(f"item {item}", 7, word), cosines(centred, item), item, 7)


def test_by_time_of_use(served: Recommender) -> None:
    history = served.bundle.history
    direction, table = rhythms(history.item_idx, history.timestamp, NUM_ITEMS)
    likeness = [float(direction[5] @ table[other]) if direction[other].any() else None for other in range(NUM_ITEMS)]
    check(served.similar("item 5", 6, "time"), likeness, 5, 6)


def test_allowed_items_alone(served: Recommender) -> None:
    allowed = np.arange(NUM_ITEMS) < 9
    answer = served.similar("item 5", 30, "taste", allowed)
    assert set(answer.item_ids) == {f"item {item}" for item in range(9) if item != 5}


def test_names_of_the_ways(served: Recommender, ids_world: World) -> None:
    assert served.likeness.names == ("content", "taste", "time", "sound", "picture", "audio", "video")
    ids = Recommender(Bundle.open(ids_world.folder))
    assert ids.likeness.names == ("taste",) and ids.likeness.usual == "taste"
    assert ids.similar("item 5", 2).how == "item"


def test_a_modality_called_sound_is_that_one(served: Recommender) -> None:
    vectors = dict(served.bundle.modality_vectors)
    renamed = replace(served.bundle, modality_vectors={"sound": vectors["video"], "audio": vectors["audio"]})
    assert Likeness(renamed).names == ("content", "taste", "time", "sound", "audio")
    item = int(np.flatnonzero(vectors["video"].any(axis=1))[0])
    by_sound, by_picture = Likeness(renamed).similar(item, 5, "sound"), served.likeness.similar(item, 5, "video")
    np.testing.assert_array_equal(by_sound[0], by_picture[0])


def test_what_cannot_be_answered_is_said(served: Recommender) -> None:
    with pytest.raises(
        ConfigError, match=r"by: 'smell' is no way in which .* can answer; it can by \('content', 'taste'"
    ):
        served.similar("item 5", 3, "smell")
    with pytest.raises(DataError, match=r"item id 'item 99' is not in .* Name an item of the catalogue"):
        served.similar("item 99", 3)
    with pytest.raises(DataError, match=r"item 'item 27' has no training events; ask by one of \['content'"):
        served.similar("item 27", 3, "taste")
    with pytest.raises(DataError, match=r"item 'item 4' has no content; ask by one of \['taste'"):
        served.similar("item 4", 3, "content")
    with pytest.raises(DataError, match=r"item 'item 4' has no sound; ask by one of"):
        served.similar("item 4", 3, "sound")
    with pytest.raises(AvrecError, match="k is 0; expected at least 1"):
        served.similar("item 5", 0)


def test_reranking_a_bundle(served: Recommender) -> None:
    """Lists of `top` are the reranked pool; ages count from an item's first to the log's last event."""
    query = query_users(served.bundle, ["user 0", "user 3"])
    for order in (
        Reranking(0.3, pool=12),
        Reranking(fresh_weight=0.8, pool=12),
        Reranking(0.5, 0.5, 10.0, 12, "taste"),
    ):
        pool_idx, pool_scores, _ = served.top(query, 12)
        vectors = served.likeness.way(order.by or "content").direction_NW
        stamps, items = served.bundle.history.timestamp, served.bundle.history.item_idx
        first = [min(stamps[items == item], default=stamps.max()) for item in range(NUM_ITEMS)]
        ages = (stamps.max() - np.array(first))[pool_idx] / 86_400
        expected = order(pool_idx, pool_scores, 4, vectors, ages)
        found = served.top(query, 4, reranking=order)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


def test_freshness_needs_a_log_with_time(ids_world: World) -> None:
    served = Recommender(Bundle.open(ids_world.folder))
    with pytest.raises(ConfigError, match=r"fresh_weight is above 0, but the log behind .* has no time"):
        served.recommend(_query(served), 3, reranking=Reranking(fresh_weight=0.1))
    assert served.recommend(_query(served), 3, reranking=Reranking(mmr_lambda=0.5))[0].item_ids
    with pytest.raises(ConfigError, match=re.escape("by: 'content' is no way")):
        served.recommend(_query(served), 3, reranking=Reranking(mmr_lambda=0.5, by="content"))


def _query(served: Recommender):
    return query_users(served.bundle, ["user 0"])


def test_a_bundle_without_the_files_still_opens(attention_world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))
    manifest = json.loads((folder / "manifest.json").read_text())
    for place in range(2):
        (folder / f"modality_vectors_{place}.npy").unlink()
        del manifest["files"][f"modality_vectors_{place}.npy"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert Likeness(Bundle.open(folder)).names == ("content", "taste", "time")


def test_a_table_of_other_length_is_refused(attention_world: World, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))
    write_npy(folder / "modality_vectors_0.npy", np.zeros((NUM_ITEMS - 1, 8), np.float32))
    forge(folder, "modality_vectors_0.npy")
    with pytest.raises(ArtefactError, match=r"modality_vectors_0\.npy: float32 \(29, 8\); manifest\.json asks for"):
        Bundle.open(folder)
