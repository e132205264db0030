from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import DataError
from avrec.data.arrow import TEXT
from avrec.data.options import PrepareOptions
from avrec.data.problems import Place, Problems, did_you_mean
from avrec.data.splits import RandomSplit
from avrec.data.validation import check

NOW = 1_700_000_000.0


def problems_of(source, options=None, split=None):
    with pytest.raises(DataError) as error:
        check(source.read(), options or PrepareOptions(), split or RandomSplit(), NOW)
    return error.value.problems


def test_a_clean_log_passes(make_source):
    check(
        make_source([{"user_id": "u", "item_id": "a", "day": 1}], items=["a"]).read(),
        PrepareOptions(),
        RandomSplit(),
        NOW,
    )


def test_a_source_that_breaks_the_contract(make_source):
    raw = make_source([{"user_id": "u", "item_id": "a"}]).read()
    with pytest.raises(DataError, match=r"interactions: source gave user_id: large_string[\s\S]*expected"):
        check(replace(raw, interactions=raw.interactions.drop_columns("value")), PrepareOptions(), RandomSplit())


def test_what_the_source_found_comes_first(make_source):
    source = make_source([{"user_id": "", "item_id": "a"}], problems=("log.csv row 1: is odd.",))
    assert problems_of(source)[0] == "log.csv row 1: is odd." and len(problems_of(source)) == 2


def test_the_future_begins_a_day_after_now(make_source):
    rows = [{"user_id": "u", "item_id": f"i{n}", "timestamp": int(NOW) + n * 86_400} for n in (1, 2)]
    assert problems_of(make_source(rows)) == [
        "interactions row 2: timestamp is 1700172800; a time in the future; expected seconds since 1970 or an ISO date. "
        "Fix the row or drop it."
    ]


def test_some_rows_without_a_time(make_source):
    rows = [{"user_id": "u", "item_id": "a", "timestamp": 5}, {"user_id": "u", "item_id": "b"}]
    assert problems_of(make_source(rows)) == [
        "interactions row 2: timestamp is empty; other rows have a time. Give every row a timestamp or none."
    ]


def test_ids_that_occur_twice(make_source):
    source = make_source([{"user_id": "u", "item_id": "a"}], items=["a", "b", "a", "a"], users=["u", "u"])
    advice = "an id that stands in an earlier row too. Keep one row for each id."
    assert problems_of(source) == [
        f"items row 3: item_id is 'a'; {advice}",
        f"items row 4: item_id is 'a'; {advice}",
        f"users row 2: user_id is 'u'; {advice}",
    ]


def test_unknown_items_as_an_error(make_source):
    source = make_source([{"user_id": "u", "item_id": item} for item in "axay"], items=["a"])
    advice = "not in items. Add the item there, or set unknown_items to add or drop."
    assert problems_of(source, PrepareOptions(unknown_items="error")) == [
        f"interactions row 2: item_id is 'x'; {advice}",
        f"interactions row 4: item_id is 'y'; {advice}",
    ]


def test_events_and_options_that_do_not_meet(make_source):
    source = make_source([{"user_id": "u", "item_id": "a", "event": "view"}, {"user_id": "u", "item_id": "b"}])
    options = PrepareOptions(behaviour_weights={"shared": 2.0, "viev": 0.0})
    advice = (
        "has no weight. Name it in behaviour_weights (they name ['shared', 'viev']), with 0 if it is no sign of liking."
    )
    assert problems_of(source, options) == [
        "interactions: no event is 'shared', which behaviour_weights names; there are ['view'].",
        "interactions: no event is 'viev', which behaviour_weights names; there are ['view']. Did you mean 'view'?",
        f"interactions row 1: event is 'view'; {advice}",
        f"interactions row 2: event is empty; {advice}",
    ]
    check(source.read(), PrepareOptions(), RandomSplit(), NOW)  # the default weights fit any log


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan"), float("inf")])
def test_watched_shares_that_are_none(make_source, share):
    rows = [{"user_id": "u", "item_id": "a", "watch_share": share}, {"user_id": "u", "item_id": "b"}]
    assert problems_of(make_source(rows)) == [
        f"interactions row 1: watch_share is {share}; expected the watched share of the item, 0 to 1. Fix the row, or leave "
        "the cell empty."
    ]


