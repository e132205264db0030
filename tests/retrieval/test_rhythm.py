"""Rhythms against loops over events, and planted ones."""

import math

import numpy as np

from avrec.retrieval.rhythm import HOURS, rhythms

HOUR = 3600


def naive(item_idx, stamps, num_items):
    """Deviation of each item's smoothed hours from everybody's, as (N, H), not normalised; and the counts."""

    def smooth(hours):
        spread = np.zeros(HOURS)
        for hour in hours:
            kernel = [math.exp(-0.5 * (min((h - hour) % HOURS, (hour - h) % HOURS) / 2.0) ** 2) for h in range(HOURS)]
            spread += np.array(kernel) / sum(kernel)
        return spread / max(len(hours), 1)

    hours = [int(stamp // HOUR) % HOURS for stamp in stamps]
    everybody = smooth(hours)
    own = [[hour for hour, item in zip(hours, item_idx, strict=True) if item == one] for one in range(num_items)]
    deviations = [smooth(of_item) - everybody if of_item else np.zeros(HOURS) for of_item in own]
    return np.array(deviations), [len(of_item) for of_item in own]


def test_rhythms_are_those_of_the_loops():
    rng = np.random.default_rng(0)
    item_idx, stamps = rng.integers(0, 6, 80), rng.integers(-(10**6), 10**9, 80)
    direction, table = rhythms(item_idx, stamps, 8)
    deviations, counts = naive(item_idx, stamps, 8)
    assert counts[6:] == [0, 0]
    for item in range(6):
        expected = deviations[item] / np.linalg.norm(deviations[item])
        np.testing.assert_allclose(direction[item], expected, atol=1e-5)
        np.testing.assert_allclose(table[item], expected * counts[item] / (counts[item] + 10), atol=1e-5)
    assert not direction[6:].any() and not table[6:].any()


def test_planted_rhythms_are_found_and_the_week_is_round():
    """Items of the mornings and of the late Saturdays, which for a clock of the week's hours end at 167 and begin at 0."""
    rng = np.random.default_rng(1)
    morning, late = 24 * 1 + 8, 167
    rhythm = np.arange(12) % 2
    item_idx = np.repeat(np.arange(12), 30)
    hour = np.where(rhythm[item_idx] == 0, morning, late) + rng.integers(-2, 3, len(item_idx))
    stamps = (hour + HOURS * rng.integers(0, 50, len(item_idx))) * HOUR + rng.integers(0, HOUR, len(item_idx))
    direction, table = rhythms(item_idx, stamps, 12)
    likeness = direction @ table.T
    same = rhythm[:, None] == rhythm
    assert likeness[same].min() > 0.5 and likeness[~same].max() < -0.5


def test_an_item_used_as_all_are_has_no_rhythm_of_its_own():
    item_idx, stamps = np.array([0, 0, 1, 1]), np.array([0, HOUR * 50, 0, HOUR * 50])
    direction, _ = rhythms(item_idx, stamps, 2)
    assert not direction.any()


def test_few_events_are_believed_less():
    item_idx = np.array([0] * 40 + [1] + [2] * 40)
    stamps = np.array([5 * HOUR] * 41 + [90 * HOUR] * 40)
    direction, table = rhythms(item_idx, stamps, 3)
    assert direction[0] @ direction[1] > 0.99
    assert direction[0] @ table[1] < 0.1 < 0.7 < direction[1] @ table[0]
