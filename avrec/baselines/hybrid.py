"""Hybrid: collaborative scores plus content scores of each modality, each standardised within the user's list."""

from collections.abc import Sequence

import numpy as np

from avrec.baselines.content_knn import ContentKNN
from avrec.baselines.p3alpha import P3alpha
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import Recommender, Scorer, UserQuery


class Hybrid:
    """`z(collaborative) + content_weight * sum_m z(content kNN of modality m)`, z over the whole catalogue for each user.

    Args:
        collaborative: what supplies the first term; P3alpha when None.
        content_weight: weight of every content term.
        modalities: which modalities; all of the data set when None.
        num_neighbours: neighbours of an item in a content term.
    """

    def __init__(
        self,
        collaborative: Recommender | None = None,
        content_weight: float = 0.1,
        modalities: Sequence[str] | None = None,
        num_neighbours: int = 20,
    ) -> None:
        self.collaborative = P3alpha() if collaborative is None else collaborative
        self.content_weight = content_weight
        self.modalities = modalities
        self.num_neighbours = num_neighbours

    def fit(self, dataset: Dataset) -> "HybridScorer":
        """Fit every term.

        Raises:
            ConfigError: the data set lacks a named modality, or has no features at all.
        """
        modalities = sorted(dataset.features) if self.modalities is None else self.modalities
        if not modalities:
            raise ConfigError(f"hybrid: the data set {dataset.name!r} has no features. Leave this baseline out.")
        content = [ContentKNN({name: 1.0}, self.num_neighbours).fit(dataset) for name in modalities]
        return HybridScorer(self.collaborative.fit(dataset), content, self.content_weight)


class HybridScorer:
    """A weighted sum of standardised scores."""

    def __init__(self, collaborative: Scorer, content: Sequence[Scorer], content_weight: float) -> None:
        self.collaborative = collaborative
        self.content = content
        self.content_weight = content_weight

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); a term without any spread (an empty history) adds zeros."""
        total = standardised(self.collaborative.score(query))
        for scorer in self.content:
            total += np.float32(self.content_weight) * standardised(scorer.score(query))
        return total


def standardised(scores: Float32) -> Float32:
    """Each row less its mean, divided by its standard deviation; zeros where all scores of a row are equal."""
    wide = scores.astype(np.float64)
    wide -= wide.mean(axis=1, keepdims=True)
    deviation = wide.std(axis=1, keepdims=True)
    flat = np.ptp(scores, axis=1, keepdims=True) == 0
    return np.asarray(np.where(flat, 0.0, wide / np.where(flat, 1.0, deviation)), np.float32)
