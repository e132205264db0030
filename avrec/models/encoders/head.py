"""The part of an encoder that is always trained: K steps of a trunk's output to K tokens that know their order.

Axes: N items, K steps, H hidden width of the trunk, D width of the tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class OrderHead(nn.Module):
    """Project unit steps to D, add positions in time, and mix over time by a K x K map of each channel.

    `token = h + W gelu(M_d norm(h))` with `h = P x + position`: the map `M_d` of channel d sees all steps at their places, so
    a rise, a turn or a rhythm is one of its filters. It needs K K D + D D weights (8,192 at K = 8 and D = 64), a quarter of a
    transformer layer, and no positions to be learned before it can tell the order: catalogues may have 200 items.

    At the start P has orthogonal rows that keep the scale (random projections keep cosines), positions are zero and the
    mixing is a small addition, so that an untrained head ranks about as well as the steps themselves.

    Args:
        hidden_dim: H.
        dim: D.
        num_steps: K.
        dropout: on the input of the projection.
    """

    def __init__(self, hidden_dim: int, dim: int, num_steps: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(hidden_dim, dim)
        self.position_KD = nn.Parameter(torch.zeros(num_steps, dim))
        self.norm = nn.LayerNorm(dim)
        self.mix_DKK = nn.Parameter(torch.randn(dim, num_steps, num_steps) * num_steps**-0.5)
        self.output = nn.Linear(dim, dim)
        nn.init.orthogonal_(self.project.weight, gain=max(1.0, (hidden_dim / dim) ** 0.5))
        nn.init.zeros_(self.project.bias)
        nn.init.normal_(self.output.weight, std=0.5 / dim)
        nn.init.zeros_(self.output.bias)

    def forward(self, steps_NKH: Tensor) -> Tensor:
        """Tokens (N, K, D) of standardised steps (N, K, H)."""
        unit_NKH = functional.normalize(steps_NKH, dim=2)
        hidden_NKD = self.project(self.dropout(unit_NKH)) + self.position_KD
        channel_ND1K = self.norm(hidden_NKD).transpose(1, 2).unsqueeze(2)
        mixed_NKD = (channel_ND1K @ self.mix_DKK).squeeze(2).transpose(1, 2)
        tokens: Tensor = hidden_NKD + self.output(functional.gelu(mixed_NKD))
        return tokens
