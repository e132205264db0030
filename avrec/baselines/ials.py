"""iALS as a recommender: implicit-feedback factors, every user folded in from his history (Hu, Koren, Volinsky, 2008)."""

from avrec.baselines.factor_scorer import FactorScorer
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery
from avrec.factors.als import ALS
from avrec.factors.fold_in import solve_users
from avrec.factors.matrix import history_matrix


class IALS:
    """Factorise the training matrix by `implicit`; a user, known or not, is the exact least-squares solution for his history.

    The objective is `sum over events of alpha w (1 - x'y)^2 + sum over blanks of (x'y)^2 + alpha regularisation (|X|^2 + |Y|^2)`:
    the regularisation is measured by the events, as by Rendle, Krichene, Zhang and Koren (2022, "Revisiting the performance
    of iALS on item recommendation benchmarks", where a blank weighs 1 / alpha). So the two can be tuned apart,
    as they advise, over powers; in units of `implicit`, whose regularization is alpha times ours, the best value moves with
    alpha, and grids around its default of 0.01 miss it by far. Neither scales by counts.

    Memory: 24 bytes an event and 12 (U + N) D bytes. Time: iterations (E D^2 + (U + N) D^3).

    Args:
        num_factors: D.
        alpha: confidence of an event of weight 1, a blank having 1.
        regularisation: L2 on the factors, in units of the confidence of an event of weight 1.
        iterations: sweeps over users and items.
        seed: seed of the random start.

    Raises:
        ConfigError: an argument is not positive.
    """

    def __init__(
        self,
        num_factors: int = 64,
        alpha: float = 10.0,
        regularisation: float = 5.0,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        for name, value in (("alpha", alpha), ("regularisation", regularisation)):
            if not value > 0:
                raise ConfigError(f"ials: {name} is {value!r}; expected a positive number.")
        self.factorisation = ALS(num_factors, alpha * regularisation, alpha, iterations, seed)

    def fit(self, dataset: Dataset) -> FactorScorer:
        """Factorise `dataset.train`; with his training history a known user gets the factorisation's own scores."""
        factors = self.factorisation.fit(dataset.train, dataset.content_hash)

        def fold_in(query: UserQuery) -> Float32:
            return solve_users(
                factors.item, factors.regularisation, history_matrix(query, len(factors.item)), factors.alpha
            )

        return FactorScorer(factors.item, fold_in)
