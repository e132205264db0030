"""`Question`: what a held-out part asks of a recommender: whom, with which history, what is masked, what is to be found."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from avrec.core.arrays import Bool, Int64
from avrec.core.dataset import Dataset, HeldOut
from avrec.core.errors import DataError
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery, held_out_query
from avrec.data.layout import alive_column
from avrec.evaluation.ranking import Csr

Mask = Literal["history", "train"]
Catalogue = Literal["all", "alive"]


@dataclass(frozen=True)
class Question:
    """The users of a held-out part with what is known of them and what they are to be shown.

    Attributes:
        dataset: where the events come from.
        part: the held-out part.
        mask: the name of what is known and masked.
        users: (U,) dense indices of the users with at least one target, rising.
        history: the events that the scorer is told and that are masked in the ranking.
        alive_N: (N,) true for the candidates, where not every item is one.
    """

    dataset: Dataset
    part: HeldOut
    mask: Mask
    users: Int64
    history: Interactions
    alive_N: Bool | None = None

    @classmethod
    def of(cls, dataset: Dataset, part: HeldOut, mask: Mask = "history", catalogue: Catalogue = "all") -> "Question":
        """The question of a part.

        Args:
            dataset: the prepared data set.
            part: "validation" or "test".
            mask: "history": at test, train and validation events are known to the scorer and masked. "train": only train
                events are, as in the published numbers of DiffMM, MMRec and LightGCN; validation items then stay in the
                test ranking as wrong answers. For the validation part the two are the same.
            catalogue: which items are ranked at test: all, or those alive in its window, where the data set says which are. On
                validation, where choices are made, always those alive.

        Raises:
            DataError: nobody has an event in this part.
        """
        users = np.flatnonzero(dataset.target(part).user_counts)
        if len(users) == 0:
            problem = f"data set {dataset.name!r}: the {part} part has no events, so nothing can be evaluated."
            raise DataError([f"{problem} Prepare it with a split that holds some out."])
        alive_N = _alive(dataset, part) if catalogue == "alive" or part == "validation" else None
        history = dataset.history(part) if mask == "history" else dataset.train
        return cls(dataset, part, mask, users, history, alive_N)

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


def _alive(dataset: Dataset, part: HeldOut) -> Bool | None:
    """(N,) which items are candidates; None where the data set does not say when items live."""
    name = alive_column(part)
    if dataset.item_table is None or name not in dataset.item_table.column_names:
        return None
    alive_N = np.asarray(dataset.item_table[name], np.bool_)
    assert alive_N[dataset.target(part).item_idx].all(), "a target is dead"
    return alive_N


def _rows(interactions: Interactions, users: Int64) -> Csr:
    indptr, positions = interactions.positions(users)
    return indptr, interactions.item_idx[positions]
