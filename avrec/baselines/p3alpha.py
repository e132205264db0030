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

    Memory: W takes 8 bytes an entry, twice that for a moment: N k entries at most with k neighbours (25,000 items: 200 MB),
    and with all of them as many as there are pairs of items that share a user. That number grows with the squares of the
    histories' lengths up to N^2, so leave the cut on for dense data: 70,000 users x 25,000 items with 3.4 M events have
    178 M such pairs, a peak of 3.4 GB.

    Most scores of a short history are zero, so items tie by the thousand: an evaluator must not count ties as hits.

    Args:
        alpha: power of the transition probabilities; 1 is the plain walk.
        num_neighbours: entries of W that an item keeps; all when None.
    """

    def __init__(self, alpha: float = 1.0, num_neighbours: int | None = 1000) -> None:
        self.alpha = alpha
        self.num_neighbours = num_neighbours

    def fit(self, dataset: Dataset) -> ItemItemScorer:
        """Compute W from the training matrix."""
        weights = interaction_matrix(dataset.train)
        to_user, to_item = (transitions(step, self.alpha) for step in (csr_array(weights.T), weights))
        similarity = product_similarity(to_user, to_item, _unchanged, self.num_neighbours)
        return ItemItemScorer(similarity, normalise_history=True)


def transitions(weights: Csr, alpha: float) -> Csr:
    """The chance of each step from a row to a column, to the power alpha."""
    step = row_normalised(weights)
    step.data = (step.data**alpha).astype(np.float32)
    return step


def _unchanged(row: Int64, column: Int64, value: Float64) -> Float64:
    return value
