"""PureSVD: the interaction matrix with blanks as zeros, projected on its largest singular vectors (Cremonesi, Koren, Turrin, 2010)."""

import numpy as np

from avrec.baselines.factor_scorer import FactorScorer
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.query import UserQuery
from avrec.factors.matrix import history_matrix
from avrec.factors.svd import SVD as SVDFactorisation


class SVD:
    """`scores = H V V'` with the D right singular vectors V (N, D) of the training matrix.

    The fold-in is exact: a known user with his training history gets the row of the rank-D approximation, a stranger what
    he would get if V were his too. Memory: 12 bytes an event and some 8 (U + N) 2 D bytes while it is fitted, 4 N D after.

    Args:
        num_factors: D; a smaller matrix gives as many as it has.
        seed: seed of the start vector.
    """

    def __init__(self, num_factors: int = 64, seed: int = 0) -> None:
        self.num_factors = num_factors
        self.seed = seed

    def fit(self, dataset: Dataset) -> FactorScorer:
        """Factorise `dataset.train`.

        Raises:
            ConfigError: num_factors is not positive, or the data set has fewer than two users or items.
        """
        largest = min(dataset.num_users, dataset.num_items) - 1
        num_factors = min(self.num_factors, largest) if largest > 0 else self.num_factors
        item = SVDFactorisation(num_factors, seed=self.seed).fit(dataset.train, dataset.content_hash).item

        def fold_in(query: UserQuery) -> Float32:
            return np.asarray(history_matrix(query, len(item)) @ item, np.float32)

        return FactorScorer(item, fold_in)
