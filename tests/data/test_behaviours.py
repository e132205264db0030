"""Events with weights, watched shares, and several events of one user with one item."""

import json

import numpy as np
import pytest

from avrec.data.options import DEFAULT_BEHAVIOUR_WEIGHTS, PrepareOptions
from avrec.data.splits import GivenSplit, GlobalTimeSplit, RandomSplit, UserTimeSplit

ALL_TRAIN = RandomSplit(0.0, 0.0)
SUM = PrepareOptions(duplicates="sum")
START = 1_600_000_000
DAY = 86_400


@pytest.fixture
def manifest(tmp_path):
    return lambda: json.loads((tmp_path / "prepared" / "manifest.json").read_text())


def weights_of(dataset, part="train"):
    log = getattr(dataset, part)
    pairs = zip(dataset.users.ids(log.user_idx), dataset.items.ids(log.item_idx), strict=True)
    return {"".join(pair): round(float(weight), 6) for pair, weight in zip(pairs, log.weight, strict=True)}


def test_the_default_weights(make_dataset, manifest):
    events = ["view", "like", "comment", "share", "skip", "listen", None]
    rows = [{"user_id": "u", "item_id": str(n), "event": event} for n, event in enumerate(events)]
    dataset = make_dataset(rows, ALL_TRAIN)
    assert weights_of(dataset) == {"u0": 1, "u1": 2, "u2": 2, "u3": 3, "u5": 1, "u6": 1}
    assert dataset.num_items == 7 and dataset.cold_items.sum() == 1  # the skipped item stays in the catalogue
    assert manifest()["behaviours"]["skip"] == {"rows": 1, "weight": 0.0}
    assert manifest()["behaviours"][""] == {"rows": 1, "weight": 1.0}
    assert manifest()["filters"][0] == {
        "name": "no_sign",
        "setting": "weight 0: skip",
        "rows": 1,
        "users": 0,
        "items": 0,
    }
    assert dict(DEFAULT_BEHAVIOUR_WEIGHTS) == {"view": 1, "like": 2, "comment": 2, "share": 3, "skip": 0}


def test_a_skip_is_no_positive_but_a_view_beside_it_is(make_dataset):
    rows = [{"user_id": "u", "item_id": "a", "event": event, "day": day} for day, event in enumerate(["skip", "view"])]
    rows += [{"user_id": "v", "item_id": "b", "event": "skip", "day": 5}]
    rows += [{"user_id": "v", "item_id": "a", "event": "view", "day": 6}]
    dataset = make_dataset(rows, ALL_TRAIN)
    assert weights_of(dataset) == {"ua": 1, "va": 1} and dataset.train.timestamp[0] == START + DAY


def test_a_watched_share_scales_a_view(make_dataset, manifest):
    rows = [{"user_id": "u", "item_id": f"{n}", "event": "view", "watch_share": s} for n, s in enumerate([1, 0.25, 0])]
    rows += [{"user_id": "u", "item_id": "3", "event": "view"}]
    rows += [{"user_id": "u", "item_id": "1", "event": "like"}]
    dataset = make_dataset([{**row, "watch_share": row.get("watch_share")} for row in rows], ALL_TRAIN, SUM)
    assert weights_of(dataset) == {"u0": 1, "u1": 2.25, "u3": 1}
    assert [(step["name"], step["rows"]) for step in manifest()["filters"]] == [("not_watched", 1), ("duplicates", 1)]


@pytest.mark.parametrize(("how", "expected"), [("linear", [3.0, 5.0]), ("log1p", [np.log(4), 5.0])])
def test_counts_are_confidences_up_to_a_cap(make_dataset, how, expected):
    rows = [{"user_id": "u", "item_id": item, "value": value} for item, value in (("a", 3.0), ("b", 1e9))]
    train = make_dataset(rows, ALL_TRAIN, PrepareOptions(value_weight=how, max_weight=5.0)).train
    np.testing.assert_allclose(train.weight, expected, atol=1e-6)


