import json
import math
import re

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import ConfigError
from avrec.data.arrow import TEXT
from avrec.data.numbering import number
from avrec.data.options import PrepareOptions
from avrec.data.splits import RandomSplit

ALL_TRAIN = RandomSplit(0.0, 0.0)


def test_ids_are_numbered_by_their_utf8_bytes(make_source):
    ids = ["10", "9", "é", "z", "Z", "a", "\U0001f600", "\uffee"]  # UTF-16 would order the last two the other way
    numbered = number(make_source([{"user_id": value, "item_id": "i"} for value in ids]).read(), PrepareOptions())
    assert numbered.users.array.to_pylist() == sorted(ids, key=lambda value: value.encode())


@pytest.mark.parametrize(("how", "expected"), [("ignore", 2.0), ("linear", 2.0 * 3), ("log1p", 2.0 * math.log(4))])
def test_weights(make_dataset, how, expected):
    rows = [{"user_id": "u", "item_id": "i", "event": "like", "value": 3.0}]
    dataset = make_dataset(rows, ALL_TRAIN, PrepareOptions(behaviour_weights={"like": 2.0}, value_weight=how))
    assert dataset.train.weight[0] == pytest.approx(expected, abs=1e-6)


def test_weights_are_whole_millionths_in_the_file(make_source):
    rows = [{"user_id": "u", "item_id": "i", "value": value} for value in (0.25, 1e-9)]
    numbered = number(make_source(rows).read(), PrepareOptions(value_weight="linear"))
    assert numbered.events["weight"].to_pylist() == [250_000, 1]


def test_row_filters_count_what_they_removed(make_dataset, tmp_path):
    rows = [
        {"user_id": "u", "item_id": "a", "event": "rate", "value": 5.0},
        {"user_id": "u", "item_id": "b", "event": "rate", "value": 3.0},
        {"user_id": "u", "item_id": "c", "event": "skip", "value": 5.0},
        {"user_id": "v", "item_id": "c", "event": "skip", "value": None},
        {"user_id": "v", "item_id": "x", "event": "rate", "value": 4.0},
    ]
    options = PrepareOptions(min_value=4, unknown_items="drop")
    dataset = make_dataset(rows, ALL_TRAIN, options, items=["a", "b", "c"])
    assert len(dataset.train) == 1
    assert (dataset.users.array.to_pylist(), dataset.items.array.to_pylist()) == (["u", "v"], ["a", "b", "c"])
    manifest = json.loads((tmp_path / "prepared" / "manifest.json").read_text())
    assert [(step["name"], step["rows"]) for step in manifest["filters"]] == [
        ("unknown_items", 1),
        ("no_sign", 2),
        ("min_value", 1),
        ("duplicates", 0),
    ]
    assert [step["rows"] for step in manifest["lineage"]] == [5, 4, 2, 1, 1]


def test_unknown_items_are_added_and_counted(make_dataset, tmp_path):
    features = {"audio": (pa.array(["b", "x"], TEXT), np.ones((2, 3), np.float32))}
    dataset = make_dataset(
        [{"user_id": "u", "item_id": "c"}], ALL_TRAIN, items=["a", "b"], users=["w"], features=features
    )
    assert dataset.items.array.to_pylist() == ["a", "b", "c", "x"]
    assert dataset.features["audio"].present.tolist() == [False, True, False, True]
    manifest = json.loads((tmp_path / "prepared" / "manifest.json").read_text())
    assert manifest["added"] == {"items": 2, "users": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duplicates": "mean"}, "duplicates is 'mean'; expected one of first, last, sum."),
        ({"min_user_events": -1}, "min_user_events is -1; expected 0"),
        (
            {"behaviour_weights": {"a": -1.0}},
            "behaviour_weights: the weight of 'a' is -1.0; expected 0 (no sign of liking)",
        ),
        ({"behaviour_weights": {"a": float("nan")}}, "the weight of 'a' is nan"),
        ({"max_weight": 0}, "max_weight is 0; expected a positive number, at most 1e+12."),
    ],
)
def test_options_out_of_range(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        PrepareOptions(**arguments)
