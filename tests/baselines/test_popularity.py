"""Recent popularity against a loop over the events."""

from dataclasses import replace

import numpy as np
import pytest

from avrec.baselines.popularity import Popularity
from avrec.baselines.recent_popularity import RecentPopularity
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from tests.baselines.world import known, random_world

DAY = 86_400


def timed_world() -> Dataset:
    """The random world with its events at random seconds of 100 days, one of them on the last."""
    dataset = random_world()
    train = dataset.train
    seconds = np.random.default_rng(1).integers(0, 100 * DAY, len(train))
    seconds[7] = 100 * DAY
    timed = Interactions.from_events(
        train.user_idx, train.item_idx, train.num_users, train.num_items, train.weight, seconds + 1_500_000_000
    )
    return replace(dataset, train=timed)


@pytest.mark.parametrize(("half_life", "window"), [(10.0, None), (None, 30.0), (5.0, 12.5), (None, None)])
def test_each_event_counts_by_its_age(half_life, window):
    dataset = timed_world()
    expected = np.zeros(dataset.num_items)
    for item, second in zip(dataset.train.item_idx, dataset.train.timestamp, strict=True):
        age = (dataset.train.timestamp.max() - second) / DAY
        if window is None or age <= window:
            expected[item] += 1 if half_life is None else 0.5 ** (age / half_life)
    scores = RecentPopularity(half_life, window).fit(dataset).score(known(dataset))
    assert np.allclose(scores, np.tile(expected, (dataset.num_users, 1)), rtol=1e-6)


def test_without_window_and_half_life_it_is_popularity():
    dataset = timed_world()
    assert np.array_equal(
        RecentPopularity(None, None).fit(dataset).score(known(dataset)), Popularity().fit(dataset).score(known(dataset))
    )


def test_an_event_as_old_as_the_window_counts():
    base = random_world()
    days = np.array([0, 3, 4, 10]) * DAY
    train = Interactions.from_events(np.zeros(4, np.int64), np.arange(4), base.num_users, base.num_items, None, days)
    scores = RecentPopularity(None, 7.0).fit(replace(base, train=train)).item_scores
    assert scores[:5].tolist() == [0, 1, 1, 1, 0]


def test_what_is_new_overtakes_what_is_old():
    base = random_world()
    items, days = np.array([1, 1, 1, 2]), np.array([0, 1, 2, 50]) * DAY
    train = Interactions.from_events(np.arange(4), items, base.num_users, base.num_items, None, days)
    dataset = replace(base, train=train)
    assert Popularity().fit(dataset).item_scores[1] > Popularity().fit(dataset).item_scores[2]
    recent = RecentPopularity(half_life_days=7.0).fit(dataset).item_scores
    assert recent[2] > recent[1]


def test_without_timestamps_it_says_what_to_do():
    with pytest.raises(ConfigError, match=r"recent_popularity: the data set 'random' has no timestamps.*Leave this"):
        RecentPopularity().fit(random_world())


def test_without_events_nothing_is_popular():
    dataset = timed_world()
    nothing = dataset.train.select(np.zeros(len(dataset.train), np.bool_))
    assert not RecentPopularity().fit(replace(dataset, train=nothing)).item_scores.any()


@pytest.mark.parametrize(("half_life", "window"), [(0.0, None), (None, -1.0)])
def test_days_must_be_positive(half_life, window):
    with pytest.raises(
        ConfigError, match=r"(half_life|window)_days is (0\.0|-1\.0); expected a positive number of days"
    ):
        RecentPopularity(half_life, window)
