import numpy as np
import pytest

from avrec.core.interactions import Interactions, event_order

USER = np.array([1, 0, 1, 1, 0])
ITEM = np.array([2, 3, 0, 1, 1])
TIME = np.array([5, 9, 7, 5, 2])


def hand(timed=True):
    weight = np.array([1, 2, 3, 4, 5], np.float32)
    return Interactions.from_events(USER, ITEM, 3, 5, weight, TIME if timed else None)


def test_events_are_packed_by_user_time_and_item():
    log = hand()
    assert log.indptr.tolist() == [0, 2, 5, 5]
    assert log.item_idx.tolist() == [1, 3, 1, 2, 0]  # user 1: time 5 holds items 1 and 2, then time 7
    assert log.weight.tolist() == [5, 2, 4, 1, 3] and log.timestamp.tolist() == [2, 9, 5, 5, 7]
    assert log.user_idx.tolist() == [0, 0, 1, 1, 1] and len(log) == 5
    assert log.user_counts.tolist() == [2, 3, 0] and log.item_counts.tolist() == [1, 2, 1, 1, 0]


def test_without_time_events_are_in_item_order():
    log = hand(timed=False)
    assert log.timestamp is None and log.item_idx.tolist() == [1, 3, 0, 1, 2]
    plain = Interactions.from_events(USER, ITEM, 3, 5)
    assert plain.weight.tolist() == [1] * 5 and plain.weight.dtype == np.float32


def test_select_keeps_order_and_catalogue():
    log = hand().select(np.array([True, False, False, True, True]))
    assert (log.num_users, log.num_items) == (3, 5)
    assert log.indptr.tolist() == [0, 1, 3, 3] and log.item_idx.tolist() == [1, 2, 0]
    assert log.timestamp.tolist() == [2, 5, 7]


def test_merged_is_sorted_again():
    log = hand()
    early, late = log.select(log.timestamp < 6), log.select(log.timestamp >= 6)
    both = late.merged(early)
    for name in ("indptr", "item_idx", "weight", "timestamp"):
        np.testing.assert_array_equal(getattr(both, name), getattr(log, name))
    assert log.merged(hand(timed=False)).timestamp is None
    with pytest.raises(AssertionError):
        log.merged(Interactions.from_events(USER, ITEM, 3, 6))


def test_positions_of_users():
    indptr, positions = hand().positions(np.array([1, 2, 0, 1]))
    assert indptr.tolist() == [0, 3, 3, 5, 8]
    assert positions.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    indptr, positions = hand().positions(np.array([], np.int64))
    assert indptr.tolist() == [0] and positions.tolist() == []


def test_an_empty_log():
    empty = np.array([], np.int64)
    log = Interactions.from_events(empty, empty, 2, 3, timestamp=empty)
    assert len(log) == 0 and log.indptr.tolist() == [0, 0, 0] and log.item_counts.tolist() == [0, 0, 0]


@pytest.mark.parametrize("span", [10, 2**40, 2**62])  # the last does not fit one packed integer
def test_event_order_is_the_lexicographic_one(span):
    draw = np.random.default_rng(0)
    user, item = draw.integers(0, 40, (2, 3000))
    time = draw.integers(-span, span, 3000)
    time[::3] = time[0]
    np.testing.assert_array_equal(event_order(user, item, time), np.lexsort((item, time, user)))
    np.testing.assert_array_equal(event_order(user, item), np.lexsort((item, user)))
    np.testing.assert_array_equal(event_order(user.astype(np.int32), item.astype(np.int32)), np.lexsort((item, user)))
