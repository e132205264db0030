"""From questions to lists: everything that runs in the worker's thread.

Axes: B questions, E hidden items, W width of a space.
"""

from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np

from avrec.bundle.answered import HOW, POPULARITY, How
from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.query import UserQuery
from avrec.retrieval.told import Told
from avrec.serving.explain import Parts
from avrec.serving.messages import AnsweredBy
from avrec.serving.questions import Question
from avrec.serving.spaces import Hidden, Space


class Found(NamedTuple):
    """item_idx, best first, at most k; their scores; from what they come; and the parts of the scores where they were asked for."""

    item_idx: Int64
    scores: Float32
    by: AnsweredBy
    parts: Parts | None = None


def group_key(question: Question) -> tuple[object, ...]:
    """Questions with equal keys may be ranked together; one that names the only items it wants is ranked alone."""
    alone = question if question.only is not None else None
    return id(question.served), question.mode, question.way, isinstance(question.asker, UserQuery), alone


def rank(questions: list[Question]) -> list[Found]:
    """Answer questions of one group.

    Raises:
        AvrecError: the model failed.
    """
    first = questions[0]
    if isinstance(first.asker, UserQuery):
        query = _joined([cast(UserQuery, question.asker) for question in questions])
        informed = _informed(questions, query)
        answered = first.served.recommender.answered(query, _told(questions), informed)
        directions = first.served.spaces.user_part(first.mode, answered.vectors)
        told = np.any(directions, axis=1) & (answered.how != POPULARITY)
        if first.mode == "content":  # where a user's own vector says nothing
            told &= informed | (answered.how != HOW.index("known user"))
        questions = [_named(question, HOW[how]) for question, how in zip(questions, answered.how.tolist(), strict=True)]
        space = first.served.spaces.for_users(first.mode)
    else:
        directions = np.stack([cast(Float32, question.asker) for question in questions])
        told = np.any(directions, axis=1)
        space = _alike(first)
    k = min(max(question.k for question in questions), len(first.served.item_ids))
    item_idx, scores = space.search(directions, k, _hidden(questions), first.only)
    found = [
        _found(question, item_idx[row], scores[row]) if told[row] else popular(question)
        for row, question in enumerate(questions)
    ]
    for row in np.flatnonzero([question.explain for question in questions] & told):
        found[row] = _explained(questions[row], found[row], space, directions[row])
    return found


def popular(question: Question) -> Found:
    """The answer without the model."""
    item_idx, scores = question.served.popularity.top(question.k, question.hidden, question.only)
    return Found(item_idx, scores, "popularity")


def _found(question: Question, item_idx: Int64, scores: Float32) -> Found:
    shown = int((item_idx[: question.k] >= 0).sum())
    return Found(item_idx[:shown], scores[:shown], question.by)


def _explained(question: Question, found: Found, space: Space, direction: Float32) -> Found:
    served, of_users = question.served, isinstance(question.asker, UserQuery)
    segments = served.spaces.segments(question.mode, of_users)
    return found._replace(parts=Parts.of(space, segments, direction, found.item_idx, served.bundle.shares))


def _named(question: Question, how: How) -> Question:
    """The question with what an answer from the model is called."""
    return question if how in ("known user", "history") else replace(question, by=how)


def _alike(question: Question) -> Space:
    """Where what resembles an item is looked for."""
    served = question.served
    if question.way is None:
        return served.spaces.alike(question.mode)
    return served.spaces.way(served.recommender.likeness, question.way)


def _told(questions: list[Question]) -> Told | None:
    """What those who ask tell besides their histories."""
    if not any(question.understood for question in questions):
        return None
    nothing = questions[0].served.bundle.newcomers.told.taken(np.array([-1]))
    return Told.stacked([question.understood.told if question.understood else nothing for question in questions])


def _informed(questions: list[Question], query: UserQuery) -> Bool:
    """(B,) true where the history says anything that counts in this mode."""
    served, mode = questions[0].served, questions[0].mode
    informative = np.append(served.spaces.informative[mode][query.item_idx], False)
    informed: Bool = np.logical_or.reduceat(informative, query.indptr[:-1]) & (np.diff(query.indptr) > 0)
    return informed


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
