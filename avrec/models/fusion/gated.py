"""Fusion by a gate: a weighted sum whose weights are chosen for each item.

Axes: N items, M modalities, K tokens, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.fusion.base import Fusion, common_width


class GatedFusion(Fusion):
    """`sum_m g_m * part_m` with a softmax gate over the present modalities (Arevalo et al. 2017, section 3.1, for M inputs).

    A part is the mean token of a modality at unit length, so that no modality drowns another and the gate alone says how
    much of it is taken: the gate is the share. The gate looks at all parts and at which are present; its map starts at
    zero, so that the untrained vector is the mean of the present parts. An item with none gets a learned vector.

    Args:
        input_dims: width of each modality's tokens, all equal.
        modality_dropout: see `Fusion`.

    Raises:
        ValueError: the widths differ.
    """

    def __init__(self, input_dims: Mapping[str, int], modality_dropout: float = 0.0) -> None:
        super().__init__(input_dims, modality_dropout)
        self.output_dim = common_width(input_dims, "a gate")
        num_modalities = len(self.modalities)
        self.gate = nn.Linear(num_modalities * (self.output_dim + 1), num_modalities)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        self.absent_D = nn.Parameter(torch.randn(self.output_dim) * 0.02)

    def fuse(self, tokens: list[Tensor], mask_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Vector (N, D) and the gate (N, M)."""
        part_NMD = functional.normalize(torch.stack([part.mean(dim=1) for part in tokens], dim=1), dim=2)
        present_NM = mask_NM.to(part_NMD.dtype)
        empty_N1 = ~mask_NM.any(dim=1, keepdim=True)
        logit_NM = self.gate(torch.cat([part_NMD.flatten(1), present_NM], dim=1))
        gate_NM = logit_NM.masked_fill(~(mask_NM | empty_N1), float("-inf")).softmax(dim=1) * present_NM
        mixed_ND = (gate_NM.unsqueeze(2) * part_NMD).sum(dim=1)
        return torch.where(empty_N1, self.absent_D, mixed_ND), gate_NM
