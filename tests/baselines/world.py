"""A planted world for every baseline: users consume from their block only, and features show the block."""

import numpy as np

from avrec.core.dataset import Dataset, Feature
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery

NUM_BLOCKS, USERS_EACH, ITEMS_EACH = 3, 20, 8
NUM_USERS, NUM_ITEMS = NUM_BLOCKS * USERS_EACH + 1, NUM_BLOCKS * ITEMS_EACH
COLD_ITEM = ITEMS_EACH - 1  # the last of block 0
NO_AUDIO = 1


def block_world(seed: int = 0) -> Dataset:
    """5 train, 1 validation and 1 test event a user, one a day, all in his block; one cold item; the last user has no event.

    Item 7 (block 0) is held out of everybody's training; item 1 has no audio.
    """
    rng = np.random.default_rng(seed)
    users = np.arange(NUM_USERS - 1)
    orders = np.array([rng.permutation(ITEMS_EACH - 1)[:7] for _ in users])
    items = orders + (users // USERS_EACH * ITEMS_EACH)[:, None]

    def part(columns: slice) -> Interactions:
        chosen = items[:, columns]
        day = np.tile(np.arange(items.shape[1])[columns], len(users))
        who = np.repeat(users, chosen.shape[1])
        return Interactions.from_events(who, chosen.ravel(), NUM_USERS, NUM_ITEMS, None, 86_400 * day)

    return Dataset(
        name="blocks",
        content_hash="blocks-hash",
        users=IdMap([f"u{user:03d}" for user in range(NUM_USERS)]),
        items=IdMap([f"i{item:03d}" for item in range(NUM_ITEMS)]),
        train=part(slice(0, 5)),
        validation=part(slice(5, 6)),
        test=part(slice(6, 7)),
        features={"audio": _feature(rng, 6, NO_AUDIO), "visual": _feature(rng, 9, None)},
    )


def _feature(rng: np.random.Generator, dim: int, absent: int | None) -> Feature:
    centres = 4 * rng.standard_normal((NUM_BLOCKS, dim))
    values = np.repeat(centres, ITEMS_EACH, axis=0) + rng.standard_normal((NUM_ITEMS, dim))
    present = np.ones(NUM_ITEMS, np.bool_)
    if absent is not None:
        present[absent] = False
        values[absent] = 0
    return Feature(values.astype(np.float32), present)


def random_world(seed: int = 0, num_users: int = 25, num_items: int = 14) -> Dataset:
    """Random weighted events without structure, to compare with naive formulas; the last item and user have no event."""
    rng = np.random.default_rng(seed)
    seen = rng.random((num_users, num_items)) < 0.35
    seen[:, -1] = False
    seen[-1] = False
    users, items = np.nonzero(seen)
    weight = rng.integers(1, 5, len(users)).astype(np.float32)
    train = Interactions.from_events(users, items, num_users, num_items, weight)
    nothing = train.select(np.zeros(len(train), np.bool_))
    present = np.ones(num_items, np.bool_)
    present[2] = False
    features = {
        name: Feature((rng.standard_normal((num_items, dim)) * present[:, None]).astype(np.float32), present)
        for name, dim in (("audio", 4), ("visual", 6))
    }
    ids = [IdMap([f"{row:03d}" for row in range(number)]) for number in (num_users, num_items)]
    return Dataset("random", "random-hash", ids[0], ids[1], train, nothing, nothing, features)


def known(dataset: Dataset, history: Interactions | None = None) -> UserQuery:
    """All users with their training history, or another."""
    return UserQuery.of_users(np.arange(dataset.num_users), dataset.train if history is None else history)


def strangers(query: UserQuery) -> UserQuery:
    """The same histories of users nobody knows."""
    return UserQuery(np.full(len(query), -1), query.indptr, query.item_idx, query.weight, query.age_days)


def dense(interactions: Interactions) -> np.ndarray:
    """(U, N) float64, by a loop."""
    matrix = np.zeros((interactions.num_users, interactions.num_items))
    for user, item, weight in zip(interactions.user_idx, interactions.item_idx, interactions.weight, strict=True):
        matrix[user, item] += weight
    return matrix
