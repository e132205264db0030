"""How much of his friends a user takes on: chosen on validation after training, for users as they are and as newcomers.

Axes: B users in the batch, U users, N items, D embedding of the ids, E events of a query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from avrec.core.arrays import Float32, Int64
from avrec.core.dataset import Dataset
from avrec.core.query import UserQuery
from avrec.evaluation.blocks import VectorScorer
from avrec.evaluation.evaluate import evaluate
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.scorer import TwoTowerScorer
from avrec.training.social import Circles

CUTOFF = 20
NEWCOMER_EVENTS = 4  # a newcomer has fewer
BLOCK = 4096


@dataclass(frozen=True)
class Lent:
    """How much is lent, and the validation Recall@20 + NDCG@20 with it, ids alone.

    A user with n training events takes on his friends' mean with the weight `strength kappa / (n + kappa)`.

    Attributes:
        strength: the weight for somebody without an event.
        kappa: events at which it is half; None where it is the same for everybody.
        known: score of the users with the histories that they have.
        newcomers: of the same users when only the last 0 to 3 events of each are known.
    """

    strength: float
    kappa: float | None
    known: float
    newcomers: float

    @property
    def score(self) -> float:
        """The mean of both."""
        return (self.known + self.newcomers) / 2


class Newcomers:
    """A scorer that is told only the last 0 to 3 events of every history; how many depends on the user.

    Args:
        scorer: who is told.
    """

    def __init__(self, scorer: VectorScorer) -> None:
        self.scorer = scorer

    @property
    def item_vectors(self) -> Float32:
        """(N, D) those of the scorer."""
        return self.scorer.item_vectors

    def user_vectors(self, query: UserQuery) -> Float32:
        """(B, D)."""
        return self.scorer.user_vectors(_last_events(query, query.user_idx % NEWCOMER_EVENTS))

    def score(self, query: UserQuery) -> Float32:
        """(B, N)."""
        return self.user_vectors(query) @ self.item_vectors.T


def lend(
    model: TwoTower,
    catalogue: CatalogueFeatures,
    dataset: Dataset,
    strengths: Sequence[float],
    kappas: Sequence[float | None],
) -> tuple[Lent, ...]:
    """Add to each user's id vector his friends' mean, weighted as is best on validation; `Circles` says who they are.

    What friends lend is read off their training events and kept in the model, so that evaluation, model file and bundle
    know one vector. The user tower's constant is everybody's, so it is not lent. Newcomers count as much as users with long
    histories do: those gain little by friends, and a choice by them alone would leave newcomers with nothing. The content
    segment is not lent: a user's own part has none. (On simulated users it would help newcomers somewhat more.)

    Args:
        model: trained and propagated.
        catalogue: features of all items.
        dataset: its friends, train and validation parts are read.
        strengths: to try; the first of equals is taken, so it should be 0.
        kappas: to try with each of them.

    Returns:
        What was tried, the chosen one first; empty, and nothing is lent, where the data set has no friends.
    """
    model.set_friends(None)
    if dataset.social is None or not len(dataset.social):
        return ()
    scorer = TwoTowerScorer(model, catalogue, "collaborative")
    mean_UD = Circles(dataset.social, dataset.train.user_counts > 0).means(_own_taste(scorer, dataset))
    known_U = dataset.train.user_counts
    newcomer_U = np.minimum(known_U, np.arange(dataset.num_users) % NEWCOMER_EVENTS)
    settings = dict.fromkeys((strength, kappa if strength else None) for strength, kappa in product(strengths, kappas))
    tried = []
    for strength, kappa in settings:
        model.set_friends(_lent(mean_UD, known_U, strength, kappa))
        known = score(scorer, dataset)
        model.set_friends(_lent(mean_UD, newcomer_U, strength, kappa))
        evidence_U = model.user_evidence_U.clone()
        model.user_evidence_U.zero_()  # a newcomer has taught no vector of his own
        tried.append(Lent(strength, kappa, known, score(Newcomers(scorer), dataset)))
        model.user_evidence_U.copy_(evidence_U)
    best = max(tried, key=lambda lent: lent.score)
    model.set_friends(_lent(mean_UD, known_U, best.strength, best.kappa))
    return (best, *(lent for lent in tried if lent is not best))


def _lent(mean_UD: Float32, num_events_U: Int64, strength: float, kappa: float | None) -> Tensor | None:
    if not strength:
        return None
    weight_U = strength / (1 + num_events_U / kappa) if kappa else np.full(len(num_events_U), strength)
    return torch.from_numpy((weight_U[:, None] * mean_UD).astype(np.float32))


def _own_taste(scorer: TwoTowerScorer, dataset: Dataset) -> Float32:
    """(U, D) the id segment of every user by his training events, without the constant."""
    model = scorer.model
    blocks = [
        scorer.user_tensor(UserQuery.of_users(np.arange(start, min(start + BLOCK, dataset.num_users)), dataset.train))
        for start in range(0, dataset.num_users, BLOCK)
    ]
    taste = torch.cat(blocks)[:, : model.item_tower.id_dim] - model.user_tower.shared_vector.detach()
    vectors: Float32 = taste.cpu().numpy()
    return vectors


def _last_events(query: UserQuery, lengths_B: Int64) -> UserQuery:
    """The query with at most so many events of each history, the last ones."""
    from_end = np.repeat(query.indptr[1:], np.diff(query.indptr)) - np.arange(len(query.item_idx))
    kept = from_end <= lengths_B[query.row]
    counts = np.minimum(np.diff(query.indptr), lengths_B)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return UserQuery(query.user_idx, indptr, query.item_idx[kept], query.weight[kept], query.age_days[kept])


def score(scorer: VectorScorer, dataset: Dataset) -> float:
    """Validation Recall@20 + NDCG@20."""
    metrics = evaluate(scorer, dataset, "validation", (CUTOFF,)).metrics
    return float(metrics[f"recall@{CUTOFF}"] + metrics[f"ndcg@{CUTOFF}"])
