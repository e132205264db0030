"""Fusion by latent queries: several learned queries look at the tokens of all modalities.

Axes: N items, M modalities, K tokens of one modality, S = M x K tokens, Q queries, D width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from avrec.models.fusion.base import Fusion, common_width
from avrec.models.fusion.layers import FeedForward, attend, check_heads, identity_map, marked_tokens


class LatentFusion(Fusion):
    """Cross-attention of learned queries over every modality's tokens, then a feed-forward layer and their mean.

    As a Perceiver reads its input (Jaegle et al. 2021, section 3.1), once. Maps start as the identity, so that the untrained
    vector is close to the mean of the present tokens. A share is the attention mass on a modality, averaged over queries and
    heads; all modalities bring the same number of tokens. An item with none gets a learned vector.

    Args:
        input_dims: width of each modality's tokens, all equal.
        num_queries: Q.
        num_heads: divides the width.
        modality_dropout: see `Fusion`.

    Raises:
        ValueError: the widths differ or are not divisible by `num_heads`.
    """

    def __init__(
        self, input_dims: Mapping[str, int], num_queries: int = 4, num_heads: int = 4, modality_dropout: float = 0.0
    ) -> None:
        super().__init__(input_dims, modality_dropout)
        self.output_dim = dim = common_width(input_dims, "latent queries")
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.modality_MD = nn.Parameter(torch.zeros(len(self.modalities), dim))
        self.query_QD = nn.Parameter(torch.randn(num_queries, dim) * dim**-0.5)
        self.absent_D = nn.Parameter(torch.randn(dim) * 0.02)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = identity_map(dim, bias=False)
        self.feed_forward = FeedForward(dim)
        self.output = identity_map(dim, bias=True)

    def fuse(self, tokens: list[Tensor], mask_NM: Tensor) -> tuple[Tensor, Tensor]:
        """Vector (N, D) and attention share (N, M)."""
        tokens_NMKD, seen_NM = marked_tokens(tokens, mask_NM, self.modality_MD, self.absent_D)
        num_tokens = tokens_NMKD.shape[2]
        tokens_NSD = tokens_NMKD.flatten(1, 2)
        mask_N1S = seen_NM.repeat_interleave(num_tokens, dim=1).unsqueeze(1)
        mixed_NQD, attention_NQS = attend(
            self.query_QD.unsqueeze(0), self.key(tokens_NSD), self.value(tokens_NSD), mask_N1S, self.num_heads
        )
        vector_ND = self.output(self.feed_forward(mixed_NQD).mean(dim=1))
        share_NM = attention_NQS.mean(dim=1).unflatten(1, (len(self.modalities), num_tokens)).sum(dim=2)
        return vector_ND, share_NM * mask_NM.to(share_NM.dtype)
