"""When people use an item: its events over the hours of a week, against everybody's.

Axes: N items, E events, H the 168 hours of a week.
"""

import numpy as np

from avrec.core.arrays import Float32, Float64, Int64

HOURS = 168
HOUR_SEC = 3600
SPREAD_HOURS = 2.0  # standard deviation of the smoothing: an event at nine says something of eight and ten
PRIOR_EVENTS = 10.0  # an item with as many events is believed by half


def rhythms(item_idx_E: Int64, timestamp_E: Int64, num_items: int) -> tuple[Float32, Float32]:
    """How the hours of each item differ from those of all items together.

    Events are counted by the hour of the week in universal time, smoothed by a Gaussian that goes round the week, and divided
    by their number; the same of all events is subtracted, since most items are used when people are awake, and that says
    nothing. Two items resemble each other by the cosine of what remains, times how far the second one's number of events n
    can be believed, `n / (n + 10)`.

    Returns:
        directions (N, H) of unit length, zero for an item without events, or used exactly as all are; and the same times
        the belief (N, H).
    """
    hour_E = np.floor_divide(timestamp_E, HOUR_SEC) % HOURS
    count_NH = np.bincount(item_idx_E * HOURS + hour_E, minlength=num_items * HOURS).reshape(num_items, HOURS)
    count_N1 = count_NH.sum(axis=1, keepdims=True)
    smooth_HH = _smoothing()
    everybody_H = count_NH.sum(axis=0) @ smooth_HH / max(len(item_idx_E), 1)
    share_NH = (count_NH.astype(np.float32) @ smooth_HH.astype(np.float32)) / np.maximum(count_N1, 1)
    difference_NH = np.where(count_N1 > 0, share_NH - everybody_H, 0.0)
    length_N1 = np.linalg.norm(difference_NH, axis=1, keepdims=True)
    told_N1 = length_N1 > 1e-6  # what is left of single precision where an item is used exactly as all are
    direction_NH = np.where(told_N1, difference_NH / np.where(told_N1, length_N1, 1.0), 0.0).astype(np.float32)
    belief_N1 = (count_N1 / (count_N1 + PRIOR_EVENTS)).astype(np.float32)
    return direction_NH, direction_NH * belief_N1


def _smoothing() -> Float64:
    """(H, H) rows that sum to 1: how an event's hour is spread over the week."""
    hour = np.arange(HOURS)
    apart = np.abs(hour[:, None] - hour)
    kernel_HH = np.exp(-0.5 * (np.minimum(apart, HOURS - apart) / SPREAD_HOURS) ** 2)
    return np.asarray(kernel_HH / kernel_HH.sum(axis=1, keepdims=True))
