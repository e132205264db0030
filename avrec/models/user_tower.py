"""The user tower: a user's own vector and history in, one vector out. The tables live with the caller.

Axes: B users in the batch, L history length, D embedding of the ids, F factors at its end, C content width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.pooling import NormalizedSum


class UserTower(nn.Module):
    """`[A pool(history ids) + own + constant, 1, pool(history content)]`: the user's half of the inner product.

    The middle 1 meets the item's bias. `A` is the identity, or the map that folds a matrix factorisation in
    (`fold_in_map`); it is a buffer unless `train_map`, since training it from the identity was measured to overfit.

    The ids of a trained model may end in F factors of a matrix factorisation (`TwoTower.set_factors`). Those are pooled by
    the normalised sum, whatever the pooling of the learned ones, and folded in by a map of their own.

    Args:
        id_dim: D, of the learned ids.
        content_dim: C, 0 without content.
        id_pooling: pools the id segment of the history.
        content_pooling: pools its content segment.
        max_history_items: how many events, the last ones, the caller is to pass.
        train_map: learn `A`.
    """

    factor_map_FF: Tensor

    def __init__(
        self,
        id_dim: int,
        content_dim: int,
        id_pooling: nn.Module,
        content_pooling: nn.Module,
        max_history_items: int = 50,
        train_map: bool = False,
    ) -> None:
        super().__init__()
        assert id_dim > 0, "the bias column is traced from the id vector's shape"
        self.learned_dim = id_dim
        self.content_dim = content_dim
        self.max_history_items = max_history_items
        self.id_pooling = id_pooling
        self.content_pooling = content_pooling if content_dim > 0 else NormalizedSum()  # of nothing
        self.map_DD = nn.Parameter(torch.eye(id_dim), requires_grad=train_map)
        self.constant_D = nn.Parameter(torch.zeros(id_dim))
        self.factor_pooling = NormalizedSum()
        self.register_buffer("factor_map_FF", torch.zeros(0, 0))

    @property
    def id_dim(self) -> int:
        """D, the factors with it."""
        return self.learned_dim + len(self.factor_map_FF)

    @property
    def shared_vector(self) -> Tensor:
        """(D,) what every user's id segment holds: the learned constant, and nothing among the factors."""
        return functional.pad(self.constant_D, (0, len(self.factor_map_FF)))

    def id_vector(
        self, own_BD: Tensor, ids_BLD: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """The id segment (B, D)."""
        learned_BLD, factors_BLF = ids_BLD.split([self.learned_dim, len(self.factor_map_FF)], dim=2)
        pooled_BD: Tensor = self.id_pooling(learned_BLD, weights_BL, ages_BL, mask_BL) @ self.map_DD.T
        if len(self.factor_map_FF):
            pooled_BF = self.factor_pooling(factors_BLF, weights_BL, ages_BL, mask_BL)
            pooled_BD = torch.cat([pooled_BD, pooled_BF @ self.factor_map_FF.T], dim=1)
        return pooled_BD + own_BD + self.shared_vector

    def id_vector_of_rows(
        self, own_BD: Tensor, table_RD: Tensor, row_BL: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor
    ) -> Tensor:
        """`id_vector` of `table_RD[row_BL]` while ids are learned; sums read the rows where they stand."""
        history = weights_BL, ages_BL, mask_BL
        if not isinstance(self.id_pooling, NormalizedSum):
            return self.id_vector(own_BD, table_RD[row_BL], *history)
        return self.id_pooling.of_rows(table_RD, row_BL, *history) @ self.map_DD.T + own_BD + self.constant_D

    def content_vector(self, content_BLC: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """The content segment (B, C)."""
        pooled: Tensor = self.content_pooling(content_BLC, weights_BL, ages_BL, mask_BL)
        return pooled

    def forward(
        self, user_vector: Tensor, history_vectors: Tensor, weights: Tensor, ages: Tensor, mask: Tensor
    ) -> Tensor:
        """The user's vector.

        Args:
            user_vector: (B, D) the user's own part, zero for a stranger.
            history_vectors: (B, L, D + C) rows of the history table.
            weights: (B, L) strength of each event.
            ages: (B, L) age in days.
            mask: (B, L) true where there is an event; a row may be all false.

        Returns:
            (B, D + 1 + C).
        """
        ids, content = history_vectors.split([self.id_dim, self.content_dim], dim=2)
        one = torch.ones_like(user_vector[:, :1])
        id_BD = self.id_vector(user_vector, ids, weights, ages, mask)
        return torch.cat([id_BD, one, self.content_vector(content, weights, ages, mask)], dim=1)
