"""`Question`: a request in the indices of the bundle that will answer it.

Axes: E events or hidden items, W width of a space.
"""

from dataclasses import dataclass, replace

import numpy as np

from avrec.bundle.strangers import Stranger, Understood, understood
from avrec.core.arrays import Float32, Int64
from avrec.core.query import UserQuery
from avrec.serving.messages import AnsweredBy, RecommendRequest, SimilarRequest, Wish
from avrec.serving.refusals import RefusedError
from avrec.serving.served import Served
from avrec.serving.spaces import Mode


@dataclass(frozen=True, eq=False)
class Question:
    """One list that is asked for.

    Attributes:
        served: the bundle that answers.
        mode: how.
        k: length of the list.
        hidden: (E,) item_idx that are not shown.
        only: distinct item_idx, nothing but which is shown; all when None.
        asker: a query of one user, or the direction (W,) of an item in the mode's space of likeness.
        by: what to call an answer that the model gives.
        unknown: items that the request names and the bundle does not know.
        explain: whether each score is taken apart.
        understood: of interests, friends and fields; None where the request tells none.
        way: the likeness that counts instead of the mode's; None where the request names none.
    """

    served: Served
    mode: Mode
    k: int
    hidden: Int64
    only: Int64 | None
    asker: UserQuery | Float32
    by: AnsweredBy
    unknown: tuple[str, ...]
    explain: bool = False
    understood: Understood | None = None
    way: str | None = None


def question_of_user(served: Served, request: RecommendRequest) -> Question:
    """The question for a known user, a history, a newcomer, or nobody.

    Raises:
        RefusedError: the bundle has no such mode.
    """
    require_mode(served, request.mode)
    user_idx = -1 if request.user is None else served.users.get(request.user, -1)
    unknown: list[str] = []
    if request.history is None and user_idx >= 0:
        query = UserQuery.of_users(np.array([user_idx], np.int64), served.bundle.history)
    else:
        query, unknown = _of_history(served, user_idx, request)
    seen = query.item_idx if request.exclude_seen else query.item_idx[:0]
    by: AnsweredBy = "history" if request.history is not None and len(query.item_idx) else "known user"
    question = _question(served, request, seen, query, by, unknown)
    return replace(question, understood=_understood(served, request))


def question_of_item(served: Served, request: SimilarRequest) -> Question:
    """The question for what resembles an item.

    Raises:
        RefusedError: the bundle does not know the item, has no such mode or way, or it knows nothing of the item.
    """
    require_mode(served, request.mode)
    item_idx = served.items.get(request.item)
    if item_idx is None:
        raise RefusedError(
            404, f"item {request.item!r} is not in this bundle. Upload it, or name one of the catalogue."
        )
    own = np.array([item_idx], np.int64)
    if request.by is not None:
        direction = _direction(served, request.by, request.item, item_idx)
        return replace(_question(served, request, own, direction, "item", []), way=request.by)
    if not served.spaces.held(request.mode)[item_idx]:
        lacks = "has no training events" if request.mode == "collaborative" else "has no content"
        raise RefusedError(422, f"mode: item {request.item!r} {lacks}; ask in another mode.")
    return _question(served, request, own, served.spaces.directions(request.mode, own)[0], "item", [])


def _direction(served: Served, by: str, item: str, item_idx: int) -> Float32:
    """What an item looks for in one way of likeness.

    Raises:
        RefusedError: the bundle has no such way, or it knows nothing of the item.
    """
    likeness = served.recommender.likeness
    if by not in likeness.names:
        raise RefusedError(422, f"by: this bundle cannot answer by {by!r}; use one of {likeness.names}.")
    way = likeness.way(by)
    if not way.known_N[item_idx]:
        raise RefusedError(422, f"by: item {item!r} has {likeness.lacking(by)}; ask in another way.")
    served.spaces.way(likeness, by)  # here, not in the thread that ranks for everybody
    direction: Float32 = way.direction_NW[item_idx]
    return direction


def question_of_upload(served: Served, wish: Wish, ids_D: Float32, content_C: Float32) -> Question:
    """The question for what resembles an upload with these segments."""
    direction = served.spaces.direction(wish.mode, ids_D[None], content_C[None])[0]
    return _question(served, wish, np.zeros(0, np.int64), direction, "upload", [])


def require_mode(served: Served, mode: Mode) -> None:
    """Refuse a mode that the bundle cannot answer in.

    Raises:
        RefusedError: it cannot.
    """
    if mode not in served.modes():
        raise RefusedError(
            422, f"mode: this bundle was trained on ids alone and cannot answer by {mode}; use one of {served.modes()}."
        )


def _understood(served: Served, request: RecommendRequest) -> Understood | None:
    """What the bundle understands of interests, friends and fields."""
    if request.interests is None and request.friends is None and request.fields is None:
        return None
    interests: dict[str, float] = {}
    given = request.interests or []
    for tag, weight in zip(given, request.interest_weights or [1.0] * len(given), strict=True):
        interests[tag] = interests.get(tag, 0.0) + weight
    stranger = Stranger(interests=interests, friends=request.friends or (), fields=request.fields or {})
    return understood(served.bundle.newcomers, stranger, served.find_users, len(served.users))


def _of_history(served: Served, user_idx: int, request: RecommendRequest) -> tuple[UserQuery, list[str]]:
    history = request.history or []
    item_idx = served.find(history)
    known = item_idx >= 0
    weight = np.ones(len(history), np.float32) if request.weights is None else np.array(request.weights, np.float32)
    age_days = (
        np.zeros(len(history), np.float32) if request.ages_days is None else np.array(request.ages_days, np.float32)
    )
    indptr = np.array([0, known.sum()], np.int64)
    query = UserQuery(np.array([user_idx], np.int64), indptr, item_idx[known], weight[known], age_days[known])
    return query, [history[place] for place in np.flatnonzero(~known)]


def _question(
    served: Served, wish: Wish, seen: Int64, asker: UserQuery | Float32, by: AnsweredBy, unknown: list[str]
) -> Question:
    only = None
    hidden = np.concatenate([seen, _known(served, wish.exclude, unknown)]) if wish.exclude else seen
    if wish.only is not None:
        only = np.unique(_known(served, wish.only, unknown))
    return Question(served, wish.mode, wish.k, hidden, only, asker, by, tuple(dict.fromkeys(unknown)), wish.explain)


def _known(served: Served, item_ids: list[str], unknown: list[str]) -> Int64:
    """item_idx of the known ones; the others are added to the list."""
    item_idx = served.find(item_ids)
    unknown += [item_ids[place] for place in np.flatnonzero(item_idx < 0)]
    return item_idx[item_idx >= 0]
