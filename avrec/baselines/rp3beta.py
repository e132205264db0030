"""RP3beta: P3alpha with popular items held back (Paudel, Christoffel, Newell, Bernstein, 2017)."""

import numpy as np
from scipy.sparse import csr_array

from avrec.baselines.item_item import ItemItemScorer
from avrec.baselines.p3alpha import transitions
from avrec.core.arrays import Float64, Int64
from avrec.core.dataset import Dataset
from avrec.factors.matrix import interaction_matrix
from avrec.factors.similarity import product_similarity


class RP3beta:
    """`W_ij / n_j^beta` with the W of P3alpha and the n_j training events of item j; scores = `D_u^-1 H W`.

    The division comes before the cut to neighbours, so it decides who is one. At beta 0 this is P3alpha. How much beta
    helps depends on the data, and it may hurt: where most targets are popular, holding popular items back is wrong.

    Time and memory are those of P3alpha.

    Args:
        alpha: power of the transition probabilities; 1 is the plain walk.
        beta: power of the popularity of the item that is reached.
        num_neighbours: entries of W that an item keeps; all when None.
    """

    def __init__(self, alpha: float = 0.6, beta: float = 0.4, num_neighbours: int | None = 1000) -> None:
        self.alpha = alpha
        self.beta = beta
        self.num_neighbours = num_neighbours

    def fit(self, dataset: Dataset) -> ItemItemScorer:
        """Compute W from the training matrix."""
        weights = interaction_matrix(dataset.train)
        held_back = np.maximum(dataset.train.item_counts, 1).astype(np.float64) ** -self.beta

        def divided(row: Int64, column: Int64, value: Float64) -> Float64:
            return np.asarray(value * held_back[column], np.float64)

        to_user, to_item = (transitions(step, self.alpha) for step in (csr_array(weights.T), weights))
        similarity = product_similarity(to_user, to_item, divided, self.num_neighbours)
        return ItemItemScorer(similarity, normalise_history=True)
