"""P3alpha: a random walk of three steps, user to item to user to item (Cooper, Lee, Radinsky, Siantos, 2014)."""

import numpy as np
from scipy.sparse import csr_array

from avrec.baselines.item_item import ItemItemScorer
from avrec.core.arrays import Float64, Int64
from avrec.core.dataset import Dataset
from avrec.factors.matrix import Csr, interaction_matrix, row_normalised
from avrec.factors.similarity import product_similarity


class P3alpha:
    """`W = (D_i^-1 R')^alpha (D_u^-1 R)^alpha` (powers of the entries), without its diagonal; scores = `D_u^-1 H W`.

    Most scores of a short history are zero, so items tie by the thousand: an evaluator must not count ties as hits.

    Args:
        alpha: power of the transition probabilities; 1 is the plain walk.
        num_neighbours: entries of W that an item keeps; all when None.
    """

    def __init__(self, alpha: float = 1.0, num_neighbours: int | None = None) -> None:
        self.alpha = alpha
        self.num_neighbours = num_neighbours

    def fit(self, dataset: Dataset) -> ItemItemScorer:
        """Compute W from the training matrix."""
        weights = interaction_matrix(dataset.train)
        to_item = self._transitions(weights)
        to_user = self._transitions(csr_array(weights.T))
        similarity = product_similarity(to_user, to_item, _unchanged, self.num_neighbours)
        return ItemItemScorer(similarity, normalise_history=True)

    def _transitions(self, weights: Csr) -> Csr:
        step = row_normalised(weights)
        step.data = (step.data**self.alpha).astype(np.float32)
        return step


def _unchanged(row: Int64, column: Int64, value: Float64) -> Float64:
    return value
