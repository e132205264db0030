"""`Answered`: with which vector a user is served, and from what that vector comes.

Axes: B users in the batch, W width of a user's vector.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from avrec.bundle.reader import Bundle
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.query import UserQuery
from avrec.retrieval.newcomers import How as UserHow
from avrec.retrieval.told import Told

How = Literal[UserHow, "item"]
HOW: tuple[How, ...] = get_args(How)
POPULARITY = HOW.index("popularity")


@dataclass(frozen=True)
class Answered:
    """The users of a query.

    Attributes:
        vectors: (B, W); where `how` is popularity no vector says it.
        how: (B,) from what, as a place in `HOW`.
    """

    vectors: Float32
    how: Int64


def answered(
    bundle: Bundle,
    query: UserQuery,
    user_vectors: Callable[[UserQuery], Float32],
    told: Told | None = None,
    informed: Bool | None = None,
) -> Answered:
    """Serve users by their history, and those without one from what they tell.

    Args:
        bundle: knows what its users without a history told.
        query: B users.
        user_vectors: the user tower.
        told: what they tell besides; a known user's own is added.
        informed: (B,) whose history says anything; whose it does not is served as without one. All when None.

    Returns:
        A known user who has neither history nor anything told, but a vector of his own, is served by that.
    """
    tables, known = bundle.newcomers, query.user_idx >= 0
    num_events = np.diff(query.indptr) if informed is None else np.diff(query.indptr) * informed
    vectors = user_vectors(query)
    how = np.where(known, HOW.index("known user"), HOW.index("history"))
    asked, stated = query.user_idx[known], tables.told.interests.indptr
    if told is None and num_events.all() and not (stated[asked + 1] > stated[asked]).any():
        return Answered(vectors, how)  # the usual question, which must not pay for the others
    stored = tables.told.taken(query.user_idx)
    told = stored if told is None else told.joined(stored)
    rows = np.flatnonzero((num_events == 0) | (told.interests.row_counts > 0))
    if len(rows):

        def of_known(users: Int64) -> tuple[Float32, Bool]:
            histories = UserQuery.of_users(users, bundle.history).as_strangers()
            return user_vectors(histories), np.diff(histories.indptr) > 0

        found = tables.newcomers.answer(told.taken(rows), vectors[rows], num_events[rows], of_known)
        ways = np.array([HOW.index(way) for way in found.how])
        own = known[rows] & bundle.user_vectors[np.maximum(query.user_idx[rows], 0)].any(axis=1)
        vectors[rows[ways != POPULARITY]] = found.vectors[ways != POPULARITY]
        changed = (ways != HOW.index("history")) & ~((ways == POPULARITY) & own)
        how[rows[changed]] = ways[changed]
    return Answered(vectors, how)
