"""The calls on which exported towers are compared with PyTorch: real rows, every batch size and every gap that may occur.

Axes: B users in the batch, L history length.
"""

from itertools import product

import numpy as np

from avrec.core.arrays import Float32, Int64
from avrec.core.query import UserQuery, padded
from avrec.export.sample import Arrays, ItemSample, spread
from avrec.export.tables import Tables

BATCHES = (1, 2, 7)  # 1 is what torch.export likes to take for a constant
MANY_ITEMS = 256


def item_calls(sample: ItemSample) -> list[Arrays]:
    """Batches of many, 1, 2 and 7 items: as they are, with each modality and all missing, and without an id.

    Encoders of raw media are dear: there gaps are made in the batch of 2 alone. The first call is `many_items`.
    """
    calls = []
    masks = [f"mask_{name}" for name in sample.modalities]
    for places in (many_items(sample), *(spread(len(sample), size) for size in BATCHES)):
        whole = sample.taken(places)
        calls.append(whole)
        if sample.media and len(places) != 2:
            continue
        for hidden in [[name] for name in masks] + [masks]:
            calls.append(whole | {name: np.zeros_like(whole[name]) for name in hidden})
        calls.append(whole | {name: np.zeros_like(whole[name]) for name in ("id_vector", "bias", "evidence")})
    return calls


def many_items(sample: ItemSample) -> Int64:
    """Places in the sample of the largest batch."""
    return spread(len(sample), MANY_ITEMS)


def user_calls(tables: Tables, max_items: int) -> list[Arrays]:
    """Batches of 1, 2, 7 users with histories cut to 1, 3 and all: as they are, one empty, all empty, strangers."""
    calls = []
    users_with_events = np.flatnonzero(tables.history.user_counts)
    for size, length in product(BATCHES, sorted({1, min(3, max_items), max_items})):
        users = users_with_events[spread(len(users_with_events), size)]
        call = user_inputs(tables, UserQuery.of_users(users, tables.history), length)
        first_empty = call["mask"].copy()
        first_empty[:1] = False
        calls += [
            call,
            call | {"mask": first_empty},
            call | {"mask": np.zeros_like(call["mask"])},
            call | {"user_vector": np.zeros_like(call["user_vector"])},
        ]
    return calls


def user_inputs(tables: Tables, query: UserQuery, length: int) -> Arrays:
    """The user tower's inputs for known users, padded to exactly `length` events."""
    block = padded(query, length)
    missing = ((0, 0), (0, length - block.mask.shape[1]))
    weight, age, mask = (np.pad(values, missing) for values in block[1:])
    return {
        "user_vector": _rows(tables.user_vectors, query.user_idx),
        "history_vectors": _rows(tables.history_vectors, np.pad(block.item_idx, missing)),
        "weights": weight,
        "ages": age,
        "mask": mask,
    }


def _rows(table: Float32, index: Int64) -> Float32:
    return np.ascontiguousarray(table[index])
