"""Fusion by concatenation with fixed weights: transparent, nothing to learn.

Axes: N items, M modalities, K tokens, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from avrec.models.fusion.base import Fusion, energy_share, modality_weights


class ConcatenationFusion(Fusion):
    """Lay the weighted mean token of each modality end to end.

    With unit-length parts the inner product of two items is `sum_m weight_m^2 cos_m`. An absent modality is zero. A share is
    the modality's part of the squared length.

    Args:
        input_dims: width of each modality's tokens, in the tower's order.
        weights: factor of each modality; 1 where not named.
        modality_dropout: see `Fusion`.

    Raises:
        ValueError: a weight names no modality.
    """

    def __init__(
        self,
        input_dims: Mapping[str, int],
        weights: Mapping[str, float] | None = None,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(input_dims, modality_dropout)
        self.weights = modality_weights(input_dims, weights)
        self.output_dim = sum(input_dims.values())

    def fuse(self, tokens: list[Tensor], mask_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Vector (N, sum of widths) and the share of squared length (N, M)."""
        parts = [
            weight * tokens_NKD.mean(dim=1) for weight, tokens_NKD in zip(self.weights.values(), tokens, strict=True)
        ]
        return torch.cat(parts, dim=1), energy_share(parts, mask_NM)
