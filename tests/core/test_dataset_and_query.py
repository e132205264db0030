import hashlib

import numpy as np
import pytest

from avrec.core.dataset import Dataset, MediaColumn, tie_order
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.query import SECONDS_PER_DAY, UserQuery, held_out_query

DAY = int(SECONDS_PER_DAY)


def part(*events):
    """Events (user, item, day)."""
    user, item, day = (np.array(values, np.int64) for values in zip(*events, strict=True))
    return Interactions.from_events(user, item, 3, 4, timestamp=day * DAY)


@pytest.fixture
def dataset():
    return Dataset(
        name="hand",
        content_hash="0",
        users=IdMap(["u0", "u1", "u2"]),
        items=IdMap(["i0", "i1", "i2", "i3"]),
        train=part((0, 0, 1), (0, 1, 2), (1, 0, 5)),
        validation=part((0, 2, 4), (2, 1, 3)),
        test=part((0, 3, 10), (0, 1, 12), (2, 0, 9)),
    )


def test_what_is_known_and_what_is_asked(dataset):
    assert (dataset.num_users, dataset.num_items) == (3, 4)
    assert dataset.target("validation") is dataset.validation and dataset.target("test") is dataset.test
    assert dataset.history("validation") is dataset.train
    history = dataset.history("test")
    assert history.indptr.tolist() == [0, 3, 4, 5] and history.item_idx.tolist() == [0, 1, 2, 0, 1]
    assert dataset.cold_items.tolist() == [False, False, True, True]
    assert dataset.new_users.tolist() == [False, False, True]


def test_media_are_present_where_there_is_a_path(dataset):
    assert MediaColumn(("a.mp3", None, "b/c.mp4", None)).present.tolist() == [True, False, True, False]
    assert MediaColumn(()).present.dtype == np.bool_
    assert dataset.media == {} and dataset.media_root is None


def test_ties_are_broken_by_a_hash_of_the_id_alone():
    ids = ["b", "a", "é", "10"]
    rank = tie_order(IdMap(ids))
    by_hash = sorted(ids, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())
    assert [ids[index] for index in np.argsort(rank)] == by_hash
    more = tie_order(IdMap([*ids, "c", "d"]))
    np.testing.assert_array_equal(np.argsort(np.argsort(more[:4])), rank)  # newcomers do not reorder the others


def test_a_query_holds_each_users_history_and_its_age(dataset):
    query = UserQuery.of_users(np.array([1, 0, 2]), dataset.train)
    assert len(query) == 3 and query.indptr.tolist() == [0, 1, 3, 3]
    assert query.item_idx.tolist() == [0, 0, 1] and query.row.tolist() == [0, 1, 1]
    assert query.age_days.tolist() == [0, 1, 0]  # counted from each user's last event
    asked = UserQuery.of_users(np.array([0]), dataset.train, now_sec=np.array([3 * DAY]))
    assert asked.age_days.tolist() == [2, 1]


def test_the_held_out_question_is_asked_at_the_first_held_out_event(dataset):
    query = held_out_query(dataset, "test", np.array([0, 2]), dataset.history("test"))
    assert query.item_idx.tolist() == [0, 1, 2, 1]
    assert query.age_days.tolist() == [9, 8, 6, 6]


def test_a_log_without_time_has_no_ages():
    log = Interactions.from_events(np.array([0, 0]), np.array([1, 0]), 1, 2)
    query = UserQuery.of_users(np.array([0]), log)
    assert query.age_days.tolist() == [0, 0] and query.item_idx.tolist() == [0, 1]


def test_a_query_of_nobody_and_of_strangers():
    log = Interactions.from_events(np.array([0]), np.array([1]), 2, 2, timestamp=np.array([5]))
    assert len(UserQuery.of_users(np.array([], np.int64), log)) == 0
    new = UserQuery.of_users(np.array([1]), log)
    assert new.indptr.tolist() == [0, 0] and new.item_idx.tolist() == []
