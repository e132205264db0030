import numpy as np
import pyarrow as pa
import pytest

from avrec.core.errors import ConfigError, DataError
from avrec.data.draws import pair_hash
from avrec.data.engine import split_log
from avrec.data.numbering import number
from avrec.data.options import PrepareOptions
from avrec.data.splits import GivenSplit, GlobalTimeSplit, LeaveLastOut, RandomSplit, UserTimeSplit


def events(user, days, prefix="i"):
    return [{"user_id": user, "item_id": f"{prefix}{day}", "day": day} for day in days]


def items_of(pairs, user):
    return [item for who, item in pairs if who == user]


def test_user_time_takes_each_users_last_part(make_dataset, parts_of):
    # ten events: round(2.0) test and round(3.0) held out; three: round(.6) and round(.9); two: round(.4) and round(.6)
    rows = (
        events("ten", range(10)) + events("three", range(20, 23)) + events("two", range(30, 32)) + events("one", [40])
    )
    parts = parts_of(make_dataset(rows, UserTimeSplit(validation_share=0.1, test_share=0.2)))
    assert items_of(parts["train"], "ten") == [f"i{day}" for day in range(7)]
    assert items_of(parts["validation"], "ten") == ["i7"]
    assert items_of(parts["test"], "ten") == ["i8", "i9"]
    assert items_of(parts["train"], "three") == ["i20", "i21"] and items_of(parts["test"], "three") == ["i22"]
    assert items_of(parts["train"], "two") == ["i30"] and items_of(parts["validation"], "two") == ["i31"]
    assert items_of(parts["train"], "one") == ["i40"]


def test_a_user_always_keeps_a_train_event(make_dataset):
    rows = events("a", range(2)) + events("b", [5]) + events("c", range(6, 16))
    dataset = make_dataset(rows, UserTimeSplit(validation_share=0.3, test_share=0.6))
    assert (dataset.train.user_counts > 0).all()


def test_the_test_part_does_not_depend_on_the_validation_share(make_dataset, parts_of):
    rows = [row for user in range(20) for row in events(f"u{user}", range(user + 1))]
    without = parts_of(make_dataset(rows, UserTimeSplit(0.0, 0.2)))
    with_some = parts_of(make_dataset(rows, UserTimeSplit(0.25, 0.2)))
    assert without["test"] == with_some["test"]
    assert set(with_some["validation"]) <= set(without["train"])


def test_ties_inside_a_second_follow_the_file_or_a_hash_of_the_ids(make_dataset, parts_of):
    rows = [{"user_id": "u", "item_id": f"i{n}", "day": 1} for n in (3, 1, 4, 0, 2)]
    in_file = parts_of(make_dataset(rows, UserTimeSplit(0.0, 0.4, ties="file")))
    assert sorted(item for _, item in in_file["test"]) == ["i0", "i2"]
    hashed = parts_of(make_dataset(rows, UserTimeSplit(0.0, 0.4)))
    assert hashed == parts_of(make_dataset(rows[::-1], UserTimeSplit(0.0, 0.4)))


def test_global_time_keeps_a_second_together_in_the_earlier_part(make_dataset, parts_of):
    # ten events, 20 % each: cuts at the times of positions 5 and 7; the second at the first cut holds three events
    days = [1, 2, 3, 4, 5, 5, 5, 8, 9, 10]
    rows = [{"user_id": f"u{n}", "item_id": f"i{n}", "day": day} for n, day in enumerate(days)]
    parts = parts_of(make_dataset(rows, GlobalTimeSplit(validation_share=0.2, test_share=0.2)))
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [7, 1, 2]
    assert parts["validation"] == [("u7", "i7")]


def test_global_time_parts_share_no_second_and_lose_nobody(make_dataset):
    draw = np.random.default_rng(0)
    rows = [{"user_id": f"u{draw.integers(30)}", "item_id": f"i{n}", "day": int(draw.integers(40))} for n in range(300)]
    dataset = make_dataset(
        rows, GlobalTimeSplit(), users=[f"u{n}" for n in range(31)], items=[f"i{n}" for n in range(301)]
    )
    assert dataset.train.timestamp.max() < dataset.validation.timestamp.min()
    assert dataset.validation.timestamp.max() < dataset.test.timestamp.min()
    assert (dataset.num_users, dataset.num_items) == (31, 301)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 300


def test_global_time_refuses_a_log_of_one_second(make_dataset):
    rows = [{"user_id": f"u{n}", "item_id": "i", "day": 1} for n in range(10)]
    with pytest.raises(DataError, match="GlobalTimeSplit: the validation part is empty"):
        make_dataset(rows, GlobalTimeSplit())


def test_leave_last_out(make_dataset, parts_of):
    rows = events("three", [3, 1, 2]) + events("two", [5, 4]) + events("one", [6])
    parts = parts_of(make_dataset(rows, LeaveLastOut()))
    assert parts["test"] == [("three", "i3"), ("two", "i5")]
    assert parts["validation"] == [("three", "i2")]
    assert parts["train"] == [("one", "i6"), ("three", "i1"), ("two", "i4")]


