"""Pooling of a user's history: `pool(vectors_BLD, weights_BL, ages_BL, mask_BL) -> vector_BD`, zero for an empty history.

Axes: B users in the batch, L history length, D embedding, R rows of a table.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class NormalizedSum(nn.Module):
    """`sum_l w_l y_l / (sum_l w_l)^exponent`, recent events weighing more when a half-life is given.

    Args:
        exponent: 0 is the plain sum (what a fold-in needs), 0.5 the usual compromise, 1 the mean.
        half_life_days: age at which an event weighs half; None for no decay.
    """

    def __init__(self, exponent: float = 0.5, half_life_days: float | None = None) -> None:
        super().__init__()
        self.exponent = exponent
        self.half_life_days = half_life_days

    def forward(self, vectors_BLD: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D)."""
        weights_BL, size_B1 = self._weighed(weights_BL, ages_BL, mask_BL)
        return (weights_BL.unsqueeze(2) * vectors_BLD).sum(dim=1) / size_B1

    def of_rows(self, table_RD: Tensor, row_BL: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """What `forward` makes of `table_RD[row_BL]`, but for rounding, without B L D numbers in between; (B, D).

        Forward and backward take less than half of the time (batch 2,048, histories of 20, 64 wide: 6 ms of one core, not 14
        to 20). Histories of at least one place, and weights of the table's type.
        """
        weights_BL, size_B1 = self._weighed(weights_BL, ages_BL, mask_BL)
        return functional.embedding_bag(row_BL, table_RD, per_sample_weights=weights_BL, mode="sum") / size_B1

    def _weighed(self, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """What each event weighs (B, L), and what the sum is divided by (B, 1)."""
        weights_BL = weights_BL * mask_BL.to(weights_BL.dtype)
        if self.half_life_days is not None:
            weights_BL = weights_BL * torch.exp2(-ages_BL.clamp(min=0) / self.half_life_days)
        size_B1 = weights_BL.sum(dim=1, keepdim=True)
        return weights_BL, torch.where(size_B1 > 0, size_B1, torch.ones_like(size_B1)) ** self.exponent


class RefinedSum(NormalizedSum):
    """The normalised sum, and what a small network reads out of it: which of a user's habits are a taste.

    `y + W_2 gelu(W_1 y)` of the normalised sum y; W_2 starts at zero, so an untrained layer is the normalised sum. A sum
    counts everything in a history alike: whoever listens to one kind of sound, with pictures of all kinds, is still pulled
    towards the pictures he happened to see. An empty history stays zero.
    Dropout in it won nothing (four seeds on the sample catalogue), and row by row would differ between ranks.

    Args:
        dim: D.
        exponent: as in `NormalizedSum`.
        half_life_days: likewise.
        hidden_dim: width of the network.
    """

    def __init__(
        self,
        dim: int,
        exponent: float = 0.5,
        half_life_days: float | None = None,
        hidden_dim: int = 128,
    ) -> None:
        super().__init__(exponent, half_life_days)
        self.hidden = nn.Linear(dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, dim, bias=False)
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.output.weight)

    def forward(self, vectors_BLD: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D)."""
        return self._refined(super().forward(vectors_BLD, weights_BL, ages_BL, mask_BL), mask_BL)

    def of_rows(self, table_RD: Tensor, row_BL: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D), as `NormalizedSum.of_rows`."""
        return self._refined(super().of_rows(table_RD, row_BL, weights_BL, ages_BL, mask_BL), mask_BL)

    def _refined(self, pooled_BD: Tensor, mask_BL: Tensor) -> Tensor:
        hidden_BH = functional.gelu(self.hidden(pooled_BD))
        refined_BD: Tensor = self.output(hidden_BH) * mask_BL.any(dim=1, keepdim=True).to(pooled_BD.dtype)
        return pooled_BD + refined_BD


class AttentionPooling(nn.Module):
    """The normalised sum with learned attention in place of equal weights.

    Attention logits are a learned direction of the item vector, minus a learned rate times `log(1 + age in days)`, plus the
    log of the event's weight. The result is multiplied by `(sum_l w_l)^(1 - exponent)`, so an untrained layer (direction and
    rate zero) equals `NormalizedSum(exponent)`.

    Args:
        dim: D.
        exponent: as in `NormalizedSum`.
    """

    def __init__(self, dim: int, exponent: float = 0.5) -> None:
        super().__init__()
        self.exponent = exponent
        self.direction = nn.Linear(dim, 1, bias=False)
        self.decay_rate = nn.Parameter(torch.zeros(()))
        nn.init.zeros_(self.direction.weight)

    def forward(self, vectors_BLD: Tensor, weights_BL: Tensor, ages_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, D)."""
        used_BL = mask_BL & (weights_BL > 0)
        logit_BL: Tensor = self.direction(vectors_BLD).squeeze(2) - self.decay_rate * torch.log1p(ages_BL.clamp(min=0))
        logit_BL = logit_BL + weights_BL.clamp(min=1e-12).log()
        logit_BL = logit_BL.masked_fill(~used_BL, -1e9)
        attention_BL = logit_BL.softmax(dim=1) * used_BL.to(logit_BL.dtype)
        size_B1 = (weights_BL * used_BL.to(weights_BL.dtype)).sum(dim=1, keepdim=True)
        mean_BD = (attention_BL.unsqueeze(2) * vectors_BLD).sum(dim=1)
        return mean_BD * size_B1.pow(1 - self.exponent)
