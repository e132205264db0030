"""Windows of time against loops over the events, and what no window may know."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import ConfigError, DataError
from avrec.core.files import read_json
from avrec.core.side import NumericField
from avrec.data.arrow import TEXT
from avrec.data.prepare import PrepareOptions, prepare
from avrec.data.prepared import load_dataset
from avrec.data.window_split import WindowSplit
from tests.data.conftest import START

HOUR = 3600
NUM_ITEMS, NUM_HOURS = 25, 60
NEVER = float("inf")


def random_rows(seed, count=600):
    """Events of 20 users over 60 hours, mostly on what came up lately; pairs recur, and some fall on the edge of an hour."""
    draw = np.random.default_rng(seed)
    edge = draw.random(count) < 0.3
    minute = np.where(edge, draw.integers(0, NUM_HOURS, count) * 60, draw.integers(0, NUM_HOURS * 60, count))
    newest = minute * NUM_ITEMS // (NUM_HOURS * 60)
    item = np.maximum(newest - draw.geometric(0.15, count) + 1, 0)
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}", "timestamp": START + int(at) * 60}
        for user, item, at in zip(draw.integers(0, 20, count), item, minute, strict=True)
    ]
    return [*rows, {"user_id": "u0", "item_id": f"i{NUM_ITEMS - 1}", "timestamp": START + NUM_HOURS * HOUR - 1}]


def releases(seed):
    """Some items have no release; some are said to come out after their first event."""
    draw = np.random.default_rng(seed)
    hours = np.arange(NUM_ITEMS + 3) * NUM_HOURS // NUM_ITEMS + draw.integers(-4, 5, NUM_ITEMS + 3)
    known = draw.random(NUM_ITEMS + 3) < 0.6
    return {f"i{item}": START + int(hours[item]) * HOUR if known[item] else None for item in range(NUM_ITEMS + 3)}


def items_table(released):
    return pa.table({"item_id": pa.array(released, TEXT), "released": pa.array(released.values(), pa.int64())})


def naive(rows, split, released):
    """Parts as lists of pairs, candidates as sets, and what was left out, by loops; of a pair its first event counts."""
    over = START + NUM_HOURS * HOUR - int(split.windows_back * split.test_hours * HOUR)
    test = over - int(split.test_hours * HOUR)
    validation = test - int(split.validation_hours * HOUR)
    train = -NEVER if split.train_hours is None else validation - int(split.train_hours * HOUR)
    life = NEVER if split.lifetime_hours is None else split.lifetime_hours * HOUR
    given = released if split.released else {}
    first = {}
    for row in rows:
        first[row["item_id"]] = min(first.get(row["item_id"], NEVER), row["timestamp"])
    born = {item: min(first.get(item, NEVER), given.get(item) or NEVER) for item in released}
    kept, counts = {}, {"after_window": 0, "lifetime": 0, "before_window": 0}
    for row in rows:
        if row["timestamp"] >= over:
            counts["after_window"] += 1
        elif row["timestamp"] >= born[row["item_id"]] + life:
            counts["lifetime"] += 1
        else:
            pair = (row["user_id"], row["item_id"])
            kept[pair] = min(kept.get(pair, NEVER), row["timestamp"])
    parts = {"train": set(), "validation": set(), "test": set()}
    for pair, time in kept.items():
        if time < train:
            counts["before_window"] += 1
        else:
            parts["test" if time >= test else "validation" if time >= validation else "train"].add(pair)
    candidates = {}
    for name, start, end in (("validation", validation, test), ("test", test, over)):
        candidates[name] = {
            item
            for item in released
            if (not given.get(item) and first.get(item, NEVER) >= start)
            or (born[item] < end and born[item] + life > start)
        }
    return parts, candidates, {name: count for name, count in counts.items() if count or name != "before_window"}


CASES = {
    "plain": WindowSplit(12, 5, 4),
    "all of the past, two windows back": WindowSplit(None, 5, 4, windows_back=2),
    "fractions of an hour": WindowSplit(7.25, 2.5, 3.75, windows_back=3),
    "lives from the first event": WindowSplit(30, 6, 6, windows_back=1, lifetime_hours=20),
    "lives from the release": WindowSplit(20, 6, 6, windows_back=2, lifetime_hours=25.5, released="released"),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_windows_equal_loops(make_source, parts_of, tmp_path, name, seed):
    split, rows, released = CASES[name], random_rows(seed), releases(seed)
    parts, candidates, counts = naive(rows, split, released)
    folder = prepare(make_source(rows, items=items_table(released)), split, PrepareOptions(), tmp_path / "found")
    dataset, manifest = load_dataset(folder), read_json(folder / "manifest.json")
    found = parts_of(dataset)
    assert {part: set(pairs) for part, pairs in found.items()} == parts
    assert all(len(pairs) > 5 for pairs in parts.values())
    removed = {one["name"]: one["rows"] for one in manifest["filters"]}
    assert {name: rows for name, rows in removed.items() if name in ("after_window", "lifetime", "before_window")} == {
        name: rows for name, rows in counts.items() if name != "lifetime" or split.lifetime_hours
    }
    assert manifest["lineage"][-1]["rows"] == sum(map(len, parts.values()))
    names = np.array(dataset.items.ids(np.arange(dataset.num_items)))
    for part in ("validation", "test"):
        column = f"alive_in_{part}"
        assert (column in dataset.item_table.column_names) == (split.lifetime_hours is not None)
        if split.lifetime_hours is not None:
            assert set(names[np.asarray(dataset.item_table[column])]) == candidates[part]
            assert {item for _, item in parts[part]} <= candidates[part] < set(released)


def test_who_passes_the_core_stays_whatever_the_window_leaves_out(make_source, tmp_path):
    """Else an item would be a candidate because it has an event held out."""
    hours = [(10, "i0"), (12, "i0"), *((40 + hour, f"i{1 + hour // 4}") for hour in range(20))]
    rows = [
        {"user_id": f"u{place % 4}", "item_id": item, "timestamp": START + hour * HOUR}
        for place, (hour, item) in enumerate(hours)
    ]
    split = WindowSplit(10, 5, 5, lifetime_hours=100)
    folder = prepare(make_source(rows), split, PrepareOptions(min_item_events=2), tmp_path / "found")
    dataset = load_dataset(folder)
    names = dataset.items.ids(np.arange(dataset.num_items))
    assert "i0" in names and dataset.train.item_counts[names.index("i0")] == 0
    assert dataset.item_table["alive_in_test"].to_pylist()[names.index("i0")]


def test_the_order_of_the_rows_does_not_matter(make_source, tmp_path):
    rows, split = random_rows(3), CASES["lives from the release"]
    table = items_table(releases(3))
    hashes = set()
    for name, order in (("forth", rows), ("back", rows[::-1])):
        folder = prepare(make_source(order, items=table), split, PrepareOptions(), tmp_path / name)
        hashes.add(load_dataset(folder).content_hash)
    assert len(hashes) == 1


def test_the_test_part_does_not_depend_on_the_train_window(make_dataset, parts_of):
    rows = random_rows(4)
    found = [parts_of(make_dataset(rows, WindowSplit(hours, 5, 4, windows_back=1)))["test"] for hours in (4, 20, None)]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("duplicates", ["first", "last", "sum"])
def test_what_comes_after_the_window_changes_nothing(make_dataset, parts_of, duplicates):
    """As if the log had ended there: no later event takes the place of a known one, keeps a rare user or adds weight."""
    rows = random_rows(5)
    split = WindowSplit(20, 5, 4, windows_back=3, lifetime_hours=30)
    over = START + (NUM_HOURS - 12) * HOUR
    options = PrepareOptions(duplicates=duplicates, min_user_events=8)
    known = [row for row in rows if row["timestamp"] < over]
    everybody = {"items": items_table(releases(5)), "users": [f"u{user}" for user in range(20)]}
    ended = make_dataset(known, replace(split, log_ends_sec=START + NUM_HOURS * HOUR), options, **everybody)
    whole = make_dataset(rows, split, options, **everybody)
    assert parts_of(whole) == parts_of(ended)
    assert whole.content_hash == ended.content_hash


def test_candidates_know_nothing_of_the_window(make_dataset):
    """Whoever is met in the test window, the candidates are the same."""
    rows, released = random_rows(6), releases(6)
    split = replace(CASES["lives from the release"], windows_back=0, log_ends_sec=START + NUM_HOURS * HOUR)
    begins = START + (NUM_HOURS - 6) * HOUR
    earlier = [row for row in rows if row["timestamp"] < begins]
    out = [item for item, second in released.items() if second and begins - 25 * HOUR < second < begins]
    one = {"user_id": "new", "item_id": out[0], "timestamp": begins}
    other = {"user_id": "new", "item_id": out[1], "timestamp": begins + 7}
    tables = [make_dataset([*earlier, more], split, items=items_table(released)).item_table for more in (one, other)]
    assert tables[0].equals(tables[1])


def test_an_item_without_a_release_and_an_earlier_event_may_be_alive(make_dataset):
    """That it is met in the window is not known before it, so one that is never met is a candidate too."""
    rows = [{"user_id": "u", "item_id": item, "day": day} for item, day in (("a", 0), ("b", 3), ("c", 4), ("d", 5))]
    split = WindowSplit(None, 24, 24, lifetime_hours=48)
    dataset = make_dataset(rows, split, items=["a", "b", "c", "d", "e"])
    assert dataset.item_table["alive_in_test"].to_pylist() == [False, True, True, True, True]
    assert dataset.item_table["alive_in_validation"].to_pylist() == [False, True, True, True, True]


def test_dates_are_releases_too_and_candidates_are_no_side_field(make_dataset):
    rows = [{"user_id": "u", "item_id": item, "day": day} for item, day in (("a", 0), ("b", 3), ("c", 4), ("d", 5))]
    days = pa.array([(START - 86_400) * 10**6, None, START * 10**6, None], pa.timestamp("us"))
    items = pa.table({"item_id": pa.array(["a", "b", "c", "d"], TEXT), "out": days})
    dataset = make_dataset(rows, WindowSplit(None, 24, 24, lifetime_hours=24 * 4.5, released="out"), items=items)
    assert dataset.item_table["alive_in_validation"].to_pylist() == [True, True, True, True]
    assert dataset.item_table["alive_in_test"].to_pylist() == [False, True, True, True]
    assert len(dataset.train) == 2 and len(dataset.validation) == 1 and len(dataset.test) == 1
    assert {name for name, field in dataset.item_fields.items() if isinstance(field, NumericField)} == {"out"}


def test_a_window_without_events_is_named(make_dataset):
    rows = [{"user_id": "u", "item_id": f"i{day}", "day": day} for day in (0, 1, 2, 6)]
    with pytest.raises(DataError) as caught:
        make_dataset(rows, WindowSplit(24, 24, 24))
    message = (
        "WindowSplit: the validation window, from 2020-09-17 12:26:41 to 2020-09-18 12:26:41, holds no event; the log goes "
        "from 2020-09-13 12:26:40 to 2020-09-19 12:26:40. Take a smaller windows_back, or more hours."
    )
    assert message in str(caught.value) and "the train window" in str(caught.value)
    with pytest.raises(DataError, match=r"the train window, from the beginning to .*, holds no event"):
        make_dataset(rows, WindowSplit(None, 24, 24, windows_back=5))


def test_a_log_without_time_is_refused(make_dataset):
    with pytest.raises(DataError, match="interactions: has no timestamps, which WindowSplit needs"):
        make_dataset([{"user_id": "u", "item_id": "i"}], WindowSplit())


def test_a_release_column_that_is_not_there(make_dataset):
    items = pa.table({"item_id": pa.array(["i0"], TEXT), "year": [1999], "title": ["x"]})
    with pytest.raises(ConfigError) as caught:
        make_dataset(random_rows(0), WindowSplit(lifetime_hours=5, released="title"), items=items)
    assert str(caught.value) == (
        "data.split.released: 'title' is no column of numbers or dates of the items table; ['year'] are."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_hours": 0}, "train_hours is 0; expected a number of hours, at least a second."),
        ({"validation_hours": -1.0}, "validation_hours is -1.0; expected a number of hours"),
        ({"test_hours": float("nan")}, "test_hours is nan; expected"),
        ({"test_hours": 0.0001}, "test_hours is 0.0001; expected a number of hours, at least a second."),
        ({"lifetime_hours": float("inf")}, "lifetime_hours is inf; expected"),
        ({"windows_back": -1}, "windows_back is -1; expected a whole number, 0 or more."),
        ({"windows_back": 1.5}, "windows_back is 1.5; expected a whole number"),
        ({"released": "out"}, "released is 'out', but nothing dies: give lifetime_hours, or leave it out."),
    ],
)
def test_values_out_of_range(arguments, message):
    with pytest.raises(ConfigError) as caught:
        WindowSplit(**arguments)
    assert message in str(caught.value)


def test_a_column_of_candidates_is_avrecs_own(make_dataset):
    items = pa.table({"item_id": pa.array(["i0"], TEXT), "alive_in_test": [True]})
    with pytest.raises(DataError, match="alive_in_test"):
        make_dataset(random_rows(0), WindowSplit(30, 6, 6), items=items)
