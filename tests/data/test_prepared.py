import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avrec.core.errors import ArtefactError
from avrec.data.arrow import TEXT
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.splits import UserTimeSplit


@pytest.fixture
def folder(make_source, tmp_path):
    rows = [{"user_id": f"u{n % 4}", "item_id": f"i{n % 11}", "day": n} for n in range(40)]
    features = {"audio": (pa.array([f"i{n}" for n in range(9)], TEXT), np.eye(9, 5, dtype=np.float32) + 1)}
    social = pa.table({"user_id": ["u1"], "friend_id": ["u2"]})
    source = make_source(rows, features=features, social=social)
    return prepare(source, UserTimeSplit(0.2, 0.2), PrepareOptions(), tmp_path / "data")


FILES = [
    "manifest.json",
    "interactions.parquet",
    "users.parquet",
    "items.parquet",
    "social.parquet",
    "features/audio.npy",
]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=f"{name}: cannot be read"):
        load_dataset(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncate", "empty", "garble"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    path.write_bytes({"truncate": data[: len(data) // 2], "empty": b"", "garble": b"\x00" * len(data)}[damage])
    with pytest.raises(ArtefactError, match=name):
        load_dataset(folder)


def test_flipped_bytes_never_pass(folder):
    draw = np.random.default_rng(0)
    for name in FILES[1:]:
        path = folder / name
        data = path.read_bytes()
        whole = load_dataset(folder)
        for _ in range(12):
            mutant = bytearray(data)
            mutant[draw.integers(len(data))] ^= 1 << draw.integers(8)
            path.write_bytes(bytes(mutant))
            try:
                dataset = load_dataset(folder)
            except ArtefactError:
                continue  # a byte that no value depends on, such as a name in the footer, may still pass: same content then
            assert dataset.content_hash == whole.content_hash and dataset.items == whole.items
            np.testing.assert_array_equal(dataset.train.item_idx, whole.train.item_idx)
        path.write_bytes(data)


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, "format version 3; this avrec reads version 2"),
        (
            {"format_version": 1},
            "format version 1, written by an older avrec; this one reads version 2, which has tags",
        ),
        ({"format_version": None}, "format version None"),
        ({"kind": "model"}, "not the manifest of a prepared data set"),
        ({"tables": {"users": 4}}, r"names the tables \['users'\]"),
        ({"tables": {"interactions": 1, "users": 4, "items": 11, "../evil": 1}}, "names the tables"),
        ({"features": {"../../evil": {"dim": 5}}}, r"features \['../../evil'\]"),
        ({"features": {"audio": {"dim": 10**12}}}, "expected float32 of"),
        ({"features": {"audio": {}}}, r"features \['audio'\]"),
        ({"weight_scale": 10}, "weight_scale 10"),
        ({"content_hash": 5}, "content_hash is 5; expected a str"),
        ({"content_hash": "0" * 64}, "its hash differs"),
    ],
)
def test_a_manifest_that_is_not_ours(folder, changes, message):
    change_manifest(folder, **changes)
    with pytest.raises(ArtefactError, match=message):
        load_dataset(folder)


def rewrite(folder, name, edit):
    path = folder / f"{name}.parquet"
    pq.write_table(edit(pq.read_table(path)), path)


def with_column(table, name, values, kind=None):
    return table.set_column(table.column_names.index(name), name, pa.array(values, kind))


def test_a_changed_value_is_found_by_the_hash_and_only_by_it(folder):
    path = folder / "features" / "audio.npy"
    values = np.load(path)
    values[0, 0] += 1
    np.save(path, values)
    with pytest.raises(ArtefactError, match="its hash differs"):
        load_dataset(folder)
    assert load_dataset(folder, verify=False).features["audio"].values[0, 0] == values[0, 0]


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        (
            "interactions",
            lambda t: with_column(t, "item_idx", [99, *t["item_idx"].to_pylist()[1:]]),
            "item_idx is outside",
        ),
        (
            "interactions",
            lambda t: with_column(t, "user_idx", [-1, *t["user_idx"].to_pylist()[1:]]),
            "user_idx is outside",
        ),
        ("interactions", lambda t: with_column(t, "weight", [0, *t["weight"].to_pylist()[1:]]), "a weight is 0"),
        ("interactions", lambda t: with_column(t, "split", ["dev"] * len(t)), "split holds something besides"),
        (
            "interactions",
            lambda t: with_column(t, "timestamp", [None, *t["timestamp"].to_pylist()[1:]]),
            "with 1 nulls",
        ),
        ("interactions", lambda t: t.take(list(range(len(t)))[::-1]), "not in order of user, time and item"),
        ("interactions", lambda t: t.drop_columns("weight"), r"no column \['weight'\]"),
        ("interactions", lambda t: t.slice(1), "39 rows|rows; manifest.json says"),
        ("users", lambda t: with_column(t, "user_idx", [0, 2, 1, 3]), "user_idx is not 0, 1, 2"),
        ("users", lambda t: with_column(t, "user_id", ["u0", "u0", "u2", "u3"]), "occur more than once"),
        ("items", lambda t: t.drop_columns("has_audio"), "has_audio is no column of true and false"),
    ],
)
def test_a_table_that_breaks_the_contract_without_the_hash(folder, name, edit, message):
    rewrite(folder, name, edit)
    with pytest.raises(ArtefactError, match=message):
        load_dataset(folder, verify=False)


def test_features_of_another_shape_or_kind(folder):
    path = folder / "features" / "audio.npy"
    for values, message in (
        (np.zeros((3, 5), np.float32), "float32 of shape"),
        (np.zeros((11, 5), np.float64), "float64 of shape"),
        (np.full((11, 5), np.nan, np.float32), "holds NaN"),
        (np.zeros(55, np.float32), "expected 2 dimensions"),
    ):
        np.save(path, values)
        with pytest.raises(ArtefactError, match=message):
            load_dataset(folder, verify=False)
    np.save(path, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ArtefactError, match="Python objects"):
        load_dataset(folder, verify=False)


def test_a_moved_folder_still_loads(folder, tmp_path):
    moved = tmp_path / "elsewhere" / "data"
    shutil.copytree(folder, moved)
    assert load_dataset(moved).content_hash == load_dataset(folder).content_hash
