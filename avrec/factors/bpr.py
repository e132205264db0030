"""Matrix factorisation by Bayesian personalised ranking (Rendle et al., 2009), trained by `implicit`."""

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix

from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.factors.artefact import Factors
from avrec.factors.matrix import interaction_matrix
from avrec.factors.threads import single_blas_thread


class BPR:
    """Rank a user's items above items drawn by popularity, by stochastic gradient on `log sigmoid(x_u'(y_i - y_j))`.

    Weights do not count. The factors have num_factors + 1 columns: the last is the item's bias, 1 on the user's side.

    Args:
        num_factors: D without the bias.
        learning_rate: step of the gradient.
        regularisation: L2 on factors and biases.
        iterations: epochs of as many draws as there are events.
        seed: seed of the start and the draws. One thread is used, so a seed gives one result.

    Raises:
        ConfigError: an argument is not positive; the regularisation may be 0.
    """

    def __init__(
        self,
        num_factors: int = 64,
        learning_rate: float = 0.01,
        regularisation: float = 0.01,
        iterations: int = 100,
        seed: int = 0,
    ) -> None:
        named = {"num_factors": num_factors, "learning_rate": learning_rate, "iterations": iterations}
        for name, value in named.items():
            if not value > 0:
                raise ConfigError(f"bpr: {name} is {value!r}; expected a positive number.")
        if not regularisation >= 0:
            raise ConfigError(f"bpr: regularisation is {regularisation!r}; expected 0 or more.")
        self.num_factors = num_factors
        self.learning_rate = learning_rate
        self.regularisation = regularisation
        self.iterations = iterations
        self.seed = seed

    def fit(self, train: Interactions, data_hash: str = "") -> Factors:
        """Factorise; users and items without an event keep zeros (but for the constant)."""
        seen = interaction_matrix(train, weighted=False)
        model = BayesianPersonalizedRanking(
            factors=self.num_factors,
            learning_rate=self.learning_rate,
            regularization=self.regularisation,
            iterations=self.iterations,
            num_threads=1,
            random_state=self.seed,
        )
        with single_blas_thread():
            model.fit(csr_matrix((seen.data, seen.indices, seen.indptr), seen.shape), show_progress=False)
        user = np.asarray(model.user_factors, np.float32)
        item = np.asarray(model.item_factors, np.float32)
        return Factors(user, item, "bpr", 1.0, self.regularisation, data_hash, self.seed)
