"""Samplers: order as a pure function, histories without leaks, and probabilities checked by Monte Carlo."""

import tracemalloc

import numpy as np
import pytest

from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.data.candidates import FullCatalogue, HardNegatives, InBatch, SampledNegatives, SharedPool
from avrec.data.items_first import ItemsFirstSampler
from avrec.data.samplers import PairPolicy, PairSampler, places
from avrec.training.batches import TensorBatch

DAY = 86_400


def log(seed=0, users=40, items=30, with_time=False, heavy=True):
    rng = np.random.default_rng(seed)
    user, item = [], []
    for one in range(users):
        count = 25 if heavy and one == 0 else int(rng.integers(1, 8))
        chosen = rng.choice(items, count, replace=False, p=rng.dirichlet(np.full(items, 5.0)))
        user += [one] * count
        item += chosen.tolist()
    time = rng.integers(0, 50, len(user)) * DAY if with_time else None
    return Interactions.from_events(np.array(user), np.array(item), users, items, timestamp=time)


def make(train, candidates=None, **options):
    return PairSampler(train, candidates or FullCatalogue(), 16, 3, PairPolicy(**options))


def epoch_of(sampler, epoch=0, rank=0, world_size=1):
    return [sampler.batch(epoch, index, rank, world_size) for index in range(sampler.num_batches)]


def test_an_epoch_holds_every_pair_once_up_to_the_cap():
    train = log()
    batches = epoch_of(make(train, max_pairs_per_user=5))
    pairs = [pair for batch in batches for pair in zip(batch.user_idx.tolist(), batch.positive.tolist(), strict=True)]
    assert len(set(pairs)) == len(pairs) == np.minimum(train.user_counts, 5).sum()
    events = set(zip(train.user_idx.tolist(), train.item_idx.tolist(), strict=True))
    assert set(pairs) <= events


