"""When the held-out parts begin: what happened from then on may not reach what is learnt."""

import numpy as np
import pyarrow as pa

from avrec.core.arrays import Bool, Int64
from avrec.data.layout import PARTS

NEVER = np.iinfo(np.int64).max


def held_out_from(log: pa.Table, num_users: int) -> Int64 | None:
    """When the next part begins for each user.

    Where the parts share no second, as after a split at one moment, that moment holds for everybody; else each user has
    his own: his first event in a later part.

    Args:
        log: `user`, `timestamp` and `part` of the kept events.
        num_users: U.

    Returns:
        (U, 2) seconds: the beginning of what is held out from train, and from train and validation; `NEVER` where nothing
        is. None for a log without time.
    """
    if not len(log) or log["timestamp"].null_count:
        return None
    user, time, part = (np.asarray(log[name]).astype(np.int64) for name in ("user", "timestamp", "part"))
    cuts = np.full((num_users, len(PARTS) - 1), NEVER)
    for code in range(1, len(PARTS)):
        later = part >= code
        if not later.any():
            continue
        moment = time[later].min()
        if later.all() or time[~later].max() < moment:
            cuts[:, code - 1] = moment
        else:
            np.minimum.at(cuts[:, code - 1], user[later], time[later])
    return cuts


def in_held_out(log: pa.Table, user: Int64, item: Int64, num_items: int) -> Bool:
    """(rows,) true where the pair of user and item is in validation or test."""
    pairs = np.asarray(log["user"]).astype(np.int64) * num_items + np.asarray(log["item"])
    return np.isin(user * num_items + item, pairs[np.asarray(log["part"]) > 0])
