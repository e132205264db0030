"""`UserFacts`: what stands beside each user's metrics: how much is known of him, how much he is asked, in which slices he is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Bool, Int64
from avrec.evaluation.question import Question
from avrec.evaluation.slices import target_slices


@dataclass(frozen=True)
class UserFacts:
    """The users of a question.

    Attributes:
        user_idx: (U,) dense indices, rising.
        num_targets: (U,) what was to be found.
        num_history: (U,) events that the recommender was told and that were masked.
        flags: by name (U,): `new_user` (no training event), and `has_cold_target`, `has_missing_audio_target` and so on for
            every slice of targets.
    """

    user_idx: Int64
    num_targets: Int64
    num_history: Int64
    flags: Mapping[str, Bool]

    @classmethod
    def of(cls, question: Question) -> "UserFacts":
        """The facts of a question's users."""
        indptr, item_idx = question.targets
        row = np.repeat(np.arange(len(question.users)), np.diff(indptr))
        slices = target_slices(question.dataset, question.users[row], item_idx)
        del slices["new_users"]
        flags = {"new_user": question.dataset.new_users[question.users]}
        for name, belongs in slices.items():
            flags[f"has_{name}_target"] = np.bincount(row[belongs], minlength=len(question.users)) > 0
        history = question.history.user_counts[question.users]
        return cls(question.users, np.diff(indptr), history, flags)
