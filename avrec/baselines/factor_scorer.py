"""`FactorScorer`: the answers of a matrix factorisation, for users known and unknown."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.query import UserQuery
from avrec.factors.threads import single_blas_thread

UserVectors: TypeAlias = Callable[[UserQuery], Float32]


class FactorScorer:
    """`scores = X Y'` with item factors Y (N, D) that are fixed and user factors X (B, D) made for each question.

    It answers in vectors too, so that an evaluator may multiply them out itself.

    Args:
        item: (N, D) item factors, zeros for items without a training event.
        fold_in: the user factors (B, D) of a query.
    """

    def __init__(self, item: Float32, fold_in: UserVectors) -> None:
        self.item = item
        self.fold_in = fold_in

    @property
    def item_vectors(self) -> Float32:
        """(N, D) item factors."""
        return self.item

    def user_vectors(self, query: UserQuery) -> Float32:
        """(B, D) user factors; zeros for an empty history, but for a constant that some factorisations keep there."""
        with single_blas_thread():
            return self.fold_in(query)

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items)."""
        users = self.user_vectors(query)
        with single_blas_thread():
            return np.asarray(users @ self.item.T, np.float32)
