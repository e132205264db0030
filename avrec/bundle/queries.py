"""From a caller's ids to a `UserQuery` in a bundle's indices."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from avrec.bundle.reader import Bundle
from avrec.core.errors import DataError
from avrec.core.query import UserQuery

UnknownUser = Literal["error", "no history"]
UnknownItem = Literal["error", "skip"]
MAX_NAMED = 20


def query_users(
    bundle: Bundle, user_ids: Sequence[str], unknown: UnknownUser = "error", now_sec: int | None = None
) -> UserQuery:
    """The question for users with everything the bundle knows of them.

    Args:
        bundle: where they are known.
        user_ids: B of them.
        unknown: `error`, or `no history`: serve an unknown user as somebody of whom nothing is known.
        now_sec: when the question is asked, seconds since 1970; each user's last event when None, as in evaluation.

    Raises:
        DataError: an id is unknown and `unknown` is `error`.
    """
    user_idx = bundle.users.index(user_ids)
    known = user_idx >= 0
    if unknown == "error":
        _refuse(
            bundle,
            "user id",
            user_ids,
            known,
            "Give the user's history instead, or serve unknown users as 'no history' (avrec recommend: unknown=serve).",
        )
    now = None if now_sec is None else np.full(int(known.sum()), now_sec, np.int64)
    query = UserQuery.of_users(user_idx[known], bundle.history, now)
    counts = np.zeros(len(user_idx), np.int64)
    counts[known] = np.diff(query.indptr)
    return UserQuery(user_idx, _indptr(counts), query.item_idx, query.weight, query.age_days)


def query_histories(bundle: Bundle, histories: Sequence[Sequence[str]], unknown: UnknownItem = "error") -> UserQuery:
    """The question for strangers of whom only a history is given; every event weighs 1 and has age 0.

    Args:
        bundle: whose items they are.
        histories: B lists of item ids, oldest first; a list may be empty.
        unknown: `error`, or `skip` items that the bundle does not know.

    Raises:
        DataError: an item id is unknown and `unknown` is `error`.
    """
    flat = [item_id for history in histories for item_id in history]
    item_idx = bundle.items.index(pa.array(flat, pa.large_string()))
    known = item_idx >= 0
    if unknown == "error":
        _refuse(bundle, "item id", flat, known, "Leave it out, or skip unknown items (avrec recommend: unknown=serve).")
    lengths = np.fromiter((len(history) for history in histories), np.int64, len(histories))
    row = np.repeat(np.arange(len(histories)), lengths)
    counts = np.bincount(row[known], minlength=len(histories)).astype(np.int64)
    num_events = int(known.sum())
    return UserQuery(
        user_idx=np.full(len(histories), -1, np.int64),
        indptr=_indptr(counts),
        item_idx=item_idx[known],
        weight=np.ones(num_events, np.float32),
        age_days=np.zeros(num_events, np.float32),
    )


def check_query(bundle: Bundle, query: UserQuery) -> None:
    """Refuse indices that the bundle does not have, which would otherwise read another row.

    Raises:
        DataError: an index is out of range, or a weight or age is not finite.
    """
    problems = []
    for name, index, low, size in (
        ("user_idx", query.user_idx, -1, len(bundle.users)),
        ("item_idx", query.item_idx, 0, len(bundle.items)),
    ):
        if len(index) and not low <= index.min() <= index.max() < size:
            problems.append(f"{name} holds {index.min()} ... {index.max()}; {bundle.folder} has {low} ... {size - 1}.")
    for name, values in (("weight", query.weight), ("age_days", query.age_days)):
        if not np.isfinite(values).all():
            problems.append(f"{name} holds a value that is not finite. Give a number for every event.")
    if problems:
        raise DataError(problems)


def _indptr(counts: np.ndarray) -> np.ndarray:
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return indptr


def _refuse(bundle: Bundle, what: str, ids: Sequence[str], known: np.ndarray, remedy: str) -> None:
    bad = np.flatnonzero(~known)
    if len(bad):
        named = [f"{what} {ids[index]!r} is not in {bundle.folder}. {remedy}" for index in bad[:MAX_NAMED]]
        rest = [f"... and {len(bad) - MAX_NAMED} more."] if len(bad) > MAX_NAMED else []
        raise DataError(named + rest)
