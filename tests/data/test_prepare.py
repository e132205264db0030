import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import ArtefactError, DataError
from avrec.data.arrow import TEXT
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.splits import GlobalTimeSplit, RandomSplit, UserTimeSplit


@pytest.fixture
def rich_source(make_source):
    """A log with every kind of table; `order` permutes the rows of all of them, `rows_per_chunk` cuts them."""

    def make(order=None, rows_per_chunk=None, **changes):
        draw = np.random.default_rng(5)
        rows = [
            {
                "user_id": f"u{draw.integers(12)}",
                "item_id": f"i{draw.integers(30)}",
                "event": str(draw.choice(["view", "like"])),
                "value": float(draw.integers(1, 6)),
                "day": int(draw.integers(20)),
            }
            for _ in range(200)
        ]
        items = pa.table(
            {
                "item_id": pa.array([f"i{n}" for n in range(32)], TEXT),
                "title": pa.array([f"film {n}" if n % 5 else None for n in range(32)]),
                "year": pa.array([1990 + n if n % 3 else None for n in range(32)]),
                "genres": pa.array([["a"] * (n % 3) for n in range(32)]),
            }
        )
        vectors = draw.standard_normal((25, 4)).astype(np.float32)
        others = {
            "items": items,
            "users": pa.table({"user_id": pa.array([f"u{n}" for n in range(13)], TEXT), "age": list(range(13))}),
            "features": {"audio": (items["item_id"].combine_chunks().slice(3, 25), vectors)},
            "social": pa.table({"user_id": ["u1", "u2", "stranger"], "friend_id": ["u2", "u1", "u1"]}),
            "knowledge": pa.table({"head": ["i1", "i2"], "relation": ["by", "by"], "tail": ["x", "y"]}),
            **changes,
        }
        if order is not None:
            rows = [rows[index] for index in order.permutation(len(rows))]
            for name in ("items", "users", "social"):
                others[name] = others[name].take(order.permutation(len(others[name])))
            ids, vectors = others["features"]["audio"]
            mixed = order.permutation(len(ids))
            others["features"] = {"audio": (ids.take(pa.array(mixed)), vectors[mixed])}
        if rows_per_chunk:
            items = others["items"]
            cuts = range(0, len(items), rows_per_chunk)
            others["items"] = pa.concat_tables([items.slice(start, rows_per_chunk) for start in cuts])
        return make_source(rows, **others)

    return make


OPTIONS = PrepareOptions(
    behaviour_weights={"view": 1, "like": 3}, value_weight="log1p", duplicates="sum", min_user_events=3
)


