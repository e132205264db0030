"""Fusion by `alpha * audio + beta * video`: one number a modality, the same for every item.

Axes: N items, M modalities, K tokens, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.fusion.base import Fusion, common_width, energy_share, modality_weights


class WeightedSum(Fusion):
    """`sum_m w_m * part_m`, where a part is the mean token of a modality at unit length.

    Absent modalities add nothing, and an item with none is the zero vector. A share is the modality's part of the summed
    energies, `w_m^2 / sum_n w_n^2` over the present modalities n: the weights alone decide it.

    Args:
        input_dims: width of each modality's tokens, all equal.
        weights: w of each modality; 1 where not named.
        learned: train the weights, starting from those given; otherwise they stay.
        modality_dropout: see `Fusion`.

    Raises:
        ValueError: the widths differ, or a weight names no modality.
    """

    weight_M: Tensor

    def __init__(
        self,
        input_dims: Mapping[str, int],
        weights: Mapping[str, float] | None = None,
        learned: bool = False,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__(input_dims, modality_dropout)
        self.output_dim = common_width(input_dims, "a weighted sum")
        start_M = torch.tensor(list(modality_weights(input_dims, weights).values()))
        if learned:
            self.weight_M = nn.Parameter(start_M)
        else:
            self.register_buffer("weight_M", start_M)

    def fuse(self, tokens: list[Tensor], mask_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Vector (N, D) and the share of energy (N, M)."""
        parts = [
            weight * functional.normalize(tokens_NKD.mean(dim=1), dim=1)
            for weight, tokens_NKD in zip(self.weight_M.unbind(), tokens, strict=True)
        ]
        return torch.stack(parts).sum(dim=0), energy_share(parts, mask_NM)
