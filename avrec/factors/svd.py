"""Truncated singular value decomposition of the interaction matrix (PureSVD: Cremonesi, Koren, Turrin, 2010)."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds

from avrec.core.arrays import Float64
from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.core.order import generator
from avrec.factors.artefact import Factors
from avrec.factors.matrix import interaction_matrix
from avrec.factors.threads import single_blas_thread

SMALLEST = 1e-6  # of the largest singular value; below, a direction is noise


class SVD:
    """`diag(n_u ^ user_power) R = U S V'` cut to D singular values: item factors V, user factors U S.

    V has orthonormal columns, so `U S` is the row of R times V: the fold-in map of these factors is the identity, and a
    stranger's factor is the sum of his items' factors (up to his own n_u ^ user_power, which no ranking sees). Where the
    rank is lower than D, the remaining columns are zero.

    Args:
        num_factors: D, smaller than both the number of users and of items.
        user_power: power of the number of a user's events that scales his row; negative damps heavy users.
        seed: seed of the start vector. Each factor's sign makes its largest item entry positive.
    """

    def __init__(self, num_factors: int = 64, user_power: float = 0.0, seed: int = 0) -> None:
        self.num_factors = num_factors
        self.user_power = user_power
        self.seed = seed

    def fit(self, train: Interactions, data_hash: str = "") -> Factors:
        """Factorise; weights count.

        Raises:
            ConfigError: num_factors is not between 1 and the smaller side of the matrix less one.
        """
        weights = interaction_matrix(train)
        if not 0 < self.num_factors < min(weights.shape):
            raise ConfigError(
                f"svd: num_factors is {self.num_factors}; expected 1 to {min(weights.shape) - 1} for "
                f"{weights.shape[0]} users and {weights.shape[1]} items."
            )
        counts = np.diff(weights.indptr).astype(np.float64)
        scale = np.power(counts, self.user_power, out=np.zeros_like(counts), where=counts > 0)
        data = weights.data * np.repeat(scale, np.diff(weights.indptr))
        scaled = csr_array((data, weights.indices, weights.indptr), shape=weights.shape)
        item = self._right_vectors(scaled)
        user = np.asarray(scaled @ item, np.float32)
        return Factors(user, item.astype(np.float32), "svd", 1.0, 0.0, data_hash, self.seed)

    def _right_vectors(self, scaled: "csr_array[np.float64, tuple[int, int]]") -> Float64:
        """V (N, D), largest singular value first; zeros for directions that the matrix does not have."""
        if not scaled.nnz:
            return np.zeros((scaled.shape[1], self.num_factors))
        start = generator(self.seed, 0, "svd").standard_normal(min(scaled.shape))
        with single_blas_thread():
            _, values, right = svds(scaled, k=self.num_factors, v0=start)
        # svds squares the matrix, so a value that is zero on paper comes out as up to 1e-8 of the largest.
        right[values < SMALLEST * values.max()] = 0.0
        right[:, np.bincount(scaled.indices, minlength=scaled.shape[1]) == 0] = 0.0
        return _with_fixed_sign(right[::-1].T)


def _with_fixed_sign(item: Float64) -> Float64:
    largest = item[np.argmax(np.abs(item), axis=0), np.arange(item.shape[1])]
    return np.asarray(item * np.where(largest < 0, -1.0, 1.0))
