"""From questions to lists: everything that runs in the worker's thread.

Axes: B questions, E hidden items, W width of a space.
"""

from typing import NamedTuple, cast

import numpy as np

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.query import UserQuery
from avrec.serving.messages import AnsweredBy
from avrec.serving.questions import Question
from avrec.serving.spaces import Hidden


class Found(NamedTuple):
    """item_idx, best first, at most k; their scores; and from what they come."""

    item_idx: Int64
    scores: Float32
    by: AnsweredBy


def group_key(question: Question) -> tuple[object, ...]:
    """Questions with equal keys may be ranked together; one that names the only items it wants is ranked alone."""
    alone = question if question.only is not None else None
    return id(question.served), question.mode, isinstance(question.asker, UserQuery), alone


def rank(questions: list[Question]) -> list[Found]:
    """Answer questions of one group.

    Raises:
        AvrecError: the model failed.
    """
    first = questions[0]
    if isinstance(first.asker, UserQuery):
        query = _joined([cast(UserQuery, question.asker) for question in questions])
        vectors = first.served.recommender.user_vectors(query)
        directions, told = first.served.spaces.user_part(first.mode, vectors), _told(questions, query)
        space = first.served.spaces.for_users(first.mode)
    else:
        directions = np.stack([cast(Float32, question.asker) for question in questions])
        told = np.any(directions, axis=1)
        space = first.served.spaces.alike(first.mode)
    k = min(max(question.k for question in questions), len(first.served.item_ids))
    item_idx, scores = space.search(directions, k, _hidden(questions), first.only)
    return [
        _found(question, item_idx[row], scores[row]) if told[row] else popular(question)
        for row, question in enumerate(questions)
    ]


def popular(question: Question) -> Found:
    """The answer without the model."""
    item_idx, scores = question.served.popularity.top(question.k, question.hidden, question.only)
    return Found(item_idx, scores, "popularity")


def _found(question: Question, item_idx: Int64, scores: Float32) -> Found:
    shown = int((item_idx[: question.k] >= 0).sum())
    return Found(item_idx[:shown], scores[:shown], question.by)


def _told(questions: list[Question], query: UserQuery) -> Bool:
    """(B,) true where the model knows anything of the user that counts in this mode."""
    served, mode = questions[0].served, questions[0].mode
    informative = np.append(served.spaces.informative[mode][query.item_idx], False)
    told = np.logical_or.reduceat(informative, query.indptr[:-1]) & (np.diff(query.indptr) > 0)
    if mode != "content":
        known = np.flatnonzero(query.user_idx >= 0)
        told[known] |= served.bundle.user_vectors[query.user_idx[known]].any(axis=1)
    return told


def _joined(queries: list[UserQuery]) -> UserQuery:
    if len(queries) == 1:
        return queries[0]
    lengths = np.array([len(query.item_idx) for query in queries], np.int64)
    return UserQuery(
        user_idx=np.concatenate([query.user_idx for query in queries]),
        indptr=_indptr(lengths),
        item_idx=np.concatenate([query.item_idx for query in queries]),
        weight=np.concatenate([query.weight for query in queries]),
        age_days=np.concatenate([query.age_days for query in queries]),
    )


def _hidden(questions: list[Question]) -> Hidden:
    lengths = np.array([len(question.hidden) for question in questions], np.int64)
    return _indptr(lengths), np.concatenate([question.hidden for question in questions])


def _indptr(lengths: Int64) -> Int64:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
