"""Fusion by concatenation with fixed weights: transparent, nothing to learn.

Axes: N items, M modalities, T tokens, D embedding.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ConcatenationFusion(nn.Module):
    """Lay the weighted mean token of each modality end to end.

    With unit-length parts the inner product of two items is `sum_m weight_m^2 cos_m`. An absent modality is zero.

    Args:
        input_dims: width of each modality's tokens, in the tower's order.
        weights: factor of each modality; 1 where not named.
    """

    def __init__(self, input_dims: Mapping[str, int], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in input_dims}
        self.output_dim = sum(input_dims.values())

    def forward(self, tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Vector (N, sum of widths) and the share of squared length (N, M)."""
        parts = [
            self.weights[name] * tokens[name].mean(dim=1) * masks[name].unsqueeze(1).to(tokens[name].dtype)
            for name in self.weights
        ]
        energy_NM = torch.stack([part.square().sum(dim=1) for part in parts], dim=1)
        return torch.cat(parts, dim=1), energy_NM / energy_NM.sum(dim=1, keepdim=True).clamp(min=1e-12)
