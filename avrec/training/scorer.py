"""The trained towers as a `Scorer`, so that one evaluator ranks models and baselines alike.

Axes: B users in the batch, N items, D width of the vectors.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.query import UserQuery, padded
from avrec.models.two_tower import CatalogueFeatures, TwoTower

View = Literal["hybrid", "collaborative", "content"]


def catalogue_features(dataset: Dataset, modalities: tuple[str, ...]) -> CatalogueFeatures:
    """The features of a data set as tensors, in the order of the item tower's modalities."""
    return CatalogueFeatures(
        {name: torch.tensor(dataset.features[name].values) for name in modalities},
        {name: torch.tensor(dataset.features[name].present) for name in modalities},
    )


def _beside(model: TwoTower, catalogue: CatalogueFeatures) -> CatalogueFeatures:
    """The features on the model's device: while a stage trains, that may be another than theirs."""
    device = model.item_evidence_N.device
    values, masks = (
        {name: part.to(device) for name, part in parts.items()} for parts in (catalogue.values, catalogue.masks)
    )
    return CatalogueFeatures(values, masks)


@torch.no_grad()
def content_table(model: TwoTower, catalogue: CatalogueFeatures) -> Float32:
    """Fused content (N, C) of every item, in eval mode."""
    was_training = model.training
    model.eval()
    catalogue = _beside(model, catalogue)
    content: Float32 = model.item_tower.content(catalogue.values, catalogue.masks)[0].float().cpu().numpy()
    model.train(was_training)
    return content


def comparable_content(model: TwoTower, catalogue: CatalogueFeatures) -> Float32:
    """Fused content (N, C), zero for an item without any modality: the vector that stands for nothing resembles nobody.

    N x 0 for a model of ids alone.
    """
    modalities = model.item_tower.modalities
    if not modalities:
        return np.zeros((model.num_items, 0), np.float32)
    present_N = torch.stack([catalogue.masks[name] for name in modalities]).any(dim=0)
    content: Float32 = content_table(model, catalogue) * present_N.cpu().numpy()[:, None]
    return content


class TwoTowerScorer:
    """Scores by one inner product of user and item vectors; the item tables are computed once, here.

    Args:
        model: its parameters are read now; make a new scorer after they change.
        catalogue: features of all items.
        view: `hybrid` is the model at its operating point; `collaborative` leaves content out (cold items come last);
            `content` ranks every item, warm ones too, by content alone.
    """

    def __init__(self, model: TwoTower, catalogue: CatalogueFeatures, view: View = "hybrid") -> None:
        self.model = model
        self.device = model.item_evidence_N.device
        item, self.history, self.share = model.item_vectors(_beside(model, catalogue))
        dim, width = model.item_tower.id_dim, model.item_tower.content_dim
        if view == "content":
            item = functional.pad(self.history[:, dim:], (dim + 1, 0))
        elif view == "collaborative":
            cold = model.item_evidence_N <= 0
            bias = torch.where(cold, -1e4, model.item_table.bias_N.detach())
            item = torch.cat([item[:, :dim] * ~cold[:, None], bias[:, None], torch.zeros_like(item[:, :width])], dim=1)
        self._item = item.float()

    @property
    def item_vectors(self) -> Float32:
        """(N, D) float32."""
        vectors: Float32 = self._item.cpu().numpy()
        return vectors

    @torch.no_grad()
    def user_tensor(self, query: UserQuery) -> Tensor:
        """(B, D) user vectors on the model's device."""
        model = self.model
        was_training = model.training
        model.eval()
        idx, weight, age, mask = (
            torch.from_numpy(array).to(self.device) for array in padded(query, model.user_tower.max_history_items)
        )
        users = torch.from_numpy(query.user_idx).to(self.device)
        own = model.own_vectors(users)
        dtype = self.history.dtype
        vectors: Tensor = model.user_tower(own, self.history[idx], weight.to(dtype), age.to(dtype), mask)
        model.train(was_training)
        return vectors.float()

    def user_vectors(self, query: UserQuery) -> Float32:
        """(B, D) float32."""
        vectors: Float32 = self.user_tensor(query).cpu().numpy()
        return vectors

    def score(self, query: UserQuery) -> Float32:
        """(B, N) float32."""
        scores: Float32 = (self.user_tensor(query) @ self._item.T).cpu().numpy()
        return scores
