"""`SideFacts`: what a data set tells of its users besides what they consumed.

Axes: U users, N items, T tags, G groups.
"""

from dataclasses import dataclass

import numpy as np

from avrec.core.dataset import Dataset
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.core.sparse import SparseRows
from avrec.retrieval.field_groups import FieldGroups
from avrec.retrieval.tag_profiles import tag_profiles
from avrec.retrieval.told import Told, empty


@dataclass(frozen=True)
class SideFacts:
    """Tags, friends and fields; whatever the data set does not have has no columns or no entries.

    Attributes:
        tags: names of the T tags.
        item_tags: (N, T).
        profiles: (U, T) what each user's history is about.
        groups: of the users' fields.
        told: (U rows) interests, friends and groups of every user.
    """

    tags: IdMap
    item_tags: SparseRows
    profiles: SparseRows
    groups: FieldGroups
    told: Told

    @classmethod
    def of(cls, dataset: Dataset, history: Interactions) -> "SideFacts":
        """Collect them.

        Args:
            dataset: whose side information.
            history: what is known of each user; profiles come from nothing else.
        """
        num_users, tagged = dataset.num_users, dataset.item_tags or dataset.user_interests
        tags = IdMap([]) if tagged is None else tagged.names
        item_tags = empty(dataset.num_items, len(tags)) if dataset.item_tags is None else dataset.item_tags.rows
        interests = dataset.user_interests
        groups = FieldGroups.of(dataset.user_fields)
        told = Told(
            interests=empty(num_users, len(tags)) if interests is None else interests.rows,
            friends=empty(num_users, num_users) if dataset.social is None else dataset.social,
            groups=groups.members(dataset.user_fields, num_users),
        )
        return cls(tags, item_tags, tag_profiles(history, item_tags), groups, told)

    def told_without_history(self, history: Interactions) -> Told:
        """What the users tell who have no history; the rows of the others are empty, since their history says more."""
        rows = np.where(history.user_counts == 0, np.arange(history.num_users), -1)
        return self.told.taken(rows)