@pytest.mark.parametrize("value", [0.0, -2.0, None, 1e13])
def test_values_that_are_no_weight(make_source, value):
    rows = [{"user_id": "u", "item_id": "a", "value": value}, {"user_id": "u", "item_id": "b", "value": 1.0}]
    assert not check(make_source(rows).read(), PrepareOptions(), RandomSplit(), NOW)
    (problem,) = problems_of(make_source(rows), PrepareOptions(value_weight="log1p"))
    assert "value_weight=log1p needs a number over 0, at most 1e12. Fix the row or drop it." in problem
    if value is None:
        (problem,) = problems_of(make_source(rows), PrepareOptions(min_value=1))
        assert problem == "interactions row 1: value is empty; min_value needs a value. Fix the row or drop it."


def test_values_of_events_that_are_no_sign_do_not_matter(make_source):
    rows = [{"user_id": "u", "item_id": "a", "value": 0.0, "event": "skip"}]
    rows += [{"user_id": "u", "item_id": "b", "value": 3.0, "event": "rate"}]
    options = PrepareOptions(value_weight="linear", min_value=1)
    check(make_source(rows).read(), options, RandomSplit(), NOW)


def test_side_fields_that_cannot_be_stored(make_source):
    items = pa.table({"item_id": pa.array(["a"], TEXT), "has_audio": [True], "item_idx": [1], "box": [{"x": 1}]})
    assert problems_of(make_source([{"user_id": "u", "item_id": "a"}], items=items)) == [
        "items: column 'has_audio' is a name that avrec itself writes. Rename the column.",
        "items: column 'item_idx' is a name that avrec itself writes. Rename the column.",
        "items: column 'box' has the type struct<x: int64>, which is not stored. Cast or drop it.",
    ]


def test_features_that_do_not_fit(make_source):
    ids = pa.array(["a", "b"], TEXT)
    for features, problem in (
        ({"my audio": (ids, np.ones((2, 2)))}, "my audio: the modality 'my audio' is no plain name."),
        ({"audio": (ids, np.ones((3, 2)))}, "audio: 3 rows for 2 items. Give one row for each item."),
        ({"audio": (ids, np.ones((2, 2), int))}, "audio: int64 of shape (2, 2); expected floats"),
        ({"audio": (ids, np.full((2, 2), 1e200))}, "audio row 1: the vector of item 'a' holds NaN or infinity"),
    ):
        source = make_source([{"user_id": "u", "item_id": "a"}], features=features)
        assert problems_of(source)[0].startswith(problem)


def test_many_bad_vectors_are_counted(make_source):
    ids = pa.array([f"i{n}" for n in range(9)], TEXT)
    source = make_source([{"user_id": "u", "item_id": "i1"}], features={"audio": (ids, np.zeros((9, 2)))})
    problems = problems_of(source)
    assert len(problems) == 6 and problems[-1] == "audio: 4 more rows whose vector is all zero, 9 in all."


def test_row_numbers_jump_over_skipped_rows():
    assert Place("x", (2, 3, 7)).rows(np.arange(6)) == [1, 4, 5, 6, 8, 9]
    assert Place("x").rows(np.array([0, 9])) == [1, 10]


def test_problems_are_silent_while_there_are_none():
    problems = Problems()
    problems.rows(Place("x"), "c", np.zeros(3, bool), ["a", "b", "c"], "no.")
    problems.raise_any()


def test_nearest_names():
    assert did_you_mean("Timestamp ", ["timestamp", "value"]) == " Did you mean 'timestamp'?"
    assert did_you_mean("xyz", ["timestamp"]) == ""