def test_repetitions_are_one_positive_with_a_capped_sum(make_dataset, manifest):
    rows = [{"user_id": "u", "item_id": "a", "event": "view", "day": day} for day in range(20)]
    rows += [{"user_id": "u", "item_id": "b", "event": event, "day": 3} for event in ("share", "like", "view")]
    rows += [{"user_id": "u", "item_id": "c", "event": "view", "day": 9}]
    dataset = make_dataset(rows, ALL_TRAIN, PrepareOptions(duplicates="sum", max_weight=8))
    assert weights_of(dataset) == {"ua": 8, "ub": 6, "uc": 1}
    assert ((dataset.train.timestamp - START) // DAY).tolist() == [0, 3, 9]
    assert ((dataset.train.last_timestamp - START) // DAY).tolist() == [19, 3, 9]
    assert manifest()["counts"]["combined"] == {
        "pairs_with_several_events": 2,
        "events_added": 21,
        "events_after_the_next_part_began": 0,
        "pairs_at_max_weight": 1,
    }


def test_no_weight_tells_of_what_came_after_the_next_part_began(make_dataset, parts_of, manifest):
    days = {"a": [0, 1, 8], "b": [2], "c": [3, 7, 12], "d": [4], "h": [5], "f": [6, 9], "g": [10, 11]}
    rows = [{"user_id": "u", "item_id": item, "day": day} for item, of in days.items() for day in of]
    dataset = make_dataset(rows, UserTimeSplit(1 / 7, 1 / 7), SUM)
    assert parts_of(dataset)["validation"] == [("u", "f")] and parts_of(dataset)["test"] == [("u", "g")]
    # train: before day 6, when validation begins; validation: before day 10; test: everything
    assert weights_of(dataset) == {"ua": 2, "ub": 1, "uc": 1, "ud": 1, "uh": 1}
    assert weights_of(dataset, "validation") == {"uf": 2} and weights_of(dataset, "test") == {"ug": 2}
    assert (dataset.train.last_timestamp - START).max() == 5 * DAY
    assert manifest()["counts"]["combined"]["events_after_the_next_part_began"] == 3


def test_one_moment_for_everybody_cuts_the_weights_of_users_without_a_held_out_event(make_dataset):
    rows = [{"user_id": "u", "item_id": f"i{n}", "day": n} for n in range(10)]
    rows += [{"user_id": "v", "item_id": "i0", "day": day} for day in (0, 1, 9)]
    dataset = make_dataset(rows, GlobalTimeSplit(0.1, 0.1), SUM)
    assert dataset.validation.user_counts.tolist()[1] == dataset.test.user_counts.tolist()[1] == 0
    assert weights_of(dataset)["vi0"] == 2


def test_combining_agrees_with_a_loop(make_dataset, parts_of):
    draw = np.random.default_rng(1)
    rows = [
        {
            "user_id": f"u{draw.integers(15)}",
            "item_id": f"i{draw.integers(12)}",
            "event": str(draw.choice(["view", "like", "share", "skip"])),
            "day": int(draw.integers(12)),
        }
        for _ in range(900)
    ]
    dataset = make_dataset(rows, UserTimeSplit(0.2, 0.3), SUM)
    parts = parts_of(dataset)
    signs = [row for row in rows if row["event"] != "skip"]
    first = {}
    for row in signs:
        pair = row["user_id"], row["item_id"]
        first[pair] = min(first.get(pair, 99), row["day"])
    part_of = {pair: code for code, name in enumerate(parts) for pair in parts[name]}
    assert part_of.keys() == first.keys()
    weight = {}
    for row in signs:
        pair = row["user_id"], row["item_id"]
        later = [first[o] for o, code in part_of.items() if o[0] == pair[0] and code > part_of[pair]]
        if row["day"] <= max(first[pair], min(later, default=99) - 1):
            weight[pair] = min(10, weight.get(pair, 0) + DEFAULT_BEHAVIOUR_WEIGHTS[row["event"]])
    for name in parts:
        assert weights_of(dataset, name) == {"".join(pair): weight[pair] for pair in parts[name]}
    assert len({*weight.values()}) > 5


def test_the_split_is_the_same_whether_repetitions_are_added_or_left_out(make_dataset, parts_of):
    draw = np.random.default_rng(3)
    numbers = draw.integers(0, [6, 9, 30], (300, 3))
    rows = [{"user_id": f"u{u}", "item_id": f"i{i}", "day": int(day)} for u, i, day in numbers]
    parts = [parts_of(make_dataset(rows, UserTimeSplit(), PrepareOptions(duplicates=how))) for how in ("sum", "first")]
    assert parts[0] == parts[1]


def test_a_core_counts_pairs_and_sums_what_is_left(make_dataset):
    rows = [{"user_id": "u", "item_id": item} for item in "aaabc"] + [{"user_id": "v", "item_id": "a"}] * 2
    dataset = make_dataset(rows, ALL_TRAIN, PrepareOptions(duplicates="sum", min_user_events=2))
    assert weights_of(dataset) == {"ua": 3, "ub": 1, "uc": 1} and dataset.train.last_timestamp is None


def test_a_part_carved_out_of_given_train_events(make_dataset):
    rows = [{"user_id": "u", "item_id": f"i{n % 10}", "split": "train"} for n in range(20)]
    rows += [{"user_id": "u", "item_id": "i0", "split": "test"}, {"user_id": "u", "item_id": "t", "split": "test"}]
    dataset = make_dataset(rows, GivenSplit(validation_share=0.2), SUM)
    assert len(dataset.validation) == 2 and set(dataset.validation.weight) == {2.0}
    assert set(dataset.train.weight) == {2.0} and weights_of(dataset, "test") == {"ut": 1}
