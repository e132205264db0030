"""What a bundle is given for those without a history: vectors of tags and groups, from the vectors of the known users.

Axes: U users, W width of a user's vector.
"""

import numpy as np

from avrec.bundle.newcomer_tables import NewcomerTables
from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.retrieval.newcomers import Newcomers
from avrec.retrieval.side_facts import SideFacts
from avrec.training.scorer import TwoTowerScorer

BLOCK_USERS = 1024


def newcomer_tables(
    model: TwoTower, catalogue: CatalogueFeatures, dataset: Dataset, history: Interactions
) -> NewcomerTables:
    """Average the vectors that the known users are served with.

    Args:
        model: trained, its operating point in force.
        catalogue: the features of every item.
        dataset: with tags, friends and fields, if it has any.
        history: what the bundle knows of each user.
    """
    facts = SideFacts.of(dataset, history)
    vectors_UW = _user_vectors(TwoTowerScorer(model, catalogue), history)
    newcomers = Newcomers.of(vectors_UW, history.user_counts > 0, facts.profiles, facts.told.groups)
    return NewcomerTables(newcomers, facts.tags, facts.item_tags, facts.groups, facts.told_without_history(history))


def _user_vectors(scorer: TwoTowerScorer, history: Interactions) -> Float32:
    """(U, W) what the histories of all users say, each asked at his last event."""
    starts = range(0, history.num_users, BLOCK_USERS)
    users = [np.arange(start, min(start + BLOCK_USERS, history.num_users)) for start in starts]
    return np.concatenate([scorer.user_vectors(UserQuery.of_users(block, history).as_strangers()) for block in users])
