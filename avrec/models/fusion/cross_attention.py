"""Fusion by cross-attention: tokens of each modality look at the tokens of the others.

Axes: N items, M modalities, K tokens of one modality, S = M x K tokens, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avrec.models.fusion.base import Fusion, common_width
from avrec.models.fusion.layers import FeedForward, attend, check_heads, identity_map, marked_tokens


class CrossAttentionFusion(Fusion):
    """Each token looks at itself and at the present tokens of the other modalities; a learned query then pools all tokens.

    A token's view of itself stands in for the usual residual path: the attention then says how much of it came from
    elsewhere, and an item with one modality needs no special case. A share is the attention mass that the pooling query puts
    on a modality's original tokens *through* the first attention, averaged over heads (attention rollout: Abnar and Zuidema
    2020, section 3); all modalities bring the same number of tokens. An item with none gets a learned vector.

    Args:
        input_dims: width of each modality's tokens, all equal.
        num_heads: divides the width.
        modality_dropout: see `Fusion`.

    Raises:
        ValueError: the widths differ or are not divisible by `num_heads`.
    """

    def __init__(self, input_dims: Mapping[str, int], num_heads: int = 4, modality_dropout: float = 0.0) -> None:
        super().__init__(input_dims, modality_dropout)
        self.output_dim = dim = common_width(input_dims, "cross-attention")
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.modality_MD = nn.Parameter(torch.zeros(len(self.modalities), dim))
        self.absent_D = nn.Parameter(torch.randn(dim) * 0.02)
        self.cross_query = nn.Linear(dim, dim, bias=False)
        self.cross_key = nn.Linear(dim, dim, bias=False)
        self.cross_value = identity_map(dim, bias=False)
        self.feed_forward = FeedForward(dim)
        self.pool_query_D = nn.Parameter(torch.randn(dim) * dim**-0.5)
        self.pool_key = nn.Linear(dim, dim, bias=False)
        self.output = identity_map(dim, bias=True)

    def fuse(self, tokens: list[Tensor], mask_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Vector (N, D) and attention share (N, M)."""
        tokens_NMKD, seen_NM = marked_tokens(tokens, mask_NM, self.modality_MD, self.absent_D)
        num_tokens = tokens_NMKD.shape[2]
        tokens_NSD = tokens_NMKD.flatten(1, 2)
        mask_N1S = seen_NM.repeat_interleave(num_tokens, dim=1).unsqueeze(1)
        mixed_NSD, cross_NSS = attend(
            self.cross_query(tokens_NSD),
            self.cross_key(tokens_NSD),
            self.cross_value(tokens_NSD),
            self._sight(num_tokens, mask_N1S),
            self.num_heads,
        )
        mixed_NSD = self.feed_forward(mixed_NSD)
        vector_N1D, pool_N1S = attend(
            self.pool_query_D[None, None, :], self.pool_key(mixed_NSD), mixed_NSD, mask_N1S, self.num_heads
        )
        mass_NS = (pool_N1S @ cross_NSS).squeeze(1)
        share_NM = mass_NS.unflatten(1, (len(self.modalities), num_tokens)).sum(dim=2)
        return self.output(vector_N1D.squeeze(1)), share_NM * mask_NM.to(share_NM.dtype)

    def _sight(self, num_tokens: int, mask_N1S: Tensor) -> Tensor:
        """Which tokens (N, S, S) each token looks at: itself, and the present ones of other modalities.

        A token of an absent modality looks at itself too, so that its row is defined; nobody looks at that row.
        """
        modality_S = torch.arange(len(self.modalities), device=mask_N1S.device).repeat_interleave(num_tokens)
        other_SS = modality_S[:, None] != modality_S[None, :]
        itself_SS = torch.eye(mask_N1S.shape[2], dtype=torch.bool, device=mask_N1S.device)
        return itself_SS | (other_SS & mask_N1S)
