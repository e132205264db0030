"""Why an item is recommended: parts that sum to its score, and what a bundle stores for them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from avrec.bundle.queries import query_users
from avrec.core.dataset import MediaColumn
from avrec.core.ids import IdMap
from avrec.core.side import Tags
from avrec.core.sparse import SparseRows
from avrec.export.display import MAX_TAGS, item_rows
from avrec.serving.served import Served
from avrec.serving.settings import ServerSettings
from tests.export.world import ID_DIM, NUM_ITEMS, World, make_dataset
from tests.serving.asking import Asker

MODES = ("hybrid", "content", "collaborative")


@pytest.fixture(scope="module")
def asker(served: Served) -> Iterator[Asker]:
    """One with time: what is popular would have no parts."""
    with Asker(ServerSettings(served.bundle.folder, budget_ms=20_000), served) as asker:
        yield asker


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("message", [{"user": "user 3"}, {"history": ["item 3", "item 7"]}])
def test_the_parts_of_a_score_sum_to_it(asker: Asker, served: Served, mode: str, message: dict[str, Any]) -> None:
    plain = asker.post("/recommend", message | {"mode": mode, "k": 30}).json
    told = asker.post("/recommend", message | {"mode": mode, "k": 30, "explain": True}).json
    assert all("why" not in item for item in plain["items"]) and len(told["items"]) > 10
    for item, same in zip(told["items"], plain["items"], strict=True):
        why = item.pop("why")
        assert item == same
        assert why["taste"] + why["popularity"] + why["content"] == pytest.approx(item["score"], abs=1e-5)
        shares = served.bundle.shares[served.items[item["item"]]]
        expected = {name: why["content"] * share for name, share in zip(["audio", "video"], shares, strict=True)}
        assert why["modalities"] == (pytest.approx(expected) if shares.any() else {})
        if shares.any():
            assert sum(why["modalities"].values()) == pytest.approx(why["content"], abs=1e-5)
        assert mode != "content" or why["taste"] == why["popularity"] == 0 != why["content"]
        assert mode != "collaborative" or why["content"] == 0 != why["taste"]


def test_the_parts_are_the_products_of_the_segments(asker: Asker, served: Served) -> None:
    vector = served.recommender.user_vectors(query_users(served.bundle, ["user 3"]))[0]
    for item in asker.post("/recommend", {"user": "user 3", "k": 30, "explain": True}).json["items"]:
        row = served.bundle.item_vectors[served.items[item["item"]]]
        assert item["why"]["taste"] == pytest.approx(vector[:ID_DIM] @ row[:ID_DIM], abs=1e-5)
        assert item["why"]["popularity"] == pytest.approx(row[ID_DIM], abs=1e-6)
        assert item["why"]["content"] == pytest.approx(vector[ID_DIM + 1 :] @ row[ID_DIM + 1 :], abs=1e-5)


def test_likeness_is_taken_apart_too(asker: Asker, served: Served) -> None:
    bundle, ids = served.bundle, served.bundle.history_vectors[:, :ID_DIM]
    for item in asker.post("/similar", {"item": "item 3", "k": 8, "explain": True}).json["items"]:
        index, why = served.items[item["item"]], item["why"]
        assert why["taste"] == pytest.approx(unit(ids[3]) @ unit(ids[index]) / 2, abs=1e-5)
        assert why["popularity"] == 0
        cosine = unit(bundle.content_vectors[3]) @ unit(bundle.content_vectors[index])
        assert why["content"] == pytest.approx(cosine / 2, abs=1e-5)
    for mode, absent in (("content", "taste"), ("collaborative", "content")):
        for item in asker.post("/similar", {"item": "item 3", "mode": mode, "explain": True}).json["items"]:
            why = item["why"]
            assert why[absent] == why["popularity"] == 0
            assert why["taste"] + why["content"] == pytest.approx(item["score"], abs=1e-5)


def test_only_who_asks_is_told_and_popularity_has_no_parts(asker: Asker) -> None:
    requests = [{"user": "user 3"}, {"user": "user 3", "explain": True}, {"explain": True}, {"user": "nobody"}]
    answers = asker.post("/recommend/batch", {"requests": requests}).json["answers"]
    assert [sum("why" in item for item in answer["items"]) for answer in answers] == [0, 10, 0, 0]
    assert all(answer["degraded"] is None for answer in answers), "what is unset is left out, not what is null"


def test_ids_alone_have_no_content_part(ids_world: World) -> None:
    served = Served.open(ids_world.folder)
    assert served.bundle.shares is None
    with Asker(ServerSettings(ids_world.folder, budget_ms=20_000), served) as asker:
        for item in asker.post("/recommend", {"user": "user 3", "explain": True}).json["items"]:
            assert item["why"]["content"] == 0 and item["why"]["modalities"] == {}
            assert item["why"]["taste"] + item["why"]["popularity"] == pytest.approx(item["score"], abs=1e-5)


def test_the_bundle_stores_the_towers_shares(attention_world: World, served: Served) -> None:
    shares = attention_world.model.item_vectors(attention_world.catalogue)[2].detach().numpy()
    np.testing.assert_allclose(served.bundle.shares, shares, atol=1e-6)
    assert served.bundle.shares.shape == (NUM_ITEMS, 2) and not served.bundle.shares[4].any()


def test_an_export_writes_what_a_page_shows() -> None:
    dataset = make_dataset()
    assert item_rows(dataset).column_names == ["item_id"]
    counts = np.arange(NUM_ITEMS) % 12  # the last of them have more tags than are kept
    item = np.repeat(np.arange(NUM_ITEMS), counts)
    tag = np.concatenate([np.arange(count) for count in counts])
    weight = np.where(tag == 10, 9, 1).astype(np.float32)
    names = IdMap([f"tag {number:02}" for number in range(12)])
    tags = Tags(names, SparseRows.from_entries(item, tag, NUM_ITEMS, 12, weight))
    paths = tuple(None if index % 3 else f"{index}.mp4" for index in range(NUM_ITEMS))
    titles = [None if index == 2 else f"Title {index}" for index in range(NUM_ITEMS)]
    table = pa.table(
        {"item_id": dataset.items.array, "year": range(NUM_ITEMS), "title": titles, "name": ["no"] * NUM_ITEMS}
    )
    found = item_rows(replace(dataset, item_table=table, item_tags=tags, media={"video": MediaColumn(paths)}))
    assert found.column_names == ["item_id", "title", "tags", "video_path"]
    assert found["title"].to_pylist() == titles and found["video_path"].to_pylist() == list(paths)
    kept = found["tags"].to_pylist()
    assert kept[0] == [] and kept[3] == ["tag 00", "tag 01", "tag 02"]
    assert kept[11] == ["tag 10", *(f"tag {number:02}" for number in range(MAX_TAGS - 1))]
    number_titles = table.set_column(2, "title", pa.array(range(NUM_ITEMS)))
    assert item_rows(replace(dataset, item_table=number_titles))["title"].to_pylist() == ["no"] * NUM_ITEMS
