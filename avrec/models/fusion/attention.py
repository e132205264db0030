"""Fusion by attention: one learned query looks at the tokens of all modalities.

Axes: N items, M modalities, T tokens of one modality, S = M x T tokens, H heads, D embedding, K = D / H.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class AttentionFusion(nn.Module):
    """Multi-head attention of a learned query over every modality's tokens, absent ones masked.

    The value and output maps start as the identity, so that the untrained vector is the mean of the present tokens and
    training starts from something that already ranks. A share is the attention mass on a modality, averaged over heads;
    all modalities bring the same number of tokens.

    Args:
        input_dims: width of each modality's tokens, all equal.
        num_heads: divides the width.
        modality_dropout: chance that a present modality is hidden from an item while training, one always stays.

    Raises:
        ValueError: the widths differ or are not divisible by `num_heads`.
    """

    def __init__(self, input_dims: Mapping[str, int], num_heads: int = 4, modality_dropout: float = 0.0) -> None:
        super().__init__()
        widths = set(input_dims.values())
        if len(widths) != 1:
            raise ValueError(f"attention needs equal widths, got {dict(input_dims)}. Give every encoder the same dim.")
        self.output_dim = widths.pop()
        if self.output_dim % num_heads:
            raise ValueError(f"the width {self.output_dim} is not divisible by num_heads={num_heads}.")
        self.modalities = tuple(input_dims)
        self.num_heads = num_heads
        self.modality_dropout = modality_dropout
        dim = self.output_dim
        self.modality_MD = nn.Parameter(torch.zeros(len(self.modalities), dim))
        self.query_D = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.absent_D = nn.Parameter(torch.randn(dim) * 0.02)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim)
        nn.init.eye_(self.value.weight)
        nn.init.eye_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def _hide(self, mask_NM: Tensor) -> Tensor:
        """Drop present modalities at random, keeping one of each item."""
        chance_NM = torch.rand(mask_NM.shape, device=mask_NM.device).masked_fill(~mask_NM, -1.0)
        keep_NM = chance_NM >= self.modality_dropout
        keep_NM = keep_NM | (chance_NM == chance_NM.max(dim=1, keepdim=True).values)
        return mask_NM & keep_NM

    def forward(self, tokens: dict[str, Tensor], masks: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Vector (N, D) and attention share (N, M)."""
        mask_NM = torch.stack([masks[name] for name in self.modalities], dim=1)
        if self.training and self.modality_dropout > 0:
            mask_NM = self._hide(mask_NM)
        num_tokens = tokens[self.modalities[0]].shape[1]
        empty_N = ~mask_NM.any(dim=1)
        tokens_NMTD = torch.stack([tokens[name] for name in self.modalities], dim=1)
        tokens_NMTD = tokens_NMTD + self.modality_MD[None, :, None, :]
        tokens_NMTD = torch.where(empty_N[:, None, None, None], self.absent_D, tokens_NMTD)
        seen_NM = mask_NM | empty_N.unsqueeze(1)

        tokens_NSD = tokens_NMTD.flatten(1, 2)
        mask_NS = seen_NM.repeat_interleave(num_tokens, dim=1)
        heads = (self.num_heads, self.output_dim // self.num_heads)
        key_NSHK = self.key(tokens_NSD).unflatten(2, heads)
        value_NSHK = self.value(tokens_NSD).unflatten(2, heads)
        logit_NSH = (key_NSHK * self.query_D.unflatten(0, heads)).sum(dim=3) * heads[1] ** -0.5
        attention_NSH = logit_NSH.masked_fill(~mask_NS.unsqueeze(2), float("-inf")).softmax(dim=1)
        mixed_ND = (attention_NSH.unsqueeze(3) * value_NSHK).sum(dim=1).flatten(1)
        share_NM = attention_NSH.mean(dim=2).unflatten(1, (len(self.modalities), num_tokens)).sum(dim=2)
        return self.output(mixed_ND), share_NM * mask_NM.to(share_NM.dtype)
