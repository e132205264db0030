"""EASE: the linear item-item model with a zero diagonal, in closed form (Steck, 2019)."""

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.sparse import csc_array, csr_array

from avrec.core.arrays import Float32, Float64, Int64
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery
from avrec.factors.matrix import history_matrix, interaction_matrix

BLOCK_COLUMNS = 512


class EASE:
    """`P = (R'R + regularisation I)^-1`, `B_ij = -P_ij / P_jj`, `B_jj = 0` (Steck, 2019, equation 8); scores = `H B`.

    Memory: with N items that have a training event, 8 N^2 bytes for P and 4 N^2 bytes for B at once (10,000 items: 1.2 GB;
    25,000: 7.5 GB), 4 N^2 once it is fitted, whatever the number of users. Time grows with N^3 (10,000 items: half a minute
    on one core; 25,000: six minutes). Items without a training event cost nothing and score 0.

    Args:
        regularisation: lambda on the squared weights of B.
        max_items: refuse catalogues with more trained items than this.
    """

    def __init__(self, regularisation: float = 200.0, max_items: int = 20_000) -> None:
        if not regularisation > 0:
            raise ConfigError(f"ease: regularisation is {regularisation!r}; expected a positive number.")
        self.regularisation = regularisation
        self.max_items = max_items

    def fit(self, dataset: Dataset) -> "EASEScorer":
        """Solve the closed form over the trained items.

        Raises:
            ConfigError: there are more than `max_items` trained items.
        """
        trained = np.flatnonzero(dataset.train.item_counts).astype(np.int64)
        if len(trained) > self.max_items:
            raise ConfigError(
                f"ease: {len(trained)} trained items need {12 * len(trained) ** 2 / 2**30:.1f} GiB; the limit is "
                f"{self.max_items} items. Leave EASE out for this data set, or raise ease.max_items if the memory is there."
            )
        weights = interaction_matrix(dataset.train)[:, trained].astype(np.float64)
        return EASEScorer(_solution(weights, self.regularisation), trained, dataset.num_items)


class EASEScorer:
    """`scores = H B` with B (n, n) over the trained items (n,)."""

    def __init__(self, solution: Float32, trained: Int64, num_items: int) -> None:
        self.solution = solution
        self.trained = trained
        self.num_items = num_items

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); 0 for items without a training event and for an empty history."""
        history = history_matrix(query, self.num_items)[:, self.trained]
        scores = np.zeros((len(query), self.num_items), np.float32)
        scores[:, self.trained] = history @ self.solution
        return scores


def _solution(weights: "csr_array[np.float64, tuple[int, int]]", regularisation: float) -> Float32:
    """B (n, n) of the columns of a matrix (U, n); the Gram matrix is made and given up in blocks, so nothing is there twice."""
    num_items = weights.shape[1]
    blocks = [slice(start, start + BLOCK_COLUMNS) for start in range(0, num_items, BLOCK_COLUMNS)]
    by_item, by_column = csr_array(weights.T), csc_array(weights)
    gram = np.empty((num_items, num_items), np.float64, order="F")
    for block in blocks:
        gram[:, block] = (by_item @ by_column[:, block]).toarray()
    gram[np.diag_indices(num_items)] += regularisation
    inverse = _inverse(gram)
    solution = np.empty((num_items, num_items), np.float32)
    diagonal = np.diag(inverse).copy()
    for block in blocks:
        solution[block] = inverse[block] / -diagonal
    np.fill_diagonal(solution, 0.0)
    return solution


def _inverse(matrix: Float64) -> Float64:
    """The inverse of a symmetric positive definite matrix in Fortran order, in its own memory (Cholesky)."""
    factor, status = dpotrf(matrix, lower=1, overwrite_a=1)
    assert status == 0, "a Gram matrix plus a positive diagonal is positive definite"
    inverse, status = dpotri(factor, lower=1, overwrite_c=1)
    assert status == 0
    for column in range(0, len(inverse), BLOCK_COLUMNS):
        rows = slice(column, column + BLOCK_COLUMNS)
        corner = np.tril(inverse[rows, rows])
        inverse[rows, rows] = corner + np.tril(corner, -1).T
        inverse[rows, column + BLOCK_COLUMNS :] = inverse[column + BLOCK_COLUMNS :, rows].T
    return np.asarray(inverse)
