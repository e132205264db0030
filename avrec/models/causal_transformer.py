"""`CausalTransformer`: what a small transformer reads out of a user's history, in the order in which it happened.

Axes: B users in the batch, L history length, D embedding, H width of the transformer, K heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.core.errors import ConfigError
from avrec.models.pooling import NormalizedSum

NOT_ALLOWED = -1e9


class CausalTransformer(NormalizedSum):
    """The normalised sum, and what a causal transformer says of the user at his latest event.

    `y + size^(1 - exponent) W x`: y is the normalised sum, `size` the sum of the weights, x the output at the latest event
    after self-attention over what was not later (SASRec, Kang & McAuley, 2018; PinnerFormer, Pancha et al., 2022). W starts
    at zero, so an untrained layer is the normalised sum. A training pair has one target, so there is one output a history.

    Order is read off the ages, never off the columns, which a batch may hold in any order. An event's position is how many
    events came later, and its age goes in as `log(1 + days)`. Events of one age share a position and see each other.
    The last block is asked once, by the mean of the latest events: the other outputs are not needed, and without time the
    layer is attention over a set. The log of an event's weight is added to the attention that it gets. No dropout: row by
    row it would differ between ranks.

    Args:
        dim: D.
        exponent: as in `NormalizedSum`.
        hidden_dim: H, which need not be D.
        num_heads: K, a divisor of H.
        num_blocks: blocks of attention and a network twice as wide.
        max_positions: events further back than this share the last position.

    Raises:
        ConfigError: `num_heads` does not divide `hidden_dim`, or there is no block.
    """

    def __init__(
        self,
        dim: int,
        exponent: float = 0.5,
        hidden_dim: int = 64,
        num_heads: int = 2,
        num_blocks: int = 1,
        max_positions: int = 200,
    ) -> None:
        super().__init__(exponent)
        if hidden_dim % num_heads:
            raise ConfigError(
                f"pooling: hidden_dim={hidden_dim} is not divisible by num_heads={num_heads}. Choose a divisor."
            )
        if num_blocks < 1:
            raise ConfigError(
                f"pooling: num_blocks={num_blocks}; expected 1 or more. Without blocks use pooling=refined."
            )
        self.before = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, hidden_dim))
        self.position = nn.Embedding(max_positions, hidden_dim)
        self.age = nn.Linear(1, hidden_dim)
        self.blocks = nn.ModuleList(_Block(hidden_dim, num_heads) for _ in range(num_blocks))
        self.after = nn.LayerNorm(hidden_dim)
        self.output = nn.Linear(hidden_dim, dim, bias=False)
        nn.init.normal_(self.position.weight, std=0.02)
        nn.init.normal_(self.age.weight, std=0.02)
        nn.init.zeros_(self.age.bias)
        nn.init.zeros_(self.output.weight)

    def forward(self, vectors_BLD: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D)."""
        pooled_BD = super().forward(vectors_BLD, weights_BL, ages_BL, mask_BL)
        used_BL = mask_BL & (weights_BL > 0)
        later_BLL = (ages_BL.unsqueeze(1) < ages_BL.unsqueeze(2)) & used_BL.unsqueeze(1)  # [b, l, m]: m is after l
        num_later_BL = later_BLL.sum(dim=2)
        hidden_BLH = self.before(vectors_BLD) + self.age(torch.log1p(ages_BL.clamp(min=0)).unsqueeze(2))
        hidden_BLH = hidden_BLH + self.position(num_later_BL.clamp(max=self.position.num_embeddings - 1))
        weight_BL = weights_BL.clamp(min=1e-12).log()
        bias_BLL = weight_BL.unsqueeze(1).expand_as(later_BLL)
        bias_BLL = bias_BLL.masked_fill(later_BLL | ~used_BL.unsqueeze(1), NOT_ALLOWED)
        for block in self.blocks[:-1]:
            hidden_BLH = block(hidden_BLH, hidden_BLH, bias_BLL)
        latest_BL = ((num_later_BL == 0) & used_BL).to(pooled_BD.dtype)
        share_BL = latest_BL / latest_BL.sum(dim=1, keepdim=True).clamp(min=1)
        latest_B1H = share_BL.unsqueeze(1) @ hidden_BLH
        latest_B1H = self.blocks[-1](latest_B1H, hidden_BLH, weight_BL.masked_fill(~used_BL, NOT_ALLOWED).unsqueeze(1))
        latest_BH = self.after(latest_B1H).squeeze(1) * used_BL.any(dim=1, keepdim=True).to(pooled_BD.dtype)
        size_B1 = (weights_BL * used_BL.to(weights_BL.dtype)).sum(dim=1, keepdim=True)
        said_BD: Tensor = self.output(latest_BH) * size_B1.pow(1 - self.exponent)
        return pooled_BD + said_BD


class _Block(nn.Module):
    """Attention, then a network of each event by itself; both are given normalised inputs and added."""

    def __init__(self, hidden_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(hidden_dim)
        self.query = nn.Linear(hidden_dim, hidden_dim)
        self.key_value = nn.Linear(hidden_dim, 2 * hidden_dim)
        self.mix = nn.Linear(hidden_dim, hidden_dim)
        self.network = nn.Sequential(
            nn.LayerNorm(hidden_dim),
            nn.Linear(hidden_dim, 2 * hidden_dim),
            nn.GELU(),
            nn.Linear(2 * hidden_dim, hidden_dim),
        )

    def forward(self, asking_BQH: Tensor, hidden_BLH: Tensor, bias_BQL: Tensor) -> Tensor:
        """(B, Q, H): what asks, changed by the events that it sees; `bias_BQL` is added to the attention of every head."""
        query_BKQH = self.query(self.norm(asking_BQH)).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        heads = self.key_value(self.norm(hidden_BLH)).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        key_BKLH, value_BKLH = heads.unbind()
        bias_B1QL = bias_BQL.unsqueeze(1)
        mixed_BKQH = functional.scaled_dot_product_attention(query_BKQH, key_BKLH, value_BKLH, attn_mask=bias_B1QL)
        asking_BQH = asking_BQH + self.mix(mixed_BKQH.transpose(1, 2).flatten(2))
        output_BQH: Tensor = asking_BQH + self.network(asking_BQH)
        return output_BQH
