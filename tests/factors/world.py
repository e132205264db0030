"""A planted world: users and items in blocks, users consume only from their own block."""

import numpy as np

from avrec.core.interactions import Interactions

NUM_BLOCKS, USERS_EACH, ITEMS_EACH = 3, 20, 8


def block_interactions(seed: int = 0) -> Interactions:
    """Each user consumed 5 of the 8 items of his block; the last item of the catalogue and the last user have no event."""
    rng = np.random.default_rng(seed)
    num_users, num_items = NUM_BLOCKS * USERS_EACH + 1, NUM_BLOCKS * ITEMS_EACH + 1
    users = np.repeat(np.arange(num_users - 1), 5)
    items = [user // USERS_EACH * ITEMS_EACH + rng.permutation(ITEMS_EACH)[:5] for user in range(num_users - 1)]
    return Interactions.from_events(users, np.concatenate(items), num_users, num_items)


def unseen_in_block_first(scores: np.ndarray, train: Interactions) -> bool:
    """Whether every user's three unseen items of his block come before all items of other blocks."""
    scores = scores.copy()[:-1, :-1]
    scores[train.user_idx, train.item_idx] = -np.inf
    best = np.argsort(-scores, axis=1)[:, : ITEMS_EACH - 5] // ITEMS_EACH
    return bool((best == np.arange(len(scores))[:, None] // USERS_EACH).all())
