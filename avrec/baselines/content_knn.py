"""Content kNN: items that look or sound like what the user consumed. Answers for items that nobody has seen yet."""

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array

from avrec.baselines.item_item import ItemItemScorer
from avrec.core.dataset import Dataset
from avrec.factors.content import content_vectors
from avrec.factors.similarity import cosine_similarity


class ContentKNN:
    """Score of item j: the sum of cosines over the history's items that are among the k most similar to j.

    Neighbours are those of the *scored* item, so a new one has as many as any other. Features are standardised first.

    Args:
        modalities: modality to the length of its part of the joint vector (cosines are weighted by its square); all
            modalities of the data set with weight 1 when None.
        num_neighbours: k, over the whole catalogue.
    """

    def __init__(self, modalities: Mapping[str, float] | None = None, num_neighbours: int = 20) -> None:
        self.modalities = modalities
        self.num_neighbours = num_neighbours

    def fit(self, dataset: Dataset) -> ItemItemScorer:
        """Standardise by the trained items and find the neighbours of every item.

        Raises:
            ConfigError: the data set lacks a named modality, or has no features at all.
        """
        weights = dict.fromkeys(sorted(dataset.features), 1.0) if self.modalities is None else self.modalities
        vectors, present = content_vectors(dataset.features, weights, ~dataset.cold_items)
        everything = np.ones(dataset.num_items, np.bool_)
        of_target = cosine_similarity(vectors, present, everything, self.num_neighbours)
        return ItemItemScorer(csr_array(of_target.T))
