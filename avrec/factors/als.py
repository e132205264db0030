"""Implicit-feedback matrix factorisation by alternating least squares (Hu, Koren, Volinsky, 2008), solved by `implicit`."""

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from avrec.core.errors import ConfigError
from avrec.core.interactions import Interactions
from avrec.factors.artefact import Factors
from avrec.factors.fold_in import solve_users
from avrec.factors.matrix import interaction_matrix
from avrec.factors.threads import single_blas_thread


class ALS:
    """Minimise `sum_ui c_ui (p_ui - x_u'y_i)^2 + regularisation (|X|^2 + |Y|^2)` with c = 1 where nothing was seen.

    The confidence of an event is `alpha * weight` (the convention of `implicit`; Hu et al. write 1 + alpha r). Alpha is
    the hyper-parameter that matters most.

    Args:
        num_factors: D.
        regularisation: lambda, not scaled by counts.
        alpha: confidence of an event of weight 1; at 1 an event weighs no more than a blank.
        iterations: sweeps over users and items.
        seed: seed of the random start.
        num_threads: threads of `implicit`; BLAS always gets one, more make it slower.

    Raises:
        ConfigError: an argument is not positive.
    """

    def __init__(
        self,
        num_factors: int = 64,
        regularisation: float = 10.0,
        alpha: float = 5.0,
        iterations: int = 15,
        seed: int = 0,
        num_threads: int = 1,
    ) -> None:
        named = {"num_factors": num_factors, "regularisation": regularisation, "alpha": alpha, "iterations": iterations}
        for name, value in named.items():
            if not value > 0:
                raise ConfigError(f"als: {name} is {value!r}; expected a positive number.")
        self.num_factors = num_factors
        self.regularisation = regularisation
        self.alpha = alpha
        self.iterations = iterations
        self.seed = seed
        self.num_threads = num_threads

    def fit(self, train: Interactions, data_hash: str = "") -> Factors:
        """Factorise, then solve every user exactly for the final items.

        `implicit` ends with an item step of three conjugate-gradient iterations, so its user factors belong to the items
        of half a sweep earlier; ours answer to the items that are returned.

        Args:
            train: the events; weights count.
            data_hash: kept in the result.
        """
        weights = interaction_matrix(train)
        # implicit's own alpha stays 1: one place decides what a confidence is, and a numpy scalar there would widen to float64.
        confidence = csr_matrix((weights.data * np.float32(self.alpha), weights.indices, weights.indptr), weights.shape)
        with single_blas_thread():
            model = AlternatingLeastSquares(
                factors=self.num_factors,
                regularization=self.regularisation,
                alpha=1.0,
                iterations=self.iterations,
                num_threads=self.num_threads,
                random_state=self.seed,
            )
            model.fit(confidence, show_progress=False)
            item = np.asarray(model.item_factors, np.float32)
            user = solve_users(item, self.regularisation, weights, self.alpha)
        return Factors(user, item, "als", self.alpha, self.regularisation, data_hash, self.seed)
