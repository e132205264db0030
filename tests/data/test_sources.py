"""Each public layout on a copy of a few rows."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.core.errors import ArtefactError, DataError
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.lastfm import LastFmSource
from avrec.data.sources.movielens import MovieLensSource
from avrec.data.sources.tiktok import TikTokSource
from avrec.data.splits import GivenSplit, RandomSplit


def write(folder, **tables):
    folder.mkdir(exist_ok=True)
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


@pytest.fixture
def tiktok(tmp_path):
    folder = write(
        tmp_path / "tiktok",
        interactions={"user_id": [0, 0, 1, 2], "item_id": [0, 1, 10, 2], "split": ["train", "val", "train", "test"]},
    )
    for name in ("audio", "visual"):
        np.save(folder / f"{name}.npy", np.ones((11, 3), np.float32))
    return folder


def test_tiktok(tiktok, tmp_path, parts_of):
    dataset = load_dataset(prepare(TikTokSource(tiktok, num_users=4), GivenSplit(), PrepareOptions(), tmp_path / "out"))
    assert parts_of(dataset) == {"train": [("0", "0"), ("1", "10")], "validation": [("0", "1")], "test": [("2", "2")]}
    assert (dataset.num_users, dataset.num_items) == (4, 11) and dataset.train.timestamp is None
    assert dataset.cold_items.sum() == 9 and dataset.new_users.tolist() == [False, False, True, True]
    assert dataset.items.array.to_pylist()[:4] == ["0", "1", "10", "2"]  # by bytes, not by number


def test_a_missing_and_a_damaged_file(tiktok):
    (tiktok / "audio.npy").write_bytes(b"nothing")
    with pytest.raises(ArtefactError, match=r"audio[.]npy: not a readable"):
        TikTokSource(tiktok).read()
    (tiktok / "audio.npy").unlink()
    (tiktok / "visual.npy").unlink()
    with pytest.raises(DataError) as error:
        TikTokSource(tiktok).read()
    assert [line.split(": ")[1].split(". ")[0] for line in error.value.problems] == [
        "no file audio.npy",
        "no file visual.npy",
    ]


def test_movielens(tmp_path):
    folder = write(
        tmp_path / "ml",
        interactions={
            "user_id": [1, 1, 2],
            "item_id": [1, 2, 2],
            "rating": pa.array([5, 3, 4], pa.float32()),
            "timestamp": [874_965_758, 876_893_171, 878_542_960],
        },
        items={"item_id": [1, 2], "title": ["Toy Story", None], "genres": [["a", "b"], ["unknown"]]},
        users={"user_id": [1, 2], "age": [24, 53]},
        kg={"head": ["m.1"], "relation": ["film.genre"], "tail": ["m.2"]},
        item_entity={"item_id": [2], "entity_id": ["m.1"]},
    )
    raw = MovieLensSource(folder).read()
    assert raw.interactions["value"].to_pylist() == [5.0, 3.0, 4.0]
    assert raw.interactions["event"].to_pylist() == ["rating"] * 3
    assert raw.items["entity_id"].to_pylist() == [None, "m.1"]
    dataset = load_dataset(prepare(MovieLensSource(folder), RandomSplit(0, 0), PrepareOptions(), tmp_path / "out"))
    assert dataset.user_fields["age"].values.tolist() == [24, 53] and len(dataset.knowledge) == 1
    assert dataset.knowledge.item_entity.tolist() == [-1, 0] and dataset.texts["title"] == ("Toy Story", None)
    assert dataset.item_tags.names.array.to_pylist() == ["a", "b", "unknown"]
    assert dataset.item_tags.rows.dense().tolist() == [[1, 1, 0], [0, 0, 1]]


def test_lastfm(tmp_path):
    folder = write(
        tmp_path / "fm",
        interactions={"user_id": [2, 2, 9], "item_id": [1, 51, 51], "count": [13_883, 7, 1]},
        items={"item_id": [1, 51], "name": ["MALICE MIZER", "Duran Duran"]},
        friends={"user_id": [2, 9], "friend_id": [9, 2]},
        tags={
            "user_id": [2, 9, 9, 9, 2],
            "item_id": [51, 51, 51, 51, 777],
            "tag": ["pop", "80s", "pop", "new wave", "lost"],
            "timestamp": [0, 0, 0, 0, 0],
        },
    )
    dataset = load_dataset(
        prepare(LastFmSource(folder), RandomSplit(0, 0), PrepareOptions(value_weight="log1p"), tmp_path / "out")
    )
    np.testing.assert_allclose(dataset.train.weight, np.log1p([13_883, 7, 1]), atol=1e-6)
    assert dataset.social.dense().tolist() == [[0, 1], [1, 0]]
    assert dataset.item_tags.names.array.to_pylist() == ["80s", "new wave", "pop"]
    assert dataset.item_tags.rows.dense().tolist() == [[0, 0, 0], [1, 1, 2]]
    assert dataset.user_interests.rows.dense().tolist() == [[0, 0, 1], [1, 1, 1]]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["tags"]["rows_of_unknown_items"] == 1
    assert manifest["warnings"] == [
        "tags.parquet: 1 of 5 rows tag an item that is not in the catalogue and were left out. The first is '777'."
    ]
