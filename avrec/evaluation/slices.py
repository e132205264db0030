"""Which targets are cold, warm, in the tail, of new users, or lack a modality."""

import numpy as np

from avrec.core.arrays import Bool, Int64
from avrec.core.dataset import Dataset

TAIL_SHARE = 0.2


def target_slices(dataset: Dataset, user_idx: Int64, item_idx: Int64) -> dict[str, Bool]:
    """For each slice by name, which of T targets belong to it.

    Args:
        dataset: the slices are defined by its *train* part.
        user_idx: (T,) user of each target.
        item_idx: (T,) item of each target.
    """
    cold = dataset.cold_items[item_idx]
    slices = {
        "cold": cold,
        "warm": ~cold,
        "tail": tail_items(dataset)[item_idx],
        "new_users": dataset.new_users[user_idx],
    }
    return slices | {f"missing_{name}": ~feature.present[item_idx] for name, feature in dataset.features.items()}


def tail_items(dataset: Dataset) -> Bool:
    """(num_items,) true for the least popular trained items that together hold at most 20 % of the training events.

    The line is drawn between two counts, never between items of equal count: an item is in the tail if all items with as
    many training events as it or fewer hold at most 20 % of them together. Items without a training event are cold, not tail.
    """
    counts = dataset.train.item_counts
    events_by_count = np.bincount(counts, weights=counts)
    in_tail = np.cumsum(events_by_count) <= TAIL_SHARE * counts.sum()
    return np.asarray(in_tail[counts] & (counts > 0))
