"""`TwoTower`: the towers with their tables, for one catalogue.

Axes: B users in the batch, N items, U users, M modalities, D embedding of the ids, C content width, K neighbours.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    weights that sum to 1; and what each user takes on from his friends, no rows where there are none.

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

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_evidence_N)

    def set_operating_point(self, point: OperatingPoint) -> None:
        """Put another calibration in force."""
        self.item_tower.set_operating_point(point)

    @torch.no_grad()
    def item_vectors(self, catalogue: CatalogueFeatures, block: int = 8192) -> tuple[Tensor, Tensor, Tensor]:
        """Item vectors (N, D + 1 + C), history vectors (N, D + C) and shares (N, M) of the whole catalogue, in eval mode."""
        was_training = self.training
        self.eval()
        history_table_ND, output_table_ND = self.item_table.draw()
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
        own_BD: Tensor = self.user_table(user_idx_B, self.user_evidence_U[place_B])
        if len(self.friends_UD):
            own_BD = own_BD + self.friends_UD[place_B] * (user_idx_B >= 0).unsqueeze(1)
        return own_BD

    def set_friends(self, friends_UD: Tensor | None) -> None:
        """Put in force what each user takes on from his friends; None for nothing."""
        kept = self.friends_UD.new_zeros(0, self.item_table.dim) if friends_UD is None else friends_UD
        self.friends_UD = kept.to(self.friends_UD)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """A file holds no row of friends or one for every user; the buffer takes that size."""
        found = state_dict.get(f"{prefix}friends_UD")
        if found is not None and len(found) in (0, self.user_table.num_users):
            self.friends_UD = self.friends_UD.new_zeros(len(found), self.item_table.dim)
        super()._load_from_state_dict(state_dict, prefix, *args)