def test_random_counts_and_independence_of_other_rows(make_dataset, parts_of):
    rows = [{"user_id": f"u{user}", "item_id": f"i{item}"} for user in range(5) for item in range(10)]
    parts = parts_of(make_dataset(rows, RandomSplit(0.1, 0.2, seed=3)))
    for user in range(5):
        assert [len(items_of(parts[name], f"u{user}")) for name in ("train", "validation", "test")] == [7, 1, 2]
    more = [*rows[::-1], *({"user_id": "a stranger", "item_id": f"j{item}"} for item in range(10))]
    again = parts_of(make_dataset(more, RandomSplit(0.1, 0.2, seed=3)))
    assert [pair for pair in again["test"] if pair[0] != "a stranger"] == parts["test"]
    assert parts_of(make_dataset(rows, RandomSplit(0.1, 0.2, seed=4)))["test"] != parts["test"]


def test_random_is_fair(make_source):
    rows = [{"user_id": f"u{user}", "item_id": f"i{item}"} for user in range(40) for item in range(100)]
    numbered = number(make_source(rows).read(), PrepareOptions())
    share = pair_hash(numbered, 0) / 2.0**63
    assert abs(share.mean() - 0.5) < 0.02
    by_item = np.bincount(np.asarray(numbered.events["item"]), share) / 40
    assert abs(np.corrcoef(share[:-1], share[1:])[0, 1]) < 0.05 and by_item.std() < 0.08


def test_given_is_taken_as_it_stands(make_dataset, parts_of):
    rows = [
        {"user_id": "u", "item_id": "a", "split": "train"},
        {"user_id": "u", "item_id": "b", "split": "validation"},
        {"user_id": "v", "item_id": "b", "split": "test"},
    ]
    parts = parts_of(make_dataset(rows, GivenSplit()))
    assert parts == {"train": [("u", "a")], "validation": [("u", "b")], "test": [("v", "b")]}


def test_given_without_validation_carves_one_from_train(make_dataset, parts_of):
    rows = [{"user_id": "u", "item_id": f"i{n}", "split": "train"} for n in range(10)]
    rows += [{"user_id": "u", "item_id": "t", "split": "test"}, {"user_id": "v", "item_id": "i1", "split": "train"}]
    parts = parts_of(make_dataset(rows, GivenSplit(validation_share=0.2)))
    assert len(parts["validation"]) == 2 and parts["test"] == [("u", "t")]
    assert ("v", "i1") in parts["train"] and len(parts["train"]) == 9


def test_given_with_a_validation_part_is_not_carved_again(make_dataset):
    rows = [{"user_id": "u", "item_id": str(part), "split": part} for part in ("train", "validation", "test")]
    with pytest.raises(ConfigError, match=r"validation_share is 0.2, but the log has a validation part. Set it to 0."):
        make_dataset(rows, GivenSplit(validation_share=0.2))


def test_a_split_that_needs_what_the_log_lacks(make_dataset):
    rows = [{"user_id": "u", "item_id": f"i{n}"} for n in range(5)]
    for split in (GlobalTimeSplit(), UserTimeSplit(), LeaveLastOut()):
        with pytest.raises(DataError, match=f"interactions: has no timestamps, which {type(split).__name__} needs"):
            make_dataset(rows, split)
    with pytest.raises(DataError, match="interactions: has no column 'split', which GivenSplit needs"):
        make_dataset(rows, GivenSplit())


@pytest.mark.parametrize("shares", [(-0.1, 0.2), (0.1, 1.0), (0.5, 0.5), (float("nan"), 0.1)])
@pytest.mark.parametrize("split", [GlobalTimeSplit, UserTimeSplit, RandomSplit])
def test_shares_out_of_range(split, shares):
    with pytest.raises(ConfigError, match="share"):
        split(*shares)


def test_unknown_tie_rule():
    with pytest.raises(ConfigError, match="ties is 'id'; expected 'hash' or 'file'"):
        UserTimeSplit(ties="id")


def naive_user_time(rows, tie, validation_share, test_share):
    """The rule in a loop over users, with fractions."""
    part = {}
    for user in {row[0] for row in rows}:
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: (row[2], tie[row], row[1]))
        count = len(mine)
        test = min(int(count * test_share + 0.5), count - 1)
        held = min(int(count * (validation_share + test_share) + 0.5), count - 1)
        for rank, row in enumerate(mine):
            left = count - rank
            part[row] = 2 if left <= test else 1 if left <= held else 0
    return part


def test_the_engine_agrees_with_a_loop(make_source):
    draw = np.random.default_rng(1)
    pairs = {(int(draw.integers(25)), int(draw.integers(60))) for _ in range(600)}
    rows = [(user, item, int(draw.integers(8))) for user, item in sorted(pairs)]
    source = make_source([{"user_id": f"{u:02}", "item_id": f"{i:02}", "day": day} for u, i, day in rows])
    numbered = number(source.read(), PrepareOptions())
    tie = dict(zip(rows, pair_hash(numbered, 0).tolist(), strict=True))
    log = split_log(numbered, UserTimeSplit(0.125, 0.25), PrepareOptions()).events
    expected = naive_user_time(rows, tie, 0.125, 0.25)
    start = min(row[2] for row in rows)
    days = (np.asarray(log["timestamp"]) - pa.compute.min(log["timestamp"]).as_py()) // 86_400 + start
    users, items = (np.array([int(text) for text in ids.array.to_pylist()]) for ids in (numbered.users, numbered.items))
    found = zip(users[log["user"]], items[log["item"]], days, np.asarray(log["part"]), strict=True)
    assert {(int(u), int(i), int(day)): int(part) for u, i, day, part in found} == expected
