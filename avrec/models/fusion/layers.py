"""Layers that the fusions by attention are built of.

Axes: N items, M modalities, K tokens of one modality, S tokens of all, Q queries, H heads, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def identity_map(dim: int, bias: bool) -> nn.Linear:
    """A linear map that starts as the identity: an untrained fusion is then a mean of tokens, which already ranks."""
    layer = nn.Linear(dim, dim, bias=bias)
    nn.init.eye_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def check_heads(dim: int, num_heads: int) -> None:
    """Refuse a number of heads that does not divide the width.

    Raises:
        ValueError: it does not.
    """
    if dim % num_heads:
        raise ValueError(f"the width {dim} is not divisible by num_heads={num_heads}.")


def marked_tokens(
    tokens: list[Tensor], mask_NM: Tensor, modality_MD: Tensor, absent_D: Tensor
) -> tuple[Tensor, Tensor]:
    """Tokens (N, M, K, D) that tell their modality, and which modalities (N, M) may be looked at.

    An item with no modality shows `absent_D` in every place, so that a softmax over its tokens is defined.
    """
    empty_N = ~mask_NM.any(dim=1)
    tokens_NMKD = torch.stack(tokens, dim=1) + modality_MD[None, :, None, :]
    tokens_NMKD = torch.where(empty_N[:, None, None, None], absent_D, tokens_NMKD)
    return tokens_NMKD, mask_NM | empty_N.unsqueeze(1)


def attend(
    query_NQD: Tensor, key_NSD: Tensor, value_NSD: Tensor, mask: Tensor, num_heads: int
) -> tuple[Tensor, Tensor]:
    """Multi-head attention that also says where it looked (Vaswani et al. 2017, section 3.2).

    Args:
        query_NQD: queries; a first axis of 1 serves all items.
        key_NSD: one a token.
        value_NSD: one a token.
        mask: (N or 1, Q or 1, S) true where a query may look; at least one a row.
        num_heads: H.

    Returns:
        mixed values (N, Q, D) and the attention (N, Q, S), averaged over heads.
    """
    query_NHQK, key_NHSK, value_NHSK = (
        part.unflatten(2, (num_heads, part.shape[2] // num_heads)).transpose(1, 2)
        for part in (query_NQD, key_NSD, value_NSD)
    )
    logit_NHQS = query_NHQK @ key_NHSK.transpose(2, 3) * query_NHQK.shape[3] ** -0.5
    attention_NHQS = logit_NHQS.masked_fill(~mask.unsqueeze(1), float("-inf")).softmax(dim=3)
    return (attention_NHQS @ value_NHSK).transpose(1, 2).flatten(2), attention_NHQS.mean(dim=1)


class FeedForward(nn.Module):
    """`x + W2 gelu(W1 norm(x))`, which starts as the identity.

    Args:
        dim: D.
        expansion: hidden units for each of the D.
    """

    def __init__(self, dim: int, expansion: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.inner = nn.Linear(dim, expansion * dim)
        self.outer = nn.Linear(expansion * dim, dim)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, value: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        out: Tensor = value + self.outer(functional.gelu(self.inner(self.norm(value))))
        return out
