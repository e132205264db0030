"""`Stranger`: somebody whom the bundle does not know, with what he tells of himself, and what of it the bundle understands.

Axes: B strangers, E entries.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from avrec.bundle.newcomer_tables import NewcomerTables
from avrec.bundle.queries import query_histories
from avrec.bundle.reader import Bundle
from avrec.core.arrays import Int64
from avrec.core.errors import DataError
from avrec.core.query import UserQuery
from avrec.core.sparse import SparseRows
from avrec.retrieval.told import Told

Value = str | float


@dataclass(frozen=True)
class Stranger:
    """What somebody tells; he is answered from the first of these that the bundle understands.

    Attributes:
        history: item ids, oldest first.
        interests: tags, or {tag: weight}; with a history beside them both count.
        friends: ids of users whom the bundle knows.
        fields: {field: value}, such as an age or a country.
    """

    history: Sequence[str] = ()
    interests: Sequence[str] | Mapping[str, float] = ()
    friends: Sequence[str] = ()
    fields: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Understood:
    """What a bundle understands of what one stranger tells.

    Attributes:
        told: one row.
        unknown_interests: tags that nobody's history carries.
        unknown_friends: ids that the bundle does not know.
        unknown_fields: fields that the bundle does not know, or whose value it does not know.
    """

    told: Told
    unknown_interests: tuple[str, ...]
    unknown_friends: tuple[str, ...]
    unknown_fields: tuple[str, ...]


def understood(
    tables: NewcomerTables, stranger: Stranger, find_users: Callable[[Sequence[str]], Int64], num_users: int
) -> Understood:
    """Translate what a stranger tells besides a history.

    Args:
        tables: of the bundle.
        stranger: who tells it.
        find_users: gives the index of each user id, -1 where there is none.
        num_users: of the bundle.

    Raises:
        DataError: the weight of an interest is not a positive number.
    """
    interests = _weights(stranger.interests)
    sizes = tables.newcomers.tag_size
    tags = [tables.tag_places.get(tag, -1) for tag in interests]
    known_tags = [place >= 0 and sizes[place] > 0 for place in tags]
    friends = list(dict.fromkeys(stranger.friends))
    users = find_users(friends)
    groups = [tables.groups.find(name, value) for name, value in stranger.fields.items()]
    told = Told(
        _row(tags, len(tables.tags), list(interests.values())),
        _row(users.tolist(), num_users),
        _row(groups, len(tables.groups)),
    )
    return Understood(
        told,
        tuple(tag for tag, known in zip(interests, known_tags, strict=True) if not known),
        tuple(friend for friend, place in zip(friends, users.tolist(), strict=True) if place < 0),
        tuple(name for name, place in zip(stranger.fields, groups, strict=True) if place < 0),
    )


def query_strangers(bundle: Bundle, strangers: Sequence[Stranger]) -> tuple[UserQuery, Told, list[tuple[str, ...]]]:
    """The question for strangers, what they tell besides a history, and for each what the bundle does not know of it.

    Args:
        bundle: who is to answer.
        strangers: B of them.

    Raises:
        DataError: the weight of an interest is not a positive number.
    """
    num_users = len(bundle.users)
    rows = [understood(bundle.newcomers, stranger, bundle.users.index, num_users) for stranger in strangers]
    histories = [list(stranger.history) for stranger in strangers]
    found = [bundle.items.index(history) for history in histories]
    unknown = [
        tuple(
            [f"item {item!r}" for item, place in zip(history, places.tolist(), strict=True) if place < 0]
            + [f"interest {tag!r}" for tag in row.unknown_interests]
            + [f"friend {friend!r}" for friend in row.unknown_friends]
            + [f"field {name!r} of {stranger.fields[name]!r}" for name in row.unknown_fields]
        )
        for stranger, history, places, row in zip(strangers, histories, found, rows, strict=True)
    ]
    nothing = bundle.newcomers.told.taken(np.zeros(0, np.int64))
    told = Told.stacked([nothing, *(row.told for row in rows)])
    return query_histories(bundle, histories, unknown="skip"), told, unknown


def _weights(interests: Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    given = interests if isinstance(interests, Mapping) else dict.fromkeys(interests, 1.0)
    wrong = [
        f"interest {tag!r} weighs {weight!r}; give a positive number."
        for tag, weight in given.items()
        if not 0 < weight < math.inf
    ]
    if wrong:
        raise DataError(wrong)
    return dict(given)


def _row(places: Sequence[int], width: int, weights: Sequence[float] | None = None) -> SparseRows:
    """One row from the places that are known."""
    column = np.array(places, np.int64)
    weight = np.ones(len(column), np.float32) if weights is None else np.array(weights, np.float32)
    known = column >= 0
    return SparseRows.from_entries(np.zeros(known.sum(), np.int64), column[known], 1, width, weight[known])
