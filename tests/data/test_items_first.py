"""Items first: every item once an epoch, no leaks, a known inclusion probability, and ranks that share a batch."""

from dataclasses import replace

import numpy as np
import pytest

from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.data.items_first import ItemsFirstSampler
from avrec.data.samplers import PairPolicy

DAY = 86_400
USERS, ITEMS = 60, 37


def log(with_time=False, seed=0):
    """A few popular items, one user who did nearly everything, and items 30 to 32 that nobody met."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, ITEMS + 1)
    chance[30:33] = 0
    user, item = [], []
    for one in range(USERS):
        count = 30 if one == 0 else int(rng.integers(2, 9))
        item += rng.choice(ITEMS, count, replace=False, p=chance / chance.sum()).tolist()
        user += [one] * count
    time = rng.integers(0, 50, len(user)) * DAY if with_time else None
    return Interactions.from_events(np.array(user), np.array(item), USERS, ITEMS, timestamp=time)


def make(train=None, items=8, users=3, seed=3, exclude=None, **policy):
    return ItemsFirstSampler(log() if train is None else train, items, users, seed, PairPolicy(**policy), exclude)


def epoch_of(sampler, epoch=0, rank=0, world_size=1):
    return [sampler.batch(epoch, index, rank, world_size) for index in range(sampler.num_batches)]


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


def check_batch(batch, train, users_per_item):
    """What every batch must be, by plain loops over the log."""
    when = {}
    stamps = train.timestamp if train.timestamp is not None else np.zeros(len(train), np.int64)
    for user, item, time in zip(train.user_idx.tolist(), train.item_idx.tolist(), stamps.tolist(), strict=True):
        when.setdefault(user, {})[item] = time
    assert batch.candidate_idx.tolist() == sorted(set(batch.candidate_idx.tolist()))
    pairs = list(zip(batch.user_idx.tolist(), batch.positive.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs) and all(item in when[user] for user, item in pairs)
    for item in batch.candidate_idx.tolist():
        events = sum(item in items for items in when.values())
        assert sum(positive == item for _, positive in pairs) == min(events, users_per_item)
    seen = set(zip(batch.seen_row.tolist(), batch.seen_column.tolist(), strict=True))
    for row, (user, positive) in enumerate(pairs):
        assert batch.candidate_idx[batch.target_column[row]] == positive
        history = batch.history_idx[row][batch.history_mask[row]].tolist()
        others = when[user].keys() - {positive}
        if train.timestamp is None:
            assert set(history) == others, "history leaks"
        else:
            now = when[user][positive]
            assert set(history) == {item for item in others if when[user][item] < now}, "history leaks"
            ages = batch.history_age_days[row][batch.history_mask[row]]
            assert ages.tolist() == [(now - when[user][item]) / DAY for item in history]
        assert {column for one, column in seen if one == row} == {
            column for column, item in enumerate(batch.candidate_idx.tolist()) if item in others
        }


@pytest.mark.parametrize("with_time", [False, True])
def test_every_batch_is_what_it_says(with_time):
    train = log(with_time)
    for batch in epoch_of(make(train)):
        check_batch(batch, train, 3)
        assert batch.global_size == len(batch.user_idx)
        np.testing.assert_allclose(batch.log_q, np.log(len(batch.candidate_idx) / 34), rtol=1e-6)


@pytest.mark.parametrize("with_time", [False, True])
def test_the_check_finds_planted_leaks(with_time):
    """The positive, or with time an event of the same second, in a history."""
    train = log(with_time)
    batch = make(train).batch(0, 0)
    row = int(np.flatnonzero(batch.history_mask.any(axis=1))[0])
    leaky = batch.history_idx.copy()
    leaky[row, 0] = batch.positive[row]
    with pytest.raises(AssertionError, match="history leaks"):
        check_batch(replace(batch, history_idx=leaky), train, 3)
    if with_time:
        later = Interactions(
            train.num_users, train.num_items, train.indptr, train.item_idx, train.weight, train.timestamp * 0 + DAY
        )
        with pytest.raises(AssertionError, match="history leaks"):  # every event in one second: nothing came before
            check_batch(batch, later, 3)


def test_an_epoch_holds_every_trained_item_once_in_batches_of_one_size():
    for items in (2, 5, 8, 33, 34, 50):
        sampler = make(items=items)
        sizes = [len(sampler.items(1, index)) for index in range(sampler.num_batches)]
        assert max(sizes) <= items and max(sizes) - min(sizes) <= 1 and len(sizes) == -(-34 // items)
        found = np.concatenate([batch.candidate_idx for batch in epoch_of(sampler, 1)])
        assert sorted(found.tolist()) == [*range(30), *range(33, 37)]


def test_order_is_a_function_of_seed_epoch_and_index():
    whole = epoch_of(make(), epoch=4)
    resumed = make()  # which has read nothing before
    for index in reversed(range(2, resumed.num_batches)):
        assert same(resumed.batch(4, index), whole[index])
    for other in (epoch_of(make(), epoch=5), epoch_of(make(seed=4), epoch=4)):
        assert [batch.candidate_idx.tolist() for batch in other] != [batch.candidate_idx.tolist() for batch in whole]
    repeated = [make().batch(epoch, 0).user_idx.tolist() for epoch in (0, 0, 1)]
    assert repeated[0] == repeated[1] != repeated[2]


@pytest.mark.parametrize("world_size", [2, 3, 5, 9])
@pytest.mark.parametrize("with_time", [False, True])
def test_ranks_share_a_batch_by_its_items(world_size, with_time):
    sampler = make(log(with_time))
    for index in range(sampler.num_batches):
        whole = sampler.batch(2, index)
        size = -(-len(whole.candidate_idx) // world_size)
        row = 0
        for rank in range(world_size):
            part, items = sampler.batch(2, index, rank, world_size), sampler.items_of(2, index, rank, world_size)
            assert items.tolist() == whole.candidate_idx[rank * size : (rank + 1) * size].tolist()
            assert set(part.positive.tolist()) == set(items.tolist())
            rows = slice(row, row + len(part.positive))
            for name in ("user_idx", "positive", "target_column", "history_idx", "history_mask", "history_age_days"):
                assert np.array_equal(getattr(part, name), getattr(whole, name)[rows]), name
            for name in ("candidate_idx", "log_q", "global_size"):
                assert np.array_equal(getattr(part, name), getattr(whole, name)), name
            inside = (whole.seen_row >= rows.start) & (whole.seen_row < rows.stop)
            assert part.seen_row.tolist() == (whole.seen_row[inside] - row).tolist()
            assert part.seen_column.tolist() == whole.seen_column[inside].tolist()
            row = rows.stop
        assert row == whole.global_size


def test_inclusion_probabilities_by_monte_carlo():
    sampler, epochs = make(), 4000
    for index in (0, sampler.num_batches - 1):
        included = np.zeros(ITEMS)
        for epoch in range(epochs):
            included[sampler.items(epoch, index)] += 1
        claimed = np.zeros(ITEMS)
        batch = sampler.batch(0, index)
        claimed[sampler.trained] = np.exp(batch.log_q[0])
        noise = np.sqrt(claimed * (1 - claimed) / epochs)
        assert (np.abs(included / epochs - claimed) <= 4.5 * noise).all()


def test_a_user_above_the_cap_counts_as_one_at_the_cap():
    """Item 0: user 0 with 8 events, the others with one or two; weights 1/4 and 1 under a cap of 2, one draw."""
    user = [0] * 8 + [1, 2, 2, 3]
    item = [*range(8), 0, 0, 1, 0]
    train = Interactions.from_events(np.array(user), np.array(item), 4, 8)
    sampler = make(train, items=8, users=1, max_pairs_per_user=2)
    drawn = np.zeros(4)
    for epoch in range(3000):
        batch = sampler.batch(epoch, 0)
        drawn[batch.user_idx[batch.positive == 0]] += 1
    expected = np.array([0.25, 1, 1, 1]) / 3.25
    assert np.abs(drawn / 3000 - expected).max() < 4.5 * np.sqrt(0.25 / 3000)
    assert 0 < drawn[0] / 3000 < 0.12


def test_excluded_items_are_as_if_nobody_had_met_them():
    train, exclude = log(with_time=True), np.zeros(ITEMS, np.bool_)
    exclude[[0, 1, 5, 31]] = True
    batches = epoch_of(make(train, exclude=exclude))
    found = np.concatenate([batch.candidate_idx for batch in batches])
    assert sorted(found.tolist()) == sorted({*range(30), *range(33, 37)} - {0, 1, 5})
    for batch in batches:
        assert not exclude[batch.positive].any() and not exclude[batch.history_idx[batch.history_mask]].any()
        check_batch(batch, train.select(~exclude[train.item_idx]), 3)
    assert any(exclude[batch.history_idx[batch.history_mask]].any() for batch in epoch_of(make(train)))


def test_what_cannot_be_sampled():
    with pytest.raises(
        ConfigError, match="items_per_batch is 1, users_per_item is 3 and 34 items are trained; expected"
    ):
        make(items=1)
    with pytest.raises(ConfigError, match="users_per_item is 0"):
        make(users=0)
    with pytest.raises(ConfigError, match="and 1 items are trained"):
        make(Interactions.from_events(np.array([0]), np.array([2]), 1, 3))
    with pytest.raises(ConfigError, match="needs timestamps, and this log has none"):
        make(history="before")
