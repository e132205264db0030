"""How the tables start: at random, or from a matrix factorisation folded in or looked up; `transfer` holds one more start.

Axes: U users, N items, D embedding of the ids.
"""

from typing import Any, Literal, Protocol

import numpy as np
import torch

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery, padded
from avrec.factors.als import ALS
from avrec.factors.fold_in import fold_in_map
from avrec.models.two_tower import TwoTower


class Start(Protocol):
    """Overwrites parts of a model that nobody has trained yet, before any of its encoders has read media."""

    def __call__(self, model: TwoTower, dataset: Dataset) -> dict[str, Any]:
        """What the run's record is to say beyond the configuration; nothing where that says it all."""
        ...


class RandomStart:
    """Keep the random tables."""

    def __call__(self, model: TwoTower, dataset: Dataset) -> dict[str, Any]:
        """Do nothing."""
        return {}


class FactorStart:
    """Start the tables from implicit ALS factors of the training events.

    `fold_in` sets the item table to the item factors Y and the user tower's map to `(Y'Y + lambda I)^-1`: the untrained tower
    then reproduces ALS, for users it never saw as well (exactly at alpha = 1 with a plain sum over the history).
    `look_up` adds each user's residual from that to the user's own factor, so that known users start exactly at ALS.

    Args:
        als: the factorisation; its number of factors must be the table's width.
        method: `fold_in` or `look_up`.
    """

    def __init__(self, als: ALS, method: Literal["fold_in", "look_up"] = "fold_in") -> None:
        self.als = als
        self.method = method

    @torch.no_grad()
    def __call__(self, model: TwoTower, dataset: Dataset) -> dict[str, Any]:
        """Overwrite the model's tables.

        Args:
            model: untrained.
            dataset: its train part is factorised.

        Raises:
            ConfigError: the widths differ, or a look-up has no user table to write to.
        """
        if model.item_table.dim != self.als.num_factors:
            raise ConfigError(
                f"the factorisation has {self.als.num_factors} factors, the item table {model.item_table.dim}. "
                "Set id_dim and start.als.num_factors to the same number."
            )
        if self.method == "look_up" and not model.user_table.enabled:
            raise ConfigError("start.method=look_up needs user_table.enabled=true: the user factors are stored there.")
        factors = self.als.fit(dataset.train, dataset.content_hash)
        model.item_table.set_vectors(torch.from_numpy(factors.item))
        model.item_table.bias_N.zero_()
        model.user_tower.map_DD.copy_(torch.from_numpy(fold_in_map(factors.item, self.als.regularisation)))
        if self.method == "look_up":
            self._store_residuals(model, dataset, factors.user)
        return {}

    def _store_residuals(self, model: TwoTower, dataset: Dataset, factor_UD: Float32) -> None:
        """Set each residual so that gate x residual + folded history is the user's own factor."""
        users = np.flatnonzero(dataset.train.user_counts)
        table_ND = model.item_table.output_ND
        evidence_U = torch.from_numpy(dataset.train.user_counts).to(table_ND.dtype)
        for start in range(0, len(users), 1024):
            block = users[start : start + 1024]
            history = padded(UserQuery.of_users(block, dataset.train), model.user_tower.max_history_items)
            item_idx, weight, age, mask = (torch.from_numpy(array) for array in history)
            own_BD = table_ND.new_zeros(len(block), model.item_table.dim)
            folded_BD = model.user_tower.id_vector(own_BD, table_ND[item_idx], weight, age, mask)
            evidence_B1 = evidence_U[torch.from_numpy(block)].unsqueeze(1)
            gate_B1 = evidence_B1 / (evidence_B1 + model.user_table.kappa)
            model.user_table.residual_UD[torch.from_numpy(block)] = (
                torch.from_numpy(factor_UD[block]) - folded_BD
            ) / gate_B1
