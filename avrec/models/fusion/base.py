"""What every fusion keeps: masks, modality dropout, and shares.

Axes: N items, M modalities, K tokens of one modality, D width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Fusion(nn.Module, ABC):
    """Tokens of several modalities in, one vector an item and the share of each modality out.

    An absent modality is a mask: its tokens, NaN included, reach neither the vector nor a gradient. An item with none gets a
    defined vector. Shares stand in the order of `input_dims`; they sum to 1 over the present modalities and are 0 elsewhere.

    Args:
        input_dims: width of each modality's tokens, in the tower's order.
        modality_dropout: chance that a present modality is hidden from an item while training; one always stays.
    """

    output_dim: int

    def __init__(self, input_dims: Mapping[str, int], modality_dropout: float = 0.0) -> None:
        super().__init__()
        self.modalities = tuple(input_dims)
        self.modality_dropout = modality_dropout

    def forward(self, tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Fuse the modalities of each item.

        Args:
            tokens: {modality: (N, K, D)}; all modalities bring the same K, or one token, which stands for K equal ones.
            masks: {modality: (N,)} true where the item has it.

        Returns:
            vector (N, output_dim) and share (N, M).
        """
        mask_NM = torch.stack([masks[name] for name in self.modalities], dim=1)
        if self.training and self.modality_dropout > 0:
            mask_NM = self._hide(mask_NM)
        # `where` and not a product: NaN times 0 is NaN.
        parts = [
            torch.where(mask_N[:, None, None], tokens[name], 0.0)
            for name, mask_N in zip(self.modalities, mask_NM.unbind(dim=1), strict=True)
        ]
        num_tokens = max(part.shape[1] for part in parts)
        parts = [part if part.shape[1] == num_tokens else part.expand(-1, num_tokens, -1) for part in parts]
        return self.fuse(parts, mask_NM)

    @abstractmethod
    def fuse(self, tokens: list[Tensor], mask_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Vector and share of tokens that are zero where the mask is false."""

    def _hide(self, mask_NM: Tensor) -> Tensor:
        """Drop present modalities at random, keeping one of each item."""
        chance_NM = torch.rand(mask_NM.shape, device=mask_NM.device).masked_fill(~mask_NM, -1.0)
        keep_NM = chance_NM >= self.modality_dropout
        keep_NM = keep_NM | (chance_NM == chance_NM.max(dim=1, keepdim=True).values)
        return mask_NM & keep_NM


def common_width(input_dims: Mapping[str, int], user: str) -> int:
    """The width that all modalities share.

    Raises:
        ValueError: the widths differ; `user` is what needs them equal.
    """
    widths = set(input_dims.values())
    if len(widths) != 1:
        raise ValueError(f"{user} needs equal widths, got {dict(input_dims)}. Give every encoder the same dim.")
    return widths.pop()


def modality_weights(input_dims: Mapping[str, int], weights: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of each modality, 1 where not named.

    Raises:
        ValueError: a weight names no modality.
    """
    given = dict(weights or {})
    unknown = sorted(set(given) - set(input_dims))
    if unknown:
        raise ValueError(
            f"fusion.weights: {unknown} are no modalities; there are {list(input_dims)}. Name one of these."
        )
    return {name: float(given.get(name, 1.0)) for name in input_dims}


def energy_share(parts: list[Tensor], mask_NM: Tensor) -> Tensor:
    """Share (N, M) of the squared length of parts (N, D); equal over the present ones where all of them are zero."""
    energy_NM = torch.stack([part_ND.square().sum(dim=1) for part_ND in parts], dim=1)
    present_NM = mask_NM.to(energy_NM.dtype)
    energy_NM = torch.where(energy_NM.sum(dim=1, keepdim=True) > 0, energy_NM, present_NM)
    total_N1 = energy_NM.sum(dim=1, keepdim=True)
    return energy_NM / torch.where(total_N1 > 0, total_N1, 1.0)
