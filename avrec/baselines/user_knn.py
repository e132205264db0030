"""UserKNN: what the users with the most similar histories consumed (Resnick et al., 1994; Herlocker et al., 1999)."""

import numpy as np
from scipy.sparse import csr_array

from avrec.core.arrays import Float32, Float64, Int64
from avrec.core.dataset import Dataset
from avrec.core.query import UserQuery
from avrec.factors.matrix import Csr, history_matrix, interaction_matrix
from avrec.factors.similarity import nearest_rows


class UserKNN:
    """`s_uv = r_u'r_v / (|r_u| |r_v| + shrinkage)`, and `scores_u = sum over u's k most similar training users v of s_uv r_v`.

    Similarities are made when a question is asked, from its history, so strangers are answered like known users. A known
    user is his own nearest neighbour: he adds only what he has consumed, and takes one of the k places.

    Memory: 16 bytes a training event, kept by user and by item, while no array of users x users is ever made; and for a
    question 60 to 100 bytes for each of the multiplications of a block (`BLOCK_PRODUCTS` of `avrec.factors.similarity`, or
    one user's, at most the number of training events). Fitting costs nothing; an answer costs as many multiplications as the
    history's items have training events.

    Args:
        num_neighbours: k.
        shrinkage: damps similarities that rest on few shared items; in units of weight squared.
    """

    def __init__(self, num_neighbours: int = 200, shrinkage: float = 0.0) -> None:
        self.num_neighbours = num_neighbours
        self.shrinkage = shrinkage

    def fit(self, dataset: Dataset) -> "UserKNNScorer":
        """Keep the training matrix by user and by item."""
        return UserKNNScorer(interaction_matrix(dataset.train), self.num_neighbours, self.shrinkage)


class UserKNNScorer:
    """Finds the neighbours of each query among the training users (U, N) and adds up what they consumed."""

    def __init__(self, weights: Csr, num_neighbours: int, shrinkage: float) -> None:
        self.weights = weights
        self.audience: Csr = csr_array(weights.T)
        self.length = _lengths(weights)
        self.num_neighbours = num_neighbours
        self.shrinkage = shrinkage

    def neighbours(self, query: UserQuery) -> Csr:
        """Similarities (B, U) of each query's k nearest training users; of equal ones those with the smaller index."""
        history = history_matrix(query, self.weights.shape[1])
        length = _lengths(history)

        def cosine(row: Int64, column: Int64, product: Float64) -> Float64:
            return np.asarray(product / (length[row] * self.length[column] + self.shrinkage), np.float64)

        return nearest_rows(history, self.audience, cosine, self.num_neighbours)

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); zeros for an empty history, or one that nobody shares an item with."""
        return np.asarray((self.neighbours(query) @ self.weights).toarray(), np.float32)


def _lengths(weights: Csr) -> Float64:
    """The Euclidean length of each row."""
    row = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
    return np.sqrt(np.bincount(row, weights.data.astype(np.float64) ** 2, minlength=weights.shape[0]))
