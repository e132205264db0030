"""Control data sets: everything known of an item moves to another one, or its vectors become noise; the log stays."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import DataError
from avrec.core.files import read_json
from avrec.core.order import generator
from avrec.data.control import write_control
from avrec.data.options import PrepareOptions
from avrec.data.prepare import prepare
from avrec.data.prepared import load_dataset
from avrec.data.sources.base import RawData, event_table
from avrec.data.splits import RandomSplit

NUM_ITEMS, SEED = 12, 5
NAMES = [f"item{index:02d}" for index in range(NUM_ITEMS)]


class Source:
    """Twelve items; everything that is known of one says which it is."""

    def __init__(self, with_features: bool = True) -> None:
        self.with_features = with_features

    def read(self) -> RawData:
        user, item = np.divmod(np.arange(8 * NUM_ITEMS), NUM_ITEMS)
        every = pa.array(NAMES, pa.large_string())
        numbers = np.arange(NUM_ITEMS, dtype=np.float32)
        some = np.arange(NUM_ITEMS) % 4 > 0
        return RawData(
            name="told",
            interactions=event_table(
                {"user_id": pa.array([f"u{one}" for one in user]), "item_id": every.take(pa.array(item))}
            ),
            items=pa.table(
                {
                    "item_id": every,
                    "title": pa.array([f"title {index}" for index in range(NUM_ITEMS)]),
                    "entity_id": pa.array([f"e{index}" for index in range(NUM_ITEMS)]),
                }
            ),
            features={"audio": (every.filter(pa.array(some)), np.stack([numbers, -numbers], axis=1)[some])}
            if self.with_features
            else {},
            knowledge=pa.table(
                {
                    "head": [f"e{index}" for index in range(NUM_ITEMS)],
                    "relation": ["has"] * NUM_ITEMS,
                    "tail": [f"x{index}" for index in range(NUM_ITEMS)],
                }
            ),
            tags=pa.table(
                {"item_id": NAMES * 2, "tag": [f"tag{index}" for index in range(NUM_ITEMS)] + ["all"] * NUM_ITEMS}
            ),
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("prepared") / "told"
    prepare(Source(), RandomSplit(validation_share=0.1, test_share=0.1), PrepareOptions(), place)
    return place


def test_everything_known_of_an_item_moves_together(folder, tmp_path):
    before = load_dataset(folder)
    after = load_dataset(write_control(folder, tmp_path / "control", "permuted", SEED))
    rows = generator(SEED, 0, "permuted content").permutation(NUM_ITEMS)
    assert not np.array_equal(rows, np.arange(NUM_ITEMS))
    np.testing.assert_array_equal(after.features["audio"].values, before.features["audio"].values[rows])
    np.testing.assert_array_equal(after.features["audio"].present, before.features["audio"].present[rows])
    assert after.item_table["title"].to_pylist() == [f"title {row}" for row in rows]
    np.testing.assert_array_equal(after.knowledge.item_entity, before.knowledge.item_entity[rows])
    names = after.item_tags.names.ids(range(len(after.item_tags.names)))
    indptr, column = after.item_tags.rows.indptr, after.item_tags.rows.column
    for item, row in enumerate(rows):
        assert {names[tag] for tag in column[indptr[item] : indptr[item + 1]]} == {"all", f"tag{row}"}


@pytest.mark.parametrize("control", ["permuted", "random"])
def test_the_log_and_the_ids_stay(folder, tmp_path, control):
    before = load_dataset(folder)
    after = load_dataset(write_control(folder, tmp_path / "control", control, SEED))
    assert after.items == before.items
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(after, part).item_idx, getattr(before, part).item_idx)
    assert after.content_hash != before.content_hash
    manifest = read_json(tmp_path / "control" / "manifest.json")
    assert manifest["control"] == {"control": control, "seed": SEED, "of": before.content_hash}
    assert manifest["split"] == read_json(folder / "manifest.json")["split"]


def test_another_control_s_folder_is_refused(folder, tmp_path):
    place = write_control(folder, tmp_path / "a", "permuted", 1)
    assert write_control(folder, place, "permuted", 1) == place
    with pytest.raises(DataError, match="is the control of another data set or seed"):
        write_control(folder, place, "permuted", 2)


def test_random_vectors_keep_who_has_one_and_nothing_else(folder, tmp_path):
    before = load_dataset(folder)
    one, same, other = (
        load_dataset(write_control(folder, tmp_path / name, "random", seed)).features["audio"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    np.testing.assert_array_equal(one.present, before.features["audio"].present)
    assert not one.values[~one.present].any()
    assert one.values[one.present].all()
    np.testing.assert_array_equal(one.values, same.values)
    assert not np.array_equal(one.values, other.values)
    assert load_dataset(tmp_path / "a").item_table["title"].to_pylist() == before.item_table["title"].to_pylist()


def test_what_stands_is_not_written_again(folder, tmp_path):
    write_control(folder, tmp_path / "control", "permuted", SEED)
    stamp = (tmp_path / "control" / "manifest.json").stat().st_mtime_ns
    write_control(folder, tmp_path / "control", "permuted", SEED)
    assert (tmp_path / "control" / "manifest.json").stat().st_mtime_ns == stamp


def test_without_vectors_none_can_be_drawn(tmp_path):
    prepare(Source(with_features=False), RandomSplit(), PrepareOptions(), tmp_path / "bare")
    with pytest.raises(DataError, match=r"has no vectors, so none can be drawn anew. Take control=permuted"):
        write_control(tmp_path / "bare", tmp_path / "control", "random", SEED)
    assert not (tmp_path / "control").exists()
