"""Popularity: everybody is offered what was consumed most often in training."""

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.query import UserQuery


class Popularity:
    """Score = number of training events of the item. Weights do not count: one heavy listener is one listener."""

    def fit(self, dataset: Dataset) -> "PopularityScorer":
        """Count the training events."""
        return PopularityScorer(dataset.train.item_counts.astype(np.float32))


class PopularityScorer:
    """The same scores (num_items,) for every user."""

    def __init__(self, item_scores: Float32) -> None:
        self.item_scores = item_scores

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); the history does not matter."""
        return np.tile(self.item_scores, (len(query), 1))