def test_round_trip(rich_source, tmp_path):
    folder = prepare(rich_source(), UserTimeSplit(), OPTIONS, tmp_path / "data")
    dataset = load_dataset(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert dataset.name == "hand" and dataset.content_hash == manifest["content_hash"]
    for part in ("train", "validation", "test"):
        assert len(getattr(dataset, part)) == manifest["counts"][part]["rows"] > 0
    assert dataset.item_table["title"].to_pylist()[dataset.items.index(["i7"])[0]] == "film 7"
    assert dataset.item_table["genres"].to_pylist()[dataset.items.index(["i8"])[0]] == ["a", "a"]
    feature = dataset.features["audio"]
    assert feature.present.sum() == 25 and not feature.values[~feature.present].any()
    ids, vectors = rich_source().read().features["audio"]
    np.testing.assert_array_equal(feature.values[dataset.items.index(ids)], vectors)
    one, two = dataset.users.index(["u1", "u2"])
    assert sorted(zip(dataset.social.row, dataset.social.column, strict=True)) == sorted([(one, two), (two, one)])
    assert dataset.knowledge.entities.ids(dataset.knowledge.tail) == ["x", "y"]
    assert manifest["counts"]["social"]["rows"] == 2 and manifest["counts"]["social"]["rows_of_unknown_users"] == 1
    assert manifest["warnings"] == [
        "social: 1 of 3 rows name a user who is not in the catalogue and were left out. The first is 'stranger'."
    ]


@pytest.mark.parametrize("seed", range(3))
def test_row_order_and_chunks_change_nothing(rich_source, tmp_path, seed):
    split = UserTimeSplit(0.1, 0.2)
    plain = load_dataset(prepare(rich_source(), split, OPTIONS, tmp_path / "a"))
    mixed = rich_source(order=np.random.default_rng(seed), rows_per_chunk=5)
    again = load_dataset(prepare(mixed, split, OPTIONS, tmp_path / "b"))
    assert again.content_hash == plain.content_hash
    np.testing.assert_array_equal(again.test.item_idx, plain.test.item_idx)


def test_a_changed_value_changes_the_hash(rich_source, make_source, tmp_path):
    def hash_of(source, name):
        return load_dataset(prepare(source, UserTimeSplit(), PrepareOptions(), tmp_path / name)).content_hash

    plain = hash_of(rich_source(), "a")
    ids, vectors = rich_source().read().features["audio"]
    bent = vectors.copy()
    bent[0, 0] += 1e-6
    assert hash_of(rich_source(features={"audio": (ids, bent)}), "b") != plain
    assert hash_of(rich_source(features={"sound": (ids, vectors)}), "c") != plain
    assert hash_of(rich_source(knowledge=None), "d") != plain


def test_parts_are_disjoint_and_in_order_of_time(rich_source, tmp_path):
    dataset = load_dataset(prepare(rich_source(), UserTimeSplit(), PrepareOptions(), tmp_path / "a"))
    seen = set()
    for part in (dataset.train, dataset.validation, dataset.test):
        pairs = set(zip(part.user_idx.tolist(), part.item_idx.tolist(), strict=True))
        assert not pairs & seen and len(pairs) == len(part)
        seen |= pairs
    for user in range(dataset.num_users):
        times = [
            part.timestamp[part.indptr[user] : part.indptr[user + 1]]
            for part in (dataset.train, dataset.validation, dataset.test)
        ]
        assert (np.diff(np.concatenate(times)) >= 0).all()
    later = load_dataset(prepare(rich_source(), GlobalTimeSplit(), PrepareOptions(), tmp_path / "b"))
    assert later.train.timestamp.max() < later.validation.timestamp.min() < later.test.timestamp.min()


def test_the_manifest_tells_what_was_done_and_names_no_folder(rich_source, tmp_path):
    folder = prepare(rich_source(), UserTimeSplit(ties="file"), OPTIONS, tmp_path / "data")
    text = (folder / "manifest.json").read_text()
    manifest = json.loads(text)
    assert manifest["split"] == {
        "name": "UserTimeSplit",
        "validation_share": 0.1,
        "test_share": 0.2,
        "ties": "file",
        "given_split_ignored": False,
    }
    assert manifest["options"]["behaviour_weights"] == {"view": 1, "like": 3}
    assert manifest["lineage"][0] == {"step": "read", "rows": 200}
    assert manifest["lineage"][-1]["rows"] == sum(
        manifest["counts"][part]["rows"] for part in ("train", "validation", "test")
    )
    assert str(tmp_path) not in text


def test_a_given_split_that_another_split_overrides_is_told(make_source, tmp_path):
    rows = [{"user_id": "u", "item_id": f"i{n}", "split": "train"} for n in range(5)]
    folder = prepare(make_source(rows), RandomSplit(0, 0.2), PrepareOptions(), tmp_path / "data")
    assert json.loads((folder / "manifest.json").read_text())["split"]["given_split_ignored"] is True


def test_a_folder_of_somebody_else_is_never_replaced(rich_source, tmp_path):
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match="thesis: exists and is no prepared data set, so it is not replaced"):
        prepare(rich_source(), UserTimeSplit(), PrepareOptions(), mine)
    (mine / "manifest.json").write_text('{"kind": "something else"}')
    with pytest.raises(ArtefactError, match="is not replaced"):
        prepare(rich_source(), UserTimeSplit(), PrepareOptions(), mine)
    assert (mine / "chapter.txt").read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    prepare(rich_source(), UserTimeSplit(), PrepareOptions(), tmp_path / "empty")


def test_an_error_leaves_the_old_folder(rich_source, tmp_path, monkeypatch):
    folder = prepare(rich_source(), UserTimeSplit(), PrepareOptions(), tmp_path / "data")
    before = load_dataset(folder).content_hash

    def broken(path, array):
        raise OSError("disk full")

    monkeypatch.setattr("avrec.data.finisher.write_npy", broken)
    with pytest.raises(OSError, match="disk full"):
        prepare(rich_source(), RandomSplit(), PrepareOptions(), folder)
    assert load_dataset(folder).content_hash == before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_kill_in_the_middle_leaves_the_old_folder(tmp_path):
    script = """
    import os, signal, sys
    import avrec.data.finisher as finisher
    from avrec.data.prepare import PrepareOptions, prepare
    from avrec.data.sources.tables import TablesSource
    from avrec.data.splits import RandomSplit

    def kill(path, array):
        os.kill(os.getpid(), signal.SIGKILL)

    if sys.argv[3] == "kill":
        finisher.write_json = kill
    prepare(TablesSource(sys.argv[1]), RandomSplit(seed=int(sys.argv[4])), PrepareOptions(), sys.argv[2])
    """
    log = tmp_path / "interactions.csv"
    log.write_text("user_id,item_id\n" + "".join(f"u{n % 7},i{n}\n" for n in range(70)))
    folder = tmp_path / "out" / "data"

    def run(mode, seed):
        command = [sys.executable, "-c", textwrap.dedent(script), str(log), str(folder), mode, seed]
        return subprocess.run(
            command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, check=False
        ).returncode

    assert run("finish", "0") == 0
    before = load_dataset(folder).content_hash
    assert run("kill", "1") == -signal.SIGKILL
    assert load_dataset(folder).content_hash == before
    assert run("finish", "1") == 0
    assert load_dataset(folder).content_hash != before


def test_all_problems_come_at_once_and_nothing_is_written(make_source, tmp_path):
    source = make_source([{"user_id": "", "item_id": "a", "value": float("inf"), "day": 1e6}], items=["a", "a"])
    with pytest.raises(DataError) as error:
        prepare(source, UserTimeSplit(), PrepareOptions(), tmp_path / "data")
    assert len(error.value.problems) == 4
    assert not list(tmp_path.iterdir())
