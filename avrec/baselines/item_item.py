"""`ItemItemScorer`: a user's scores are the weighted sum of his items' rows of one similarity matrix."""

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.query import UserQuery
from avrec.factors.matrix import Csr, history_matrix, row_normalised


class ItemItemScorer:
    """`scores = H W` for histories H (B, N) and similarities W (N, N): users known and unknown are answered alike.

    Args:
        similarity: W; row = item of the history, column = item that is scored.
        normalise_history: divide each history by its sum. No ranking changes, but scores of users become comparable.
    """

    def __init__(self, similarity: Csr, normalise_history: bool = False) -> None:
        self.similarity = similarity
        self.normalise_history = normalise_history

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); zeros for an empty history."""
        history = history_matrix(query, self.similarity.shape[0])
        if self.normalise_history:
            history = row_normalised(history)
        return np.asarray((history @ self.similarity).toarray(), np.float32)
