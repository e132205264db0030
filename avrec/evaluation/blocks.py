"""Scores of the whole catalogue, some users at a time, so that memory does not grow with the number of users.

# B users in the block, N items in the catalogue, D dimension of the vectors
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from avrec.core.arrays import Float32, Int64
from avrec.core.errors import AvrecError
from avrec.core.query import Scorer, UserQuery
from avrec.evaluation.question import Question
from avrec.evaluation.ranking import Csr, refuse_non_finite

QUERY_USERS = 1024  # users that a scorer is asked about at once
PRODUCT_BYTES = 48 * 2**20  # larger blocks of a product fall out of the processor's cache
LARGEST_SCORE = 1e38  # float32 ends at 3.4e38


@runtime_checkable
class VectorScorer(Scorer, Protocol):
    """A scorer whose score is an inner product, so that its items need not be encoded again for every block of users."""

    @property
    def item_vectors(self) -> Float32:
        """(N, D) one vector for every item."""
        ...

    def user_vectors(self, query: UserQuery) -> Float32:
        """(B, D) one vector for every user of the query."""
        ...


@dataclass(frozen=True)
class ScoreBlock:
    """The scores of some users.

    Attributes:
        users: (B,) dense indices.
        scores: (B, N) float32, nothing masked, -inf for what is no candidate and otherwise finite; overwritten by the next
            block, and the receiver may overwrite it too.
        targets: what is to be found.
        masked: what is left out of the ranking.
    """

    users: Int64
    scores: Tensor
    targets: Csr
    masked: Csr


def score_blocks(scorer: Scorer, question: Question, block_bytes: int = 256 * 2**20) -> Iterator[ScoreBlock]:
    """Score every user of a question, block by block, in the order of `question.users`.

    Args:
        scorer: its inner product is taken here when it is a `VectorScorer`; otherwise it is asked for scores.
        question: whom to ask about.
        block_bytes: memory for one block with its working copies.

    Raises:
        AvrecError: a score is not finite (user and item are named), or the scores have a wrong shape.
    """
    if isinstance(scorer, VectorScorer):
        blocks = _products(scorer, question, block_bytes)
    else:
        blocks = _answers(scorer, question, block_bytes)
    left_out = None if question.alive_N is None else torch.from_numpy(np.flatnonzero(~question.alive_N))
    for users, scores in blocks:
        if left_out is not None:
            scores[:, left_out] = -torch.inf
        yield ScoreBlock(users, scores, question.targets_of(users), question.masked_of(users))


def _answers(scorer: Scorer, question: Question, block_bytes: int) -> Iterator[tuple[Int64, Tensor]]:
    step = _rows(
        block_bytes // 4, question.dataset.num_items, QUERY_USERS
    )  # the scorer's own copies, ours, and the lists
    for start in range(0, len(question.users), step):
        users = question.users[start : start + step]
        answer = scorer.score(question.query(users))
        expected = (len(users), question.dataset.num_items)
        if answer.shape != expected:
            raise AvrecError(
                f"{type(scorer).__name__}.score gave an array of shape {answer.shape}; expected {expected}."
            )
        scores = torch.from_numpy(np.array(answer, np.float32))  # a copy: the scorer may own or share what it hands out
        _refuse(scores, users, question)
        yield users, scores


def _products(scorer: VectorScorer, question: Question, block_bytes: int) -> Iterator[tuple[Int64, Tensor]]:
    num_items = question.dataset.num_items
    table = np.ascontiguousarray(np.asarray(scorer.item_vectors, np.float32).T)
    if table.shape[1] != num_items:
        raise AvrecError(
            f"{type(scorer).__name__}.item_vectors has {table.shape[1]} rows; expected one for each of {num_items} items."
        )
    longest_item = _longest(table.T)
    step = _rows(min(PRODUCT_BYTES, block_bytes // 2), num_items, QUERY_USERS)
    buffer = np.empty((step, num_items), np.float32)
    asked = step * max(1, QUERY_USERS // step)
    for first in range(0, len(question.users), asked):
        asked_users = question.users[first : first + asked]
        vectors = np.ascontiguousarray(scorer.user_vectors(question.query(asked_users)), np.float32)
        # |<u, v>| <= |u| |v|: with bounded lengths no score can be NaN or infinite, which saves looking at each.
        bounded = _longest(vectors) * longest_item < LARGEST_SCORE
        for start in range(0, len(asked_users), step):
            users = asked_users[start : start + step]
            # numpy's BLAS on purpose: on AVX-512 its product of this shape took 0.75 of the time of torch's.
            product = np.matmul(vectors[start : start + step], table, out=buffer[: len(users)])
            scores = torch.from_numpy(product)
            if not bounded:
                _refuse(scores, users, question)
            yield users, scores


def _rows(num_bytes: int, num_items: int, most: int) -> int:
    return min(max(1, num_bytes // (4 * max(num_items, 1))), most)


def _longest(vectors: Float32) -> float:
    squares = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return float(np.sqrt(squares.max(initial=0.0)))


def _refuse(scores: Tensor, users: Int64, question: Question) -> None:
    dataset = question.dataset

    def name(row: int, column: int) -> str:
        return f"user {dataset.users.ids(users[row : row + 1])[0]!r} for item {dataset.items.ids([column])[0]!r} ({question.part} part)"

    refuse_non_finite(scores, name)
