"""`TwoTower`: the towers with their tables, for one catalogue.

Axes: B users in the batch, N items, U users, M modalities, D embedding of the ids, F factors at its end, C content
width, K neighbours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.id_table import ItemTable, UserTable
from avrec.models.item_tower import ItemTower, OperatingPoint
from avrec.models.user_tower import UserTower


@dataclass(frozen=True)
class CatalogueFeatures:
    """The content of every item: {modality: (N, F) features or (N, K, H) steps} with masks {modality: (N,)}.

    The steps of a media encoder are the content bank: a stage that trains the encoder writes them anew, in place.
    """

    values: dict[str, Tensor]
    masks: dict[str, Tensor]


class TwoTower(nn.Module):
    """Item tower, user tower, id tables and what is known of each item and user.

    Besides the learned parts it holds, as buffers: the training evidence of items and users; for cold items the mean id
    vector of their content neighbours; for each item the neighbours whose content is mixed into its history vector, with
    weights that sum to 1; what each user takes on from his friends, no rows where there are none; and the item factors that
    lie beside the learned ids, no columns where there are none.

    Args:
        item_tower: with `id_dim` and `content_dim`.
        user_tower: of the same widths.
        item_table: N rows.
        user_table: U rows, or none.
        num_smoothing_neighbours: K of the history smoothing; 0 for none.
    """

    item_evidence_N: Tensor
    user_evidence_U: Tensor
    neighbour_vector_ND: Tensor
    smoothing_idx_NK: Tensor
    smoothing_weight_NK: Tensor
    friends_UD: Tensor
    factors_NF: Tensor

    def __init__(
        self,
        item_tower: ItemTower,
        user_tower: UserTower,
        item_table: ItemTable,
        user_table: UserTable,
        num_smoothing_neighbours: int = 5,
    ) -> None:
        super().__init__()
        assert (item_tower.id_dim, item_tower.content_dim) == (user_tower.id_dim, user_tower.content_dim)
        self.item_tower = item_tower
        self.user_tower = user_tower
        self.item_table = item_table
        self.user_table = user_table
        num_items, dim = item_table.output_ND.shape
        self.content_log_scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("item_evidence_N", torch.zeros(num_items))
        self.register_buffer("user_evidence_U", torch.zeros(user_table.num_users))
        self.register_buffer("neighbour_vector_ND", torch.zeros(num_items, dim))
        self.register_buffer("smoothing_idx_NK", torch.zeros(num_items, num_smoothing_neighbours, dtype=torch.long))
        self.register_buffer("smoothing_weight_NK", torch.zeros(num_items, num_smoothing_neighbours))
        self.register_buffer("friends_UD", torch.zeros(0, dim))
        self.register_buffer("factors_NF", torch.zeros(num_items, 0))

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_evidence_N)

    def set_operating_point(self, point: OperatingPoint) -> None:
        """Put another calibration in force."""
        self.item_tower.set_operating_point(point)

    def id_vectors(self) -> Tensor:
        """(N, D) the id vector of every item as it is scored: the learned one and its factors."""
        return torch.cat([self.item_table.output_ND.detach(), self.factors_NF], dim=1)

    @torch.no_grad()
    def item_vectors(self, catalogue: CatalogueFeatures, block: int = 8192) -> tuple[Tensor, Tensor, Tensor]:
        """Item vectors (N, D + 1 + C), history vectors (N, D + C) and shares (N, M) of the whole catalogue, in eval mode."""
        was_training = self.training
        self.eval()
        history_table_ND, output_table_ND = (
            torch.cat([table, self.factors_NF], dim=1) for table in self.item_table.draw()
        )
        blocks = []
        for start in range(0, self.num_items, block):
            rows = slice(start, start + block)
            arguments = (self.neighbour_vector_ND[rows], self.item_table.bias_N[rows], self.item_evidence_N[rows])
            features = {name: values[rows] for name, values in catalogue.values.items()}
            masks = {name: mask[rows] for name, mask in catalogue.masks.items()}
            item, history, share = self.item_tower(features, masks, output_table_ND[rows], *arguments)
            if not self.item_table.tied:
                history = self.item_tower(features, masks, history_table_ND[rows], *arguments)[1]
            blocks.append((item, history, share))
        item, history, share = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        self.train(was_training)
        return item, self._smoothed(history), share

    def _smoothed(self, history_ND: Tensor) -> Tensor:
        """Mix the content of an item's neighbours into the content segment of its history vector."""
        ids, content = history_ND.split([self.item_tower.id_dim, self.item_tower.content_dim], dim=1)
        smoothing = self.item_tower.calibration[4]
        if content.shape[1] == 0 or smoothing == 0:
            return history_ND
        mixed = content.clone()
        for neighbour in range(self.smoothing_idx_NK.shape[1]):
            mixed += (
                smoothing * self.smoothing_weight_NK[:, neighbour, None] * content[self.smoothing_idx_NK[:, neighbour]]
            )
        return torch.cat([ids, mixed], dim=1)

    @torch.no_grad()
    def user_vectors(self) -> Tensor:
        """`own_vectors` (U, D) of every user."""
        return self.own_vectors(torch.arange(self.user_table.num_users, device=self.user_evidence_U.device))

    def own_vectors(self, user_idx_B: Tensor) -> Tensor:
        """What the user tower takes as `user_vector`, (B, D): the gated residual and what friends lend; 0 for a stranger, -1."""
        place_B = user_idx_B.clamp(min=0)
        residual_BD = self.user_table(user_idx_B, self.user_evidence_U[place_B])
        own_BD = functional.pad(residual_BD, (0, self.factors_NF.shape[1]))
        if len(self.friends_UD):
            own_BD = own_BD + self.friends_UD[place_B] * (user_idx_B >= 0).unsqueeze(1)
        return own_BD

    def set_friends(self, friends_UD: Tensor | None) -> None:
        """Put in force what each user takes on from his friends; None for nothing."""
        kept = self.friends_UD.new_zeros(0, self.item_tower.id_dim) if friends_UD is None else friends_UD
        self.friends_UD = kept.to(self.friends_UD)

    def set_factors(self, factors_NF: Tensor, map_FF: Tensor) -> None:
        """Lay factors beside the learned ids of a trained model, 0 columns for none.

        What stands in the coordinates of the id vectors is emptied: neighbours' vectors, and what friends lend.

        Args:
            factors_NF: the last F numbers of every item's id vector.
            map_FF: makes a user's last F numbers, as a column, of the normalised sum over his history.
        """
        self._make_room(factors_NF.shape[1])
        self.factors_NF.copy_(factors_NF)
        self.user_tower.factor_map_FF.copy_(map_FF)

    def _make_room(self, num_factors: int) -> None:
        self.item_tower.id_dim = self.item_table.dim + num_factors
        self.factors_NF = self.factors_NF.new_zeros(self.num_items, num_factors)
        self.user_tower.factor_map_FF = self.factors_NF.new_zeros(num_factors, num_factors)
        self.neighbour_vector_ND = self.factors_NF.new_zeros(self.num_items, self.item_tower.id_dim)
        self.set_friends(None)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """A file holds no row of friends or one for every user, and any number of factors; the buffers take that size."""
        factors = state_dict.get(f"{prefix}factors_NF")
        if factors is not None and factors.dim() == 2 and factors.shape[1] != self.factors_NF.shape[1]:
            self._make_room(factors.shape[1])
        found = state_dict.get(f"{prefix}friends_UD")
        if found is not None and len(found) in (0, self.user_table.num_users):
            self.friends_UD = self.friends_UD.new_zeros(len(found), self.item_tower.id_dim)
        super()._load_from_state_dict(state_dict, prefix, *args)
