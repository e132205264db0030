"""`Question`: what a held-out part asks of a recommender: whom, with which history, what is masked, what is to be found."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from avrec.core.arrays import Int64
from avrec.core.dataset import Dataset, HeldOut
from avrec.core.errors import DataError
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery, held_out_query
from avrec.evaluation.ranking import Csr

Mask = Literal["history", "train"]


@dataclass(frozen=True)
class Question:
    """The users of a held-out part with what is known of them and what they are to be shown.

    Attributes:
        dataset: where the events come from.
        part: the held-out part.
        mask: the name of what is known and masked.
        users: (U,) dense indices of the users with at least one target, rising.
        history: the events that the scorer is told and that are masked in the ranking.
    """

    dataset: Dataset
    part: HeldOut
    mask: Mask
    users: Int64
    history: Interactions

    @classmethod
    def of(cls, dataset: Dataset, part: HeldOut, mask: Mask = "history") -> "Question":
        """The question of a part.

        Args:
            dataset: the prepared data set.
            part: "validation" or "test".
            mask: "history": at test, train and validation events are known to the scorer and masked. "train": only train
                events are, as in the published numbers of DiffMM, MMRec and LightGCN; validation items then stay in the
                test ranking as wrong answers. For the validation part the two are the same.

        Raises:
            DataError: nobody has an event in this part.
        """
        users = np.flatnonzero(dataset.target(part).user_counts)
        if len(users) == 0:
            problem = f"data set {dataset.name!r}: the {part} part has no events, so nothing can be evaluated."
            raise DataError([f"{problem} Prepare it with a split that holds some out."])
        return cls(dataset, part, mask, users, dataset.history(part) if mask == "history" else dataset.train)

    @property
    def targets(self) -> Csr:
        """The targets of all users."""
        return self.targets_of(self.users)

    def targets_of(self, users: Int64) -> Csr:
        """What is to be found for some users."""
        return _rows(self.dataset.target(self.part), users)

    def masked_of(self, users: Int64) -> Csr:
        """What is left out of the ranking of some users."""
        return _rows(self.history, users)

    def query(self, users: Int64) -> UserQuery:
        """What the scorer is asked about some users."""
        return held_out_query(self.dataset, self.part, users, self.history)


def _rows(interactions: Interactions, users: Int64) -> Csr:
    indptr, positions = interactions.positions(users)
    return indptr, interactions.item_idx[positions]
