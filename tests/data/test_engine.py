import json

import numpy as np
import pytest

from avrec.core.errors import DataError
from avrec.data.options import PrepareOptions
from avrec.data.prepare import prepare
from avrec.data.splits import GivenSplit, RandomSplit

ALL_TRAIN = RandomSplit(0.0, 0.0)


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


TWICE = [
    {"user_id": "u", "item_id": "a", "day": 1, "event": "view"},
    {"user_id": "u", "item_id": "a", "day": 3, "event": "share"},
    {"user_id": "u", "item_id": "a", "day": 2, "event": "like"},
    {"user_id": "u", "item_id": "b", "day": 2, "event": "view"},
]
WEIGHTS = {"view": 1.0, "like": 2.0, "share": 4.0}


@pytest.mark.parametrize(
    ("policy", "day", "weight", "last"), [("first", 1, 1.0, None), ("last", 3, 4.0, None), ("sum", 1, 7.0, 3)]
)
def test_duplicates(make_dataset, tmp_path, policy, day, weight, last):
    dataset = make_dataset(TWICE, ALL_TRAIN, PrepareOptions(behaviour_weights=WEIGHTS, duplicates=policy))
    train = dataset.train
    assert dataset.items.ids(train.item_idx) == (["a", "b"] if day == 1 else ["b", "a"])
    at = dataset.items.ids(train.item_idx).index("a")
    assert train.weight[at] == weight and train.timestamp[at] == 1_600_000_000 + day * 86_400
    if last is None:
        assert train.last_timestamp is None
    else:
        assert train.last_timestamp[at] == 1_600_000_000 + last * 86_400
        assert train.last_timestamp[1 - at] == train.timestamp[1 - at]
    removed = {step["name"]: step["rows"] for step in manifest_of(tmp_path / "prepared")["filters"]}
    assert removed == {"duplicates": 2}


@pytest.mark.parametrize(("policy", "part"), [("first", "train"), ("last", "test"), ("sum", "train")])
def test_duplicates_over_given_parts(make_dataset, parts_of, policy, part):
    rows = [{"user_id": "u", "item_id": "a", "split": name} for name in ("test", "train", "train")]
    rows += [{"user_id": "v", "item_id": "a", "split": "train"}, {"user_id": "v", "item_id": "b", "split": "test"}]
    dataset = make_dataset(rows, GivenSplit(), PrepareOptions(duplicates=policy))
    parts = parts_of(dataset)
    assert ("u", "a") in parts[part] and sum(len(pairs) for pairs in parts.values()) == 3
    if policy == "sum":  # the event that was given to the test part is not in it
        assert dataset.train.weight.tolist() == [2.0, 1.0]


CASCADE = [  # item c has one event; without it u3 has one; without u3 item b has one; only u1, u2 and a, d stay
    ("u1", "a"),
    ("u1", "d"),
    ("u2", "a"),
    ("u2", "d"),
    ("u3", "b"),
    ("u3", "c"),
    ("u1", "b"),
]


def test_core_filter_runs_until_nothing_changes(make_dataset, parts_of, tmp_path):
    rows = [{"user_id": user, "item_id": item} for user, item in CASCADE]
    options = PrepareOptions(min_user_events=2, min_item_events=2)
    dataset = make_dataset(rows, ALL_TRAIN, options, items=["a", "b", "c", "d", "never met"])
    assert parts_of(dataset)["train"] == [("u1", "a"), ("u1", "d"), ("u2", "a"), ("u2", "d")]
    assert dataset.users.array.to_pylist() == ["u1", "u2"] and dataset.items.array.to_pylist() == ["a", "d"]
    (core,) = [step for step in manifest_of(tmp_path / "prepared")["filters"] if step["name"] == "k_core"]
    assert (core["rows"], core["users"], core["items"]) == (3, 1, 3)


def test_a_filter_of_users_alone_leaves_every_item(make_dataset):
    rows = [{"user_id": user, "item_id": item} for user, item in CASCADE]
    dataset = make_dataset(rows, ALL_TRAIN, PrepareOptions(min_user_events=3))
    assert dataset.users.array.to_pylist() == ["u1"] and dataset.items.array.to_pylist() == ["a", "b", "c", "d"]


def test_core_filter_agrees_with_a_loop(make_dataset, parts_of):
    draw = np.random.default_rng(2)
    pairs = {(f"u{min(draw.geometric(0.05), 60)}", f"i{min(draw.geometric(0.04), 80)}") for _ in range(900)}
    kept = set(pairs)
    while True:
        users = [user for user, _ in kept]
        items = [item for _, item in kept]
        smaller = {(u, i) for u, i in kept if users.count(u) >= 5 and items.count(i) >= 4}
        if smaller == kept:
            break
        kept = smaller
    assert 0 < len(kept) < len(pairs)
    rows = [{"user_id": user, "item_id": item} for user, item in pairs]
    dataset = make_dataset(rows, ALL_TRAIN, PrepareOptions(min_user_events=5, min_item_events=4))
    assert set(parts_of(dataset)["train"]) == kept


def test_nothing_left_says_which_filter_did_it(make_source, tmp_path):
    source = make_source([{"user_id": user, "item_id": item} for user, item in CASCADE])
    with pytest.raises(DataError, match=r"no event is left after the filters: duplicates removed 0, k_core removed 7"):
        prepare(source, ALL_TRAIN, PrepareOptions(min_user_events=50), tmp_path / "x")
    assert not (tmp_path / "x").exists()