def test_epochs_differ_and_repeat_exactly():
    sampler = make(log())
    first, again, other = (
        np.concatenate([batch.positive for batch in epoch_of(sampler, epoch)]) for epoch in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_global_batch(world_size):
    sampler = make(log(), InBatch())
    for index in range(sampler.num_batches):
        whole = sampler.batch(1, index)
        parts = [sampler.batch(1, index, rank, world_size) for rank in range(world_size)]
        for rank, part in enumerate(parts):
            rows = np.arange(len(whole.user_idx))[rank::world_size]
            assert np.array_equal(part.user_idx, whole.user_idx[rows])
            assert np.array_equal(part.candidate_idx, whole.candidate_idx)
            assert np.array_equal(part.history_idx, whole.history_idx[rows])
            assert np.array_equal(part.target_column, whole.target_column[rows])
            seen = set(zip(part.seen_row.tolist(), part.seen_column.tolist(), strict=True))
            expected = {
                (row // world_size, column)
                for row, column in zip(whole.seen_row.tolist(), whole.seen_column.tolist(), strict=True)
                if row % world_size == rank
            }
            assert seen == expected
            assert part.global_size == len(whole.user_idx)


def test_the_history_never_contains_the_positive_and_is_leave_one_out_without_time():
    train = log()
    for batch in epoch_of(make(train)):
        for row, (user, positive) in enumerate(zip(batch.user_idx, batch.positive, strict=True)):
            history = set(batch.history_idx[row][batch.history_mask[row]].tolist())
            everything = set(train.item_idx[train.indptr[user] : train.indptr[user + 1]].tolist())
            assert history == everything - {positive}


def test_with_time_the_history_is_what_came_strictly_before():
    train = log(with_time=True)
    stamps = {
        (user, item): time
        for user, item, time in zip(
            train.user_idx.tolist(), train.item_idx.tolist(), train.timestamp.tolist(), strict=True
        )
    }
    with_history = 0
    for batch in epoch_of(make(train)):
        for row, (user, positive) in enumerate(zip(batch.user_idx.tolist(), batch.positive.tolist(), strict=True)):
            now = stamps[user, positive]
            found = batch.history_idx[row][batch.history_mask[row]].tolist()
            assert set(found) == {item for (other, item), time in stamps.items() if other == user and time < now}
            ages = batch.history_age_days[row][batch.history_mask[row]]
            assert ages.tolist() == [(now - stamps[user, item]) / DAY for item in found]
            with_history += bool(found)
    assert with_history > 20


def test_the_latest_events_are_kept_when_the_history_is_cut():
    train = log(with_time=True)
    for batch in epoch_of(make(train, max_history_items=2)):
        assert batch.history_mask.sum(axis=1).max() <= 2
        for row, (user, positive) in enumerate(zip(batch.user_idx, batch.positive, strict=True)):
            items = train.item_idx[train.indptr[user] : train.indptr[user + 1]].tolist()
            times = train.timestamp[train.indptr[user] : train.indptr[user + 1]].tolist()
            now = times[items.index(positive)]
            latest = [item for item, time in zip(items, times, strict=True) if time < now][-2:]
            assert set(batch.history_idx[row][batch.history_mask[row]].tolist()) == set(latest)


def test_a_long_user_is_shown_with_a_short_history():
    train = log()
    lengths = [
        int(batch.history_mask[row].sum())
        for batch in epoch_of(make(train, long_user_items=10, long_user_history=(1, 3), max_pairs_per_user=25))
        for row in np.flatnonzero(batch.user_idx == 0)
    ]
    assert len(lengths) == 25
    assert set(lengths) == {1, 2, 3}


def test_without_histories_there_is_no_padding_either():
    train = log()
    for batch in epoch_of(make(train, max_history_items=0)):
        assert (
            batch.history_idx.shape
            == batch.history_mask.shape
            == batch.history_weight.shape
            == (len(batch.positive), 0)
        )
        assert len(batch.seen_row) == (train.user_counts[batch.user_idx] - 1).sum()  # still no negatives


def test_seen_columns_are_all_other_training_items():
    train = log(with_time=True)
    batch = make(train).batch(0, 0)
    trained = np.flatnonzero(train.item_counts > 0)
    assert np.array_equal(batch.candidate_idx, trained)
    for row, (user, positive) in enumerate(zip(batch.user_idx, batch.positive, strict=True)):
        seen = set(batch.candidate_idx[batch.seen_column[batch.seen_row == row]].tolist())
        assert seen == set(train.item_idx[train.indptr[user] : train.indptr[user + 1]].tolist()) - {positive}
        assert batch.candidate_idx[batch.target_column[row]] == positive


def test_never_trained_items_are_no_candidates():
    train = Interactions.from_events(np.array([0, 0, 1]), np.array([0, 2, 2]), 2, 5)
    for candidates in (FullCatalogue(), InBatch(), SampledNegatives(50), SharedPool(50), HardNegatives(50, 2, 50)):
        assert set(make(train, candidates).batch(0, 0).candidate_idx.tolist()) <= {0, 2}


@pytest.mark.parametrize(
    "candidates",
    [InBatch(), SampledNegatives(12, 0.5), SampledNegatives(12, 0.0), SharedPool(12, 0.5)],
    ids=["in-batch", "sampled", "mixed", "pool"],
)
def test_inclusion_probabilities_by_monte_carlo(candidates):
    sampler = make(log(), candidates, max_pairs_per_user=5)
    included, claimed = np.zeros(30), np.full(30, np.nan)
    trials = 0
    for epoch in range(1500):
        batch = sampler.batch(epoch, 0)
        included[batch.candidate_idx] += 1
        claimed[batch.candidate_idx] = np.exp(batch.log_q)
        trials += 1
    seen = ~np.isnan(claimed)
    error = np.abs(included[seen] / trials - claimed[seen])
    # The noise of 1500 draws; the capped user's pairs enter the claim by their expectation.
    assert error.max() < 0.045
    assert error.mean() < 0.012


def test_inclusion_probabilities_of_hard_negatives_by_monte_carlo():
    """Of an item for all rows, and of one that is hard: by the pool as well."""
    sampler = make(log(), HardNegatives(10, 3, 4), max_pairs_per_user=5)
    included, claimed = np.zeros((2, 30)), np.full((2, 30), np.nan)
    for epoch in range(1500):
        batch = sampler.batch(epoch, 0)
        assert set(batch.positive.tolist()) <= set(batch.candidate_idx[~batch.hard.mined].tolist())
        assert batch.hard.num_hard == 3
        included[0, batch.candidate_idx[~batch.hard.mined]] += 1
        included[1, batch.candidate_idx] += 1
        claimed[0, batch.candidate_idx] = np.exp(batch.log_q)
        claimed[1, batch.candidate_idx] = batch.hard.inclusion
    error = np.abs(included / 1500 - claimed)
    assert error.max() < 0.045 and error.mean() < 0.012
    assert (claimed[1] > claimed[0] + 0.05).all()


def test_a_pool_has_each_positive_in_a_column_of_its_own_and_never_as_its_negative():
    sampler = make(log(), SharedPool(25, 0.0))
    met = 0
    for batch in epoch_of(sampler):
        tensors = TensorBatch.of(batch)
        assert tensors.target_BN.shape == (len(batch.user_idx), 1 + len(batch.candidate_idx))
        assert tensors.target_BN[:, 0].all() and tensors.target_BN.sum() == len(batch.user_idx)
        assert tensors.log_q_N[0] == 0 and np.array_equal(tensors.log_q_N[1:].numpy(), batch.log_q)
        assert np.array_equal(tensors.columns[:, 0].numpy(), batch.positive)
        train = sampler.train
        for row, (user, positive) in enumerate(zip(batch.user_idx, batch.positive, strict=True)):
            known = train.item_idx[train.indptr[user] : train.indptr[user + 1]]
            assert positive in known
            expected = ~np.isin(batch.candidate_idx, known)
            assert np.array_equal(tensors.valid_BN[row, 1:].numpy(), expected)
            met += positive in batch.candidate_idx
    assert met > 20


def test_a_pool_keeps_out_what_nobody_had_met_yet():
    train = log(with_time=True)
    first = train.first_timestamps
    batch = make(train, SharedPool(25, 0.0), only_available=True).batch(0, 0)
    valid = TensorBatch.of(batch).valid_BN[:, 1:].numpy()
    seen = np.zeros_like(valid)
    seen[batch.seen_row, batch.seen_column] = True
    seen |= batch.candidate_idx == batch.positive[:, None]
    assert np.array_equal(valid, (first[batch.candidate_idx] <= batch.pair_sec[:, None]) & ~seen)
    assert 0 < valid.mean() < 1


def test_places_by_a_loop():
    rng = np.random.default_rng(0)
    candidates = np.sort(rng.choice(50, 12, replace=False))
    items = rng.integers(0, 50, 200)
    where = {item: place for place, item in enumerate(candidates.tolist())}
    assert places(candidates, items).tolist() == [where.get(item, -1) for item in items.tolist()]


@pytest.mark.parametrize("candidates", [InBatch(), SampledNegatives(64), SharedPool(64), HardNegatives(64, 8, 8)])
def test_drawing_a_batch_takes_no_more_memory_in_a_catalogue_a_hundred_times_as_large(candidates):
    peaks = []
    for items in (3_000, 300_000):
        rng = np.random.default_rng(0)
        train = Interactions.from_events(np.repeat(np.arange(50), 8), rng.integers(0, items, 400), 50, items)
        sampler = make(train, candidates)
        sampler.batch(0, 0)  # tables of the catalogue's size are made once
        tracemalloc.start()
        sampler.batch(0, 1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 4_000


def test_the_same_candidates_serve_two_catalogues():
    candidates = SampledNegatives(40, 0.0)
    small, large = (Interactions.from_events(np.arange(3), np.arange(3) * step, 3, 3 * step) for step in (1, 10))
    for train, trained in ((small, {0, 1, 2}), (large, {0, 10, 20}), (small, {0, 1, 2})):
        assert set(make(train, candidates).batch(0, 0).candidate_idx.tolist()) == trained


@pytest.mark.parametrize("settings", [(10, 0, 0), (10, 11, 0), (10, 5, -1)])
def test_hard_negatives_out_of_range_are_refused(settings):
    with pytest.raises(
        ConfigError, match=r"expected 1 <= num_hard <= pool_size and num_uniform >= 0. Draw a larger pool"
    ):
        HardNegatives(*settings)


def test_full_catalogue_has_no_correction():
    assert make(log()).batch(0, 0).log_q.max() == 0.0


def test_before_needs_time():
    with pytest.raises(ConfigError, match="needs timestamps, and this log has none"):
        make(log(), history="before")


def test_what_nobody_had_met_yet_is_no_negative():
    train = log(with_time=True)
    first = {}
    for item, time in zip(train.item_idx.tolist(), train.timestamp.tolist(), strict=True):
        first[item] = min(time, first.get(item, time))
    found = set()
    for batch in epoch_of(make(train, only_available=True)):
        valid = TensorBatch.of(batch).valid_BN.numpy()
        seen = set(zip(batch.seen_row.tolist(), batch.seen_column.tolist(), strict=True))
        for row, now in enumerate(batch.pair_sec.tolist()):
            for column, item in enumerate(batch.candidate_idx.tolist()):
                known = first[item] <= now
                found.add(known)
                assert valid[row, column] == (known and (row, column) not in seen)
            assert valid[row, batch.target_column[row]]
    assert found == {True, False}


def test_by_default_that_holds_where_the_catalogue_renews_itself():
    train = log(with_time=True)
    for renewing in (True, False):
        for sampler in (
            PairSampler(train, FullCatalogue(), 16, 3, renewing=renewing),
            ItemsFirstSampler(train, 8, 3, 3, renewing=renewing),
        ):
            assert (sampler.batch(0, 0).pair_sec is not None) == renewing


@pytest.mark.parametrize(("with_time", "only_available"), [(True, False), (False, True)])
def test_every_item_is_a_negative_where_that_is_asked_for_or_there_is_no_time(with_time, only_available):
    batch = make(log(with_time=with_time), only_available=only_available).batch(0, 0)
    assert batch.pair_sec is None and batch.available_sec is None
    assert (~TensorBatch.of(batch).valid_BN).sum() == len(batch.seen_row)
