"""ALS as a recommender: implicit-feedback factors, every user folded in from his history (Hu, Koren, Volinsky, 2008)."""

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.query import UserQuery
from avrec.factors.als import ALS as ALSFactorisation
from avrec.factors.artefact import Factors
from avrec.factors.fold_in import solve_users
from avrec.factors.matrix import history_matrix
from avrec.factors.threads import single_blas_thread


class ALS:
    """Factorise the training matrix; a user, known or not, is the exact least-squares solution for his history.

    Args:
        num_factors: D.
        regularisation: lambda, not scaled by counts.
        alpha: confidence of an event of weight 1.
        iterations: sweeps over users and items.
        seed: seed of the random start.
    """

    def __init__(
        self,
        num_factors: int = 64,
        regularisation: float = 10.0,
        alpha: float = 5.0,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        self.factorisation = ALSFactorisation(num_factors, regularisation, alpha, iterations, seed)

    def fit(self, dataset: Dataset) -> "ALSScorer":
        """Factorise `dataset.train`."""
        return ALSScorer(self.factorisation.fit(dataset.train, dataset.content_hash))


class ALSScorer:
    """Scores by fold-in; for a known user with his training history these are the factorisation's own."""

    def __init__(self, factors: Factors) -> None:
        self.factors = factors

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); 0 for items without a training event and for an empty history."""
        factors = self.factors
        history = history_matrix(query, len(factors.item))
        with single_blas_thread():
            users = solve_users(factors.item, factors.regularisation, history, factors.alpha)
            return np.asarray(users @ factors.item.T, np.float32)
