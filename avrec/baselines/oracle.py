"""Oracle: the true utilities of the sample catalogue, the ceiling that a model's numbers are measured against."""

from pathlib import Path

import numpy as np

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery
from avrec.media.sample.truth import read_truth


class Oracle:
    """Ranks by what each user truly makes of each item; what is left to miss is the noise of the choices.

    Args:
        truth: the folder of a sample catalogue; the one that holds the data set's media when None.
    """

    def __init__(self, truth: str | Path | None = None) -> None:
        self.truth = truth

    def fit(self, dataset: Dataset) -> "OracleScorer":
        """Put the truth in the data set's order.

        Raises:
            ArtefactError: the folder has no truth.
            ConfigError: there is no folder, or the data set has users or items of which its truth knows nothing.
        """
        folder = dataset.media_root if self.truth is None else self.truth
        if folder is None:
            raise ConfigError(
                f"oracle: the data set {dataset.name!r} has no media, hence no truth beside them. Leave the oracle out, or "
                f"give the folder of its sample catalogue as oracle.truth."
            )
        truth = read_truth(folder)
        row_of_user = _positions(truth.user_ids, dataset.users.array.to_pylist(), "user", folder)
        column_of_item = _positions(truth.item_ids, dataset.items.array.to_pylist(), "item", folder)
        return OracleScorer(np.ascontiguousarray(truth.utilities[np.ix_(row_of_user, column_of_item)]))


class OracleScorer:
    """The true utilities (num_users, num_items), whatever the history."""

    def __init__(self, utilities: Float32) -> None:
        self.utilities = utilities
        self.of_strangers = utilities.mean(axis=0)

    def score(self, query: UserQuery) -> Float32:
        """Scores (B, num_items); a stranger gets the mean over all users."""
        known = query.user_idx[:, None] >= 0
        return np.where(known, self.utilities[query.user_idx], self.of_strangers)


def _positions(known: list[str], wanted: list[str], kind: str, folder: str | Path) -> list[int]:
    """Where each wanted id stands among the known ones."""
    place = {name: index for index, name in enumerate(known)}
    unknown = [name for name in wanted if name not in place]
    if unknown:
        raise ConfigError(
            f"oracle: {len(unknown)} of {len(wanted)} {kind}s, the first is {unknown[0]!r}, are not in the truth of {folder}. "
            f"The oracle knows the sample catalogue of that folder only; leave it out for other data."
        )
    return [place[name] for name in wanted]
