"""Bayesian personalised ranking (Rendle et al. 2009), with uniform or with hard negatives.

Axes: B users in the batch, N candidate items (columns).
"""

from typing import Any

import torch
from torch import Tensor, nn

from avrec.core.errors import ConfigError


class BPR(nn.Module):
    """Mean over the valid negatives of `-log sigmoid(s_positive - s_negative)` (Rendle et al. 2009, BPR-Opt).

    A negative that the candidates contain more often than uniformly is weighted by `1 / q`, so that in-batch and
    popularity-drawn negatives estimate the same mean as uniform ones; pass `log_q = 0` for no weighting.

    With `draws = m > 1` it is dynamic negative sampling (Zhang et al. 2013, "Optimizing top-N collaborative filtering via
    dynamic negative item sampling"): of m negatives drawn at random the one with the highest score counts. Its expectation
    is taken exactly instead of drawing: if the harder negatives of a row hold the share a of the weight, and they and this
    one the share b, this one is the hardest of m with probability `(1 - a)^m - (1 - b)^m`. That falls off with the rank r of N
    about as `exp(-r m / N)`, the geometric sampler over ranks of Rendle and Freudenthaler (2014) with lambda = N / m.

    Args:
        draws: m; 1 takes all negatives alike.

    Raises:
        ConfigError: fewer than 1 draw.
    """

    def __init__(self, draws: float = 1.0) -> None:
        super().__init__()
        if not draws >= 1:
            raise ConfigError(
                f"loss: draws is {draws}; expected 1 (all negatives alike) or more (the hardest of so many counts)."
            )
        self.draws = draws

    def forward(self, scores_BN: Tensor, target_BN: Tensor, valid_BN: Tensor, log_q_N: Tensor) -> Tensor:
        """Loss of each row; 0 for a row without a valid negative.

        Args:
            scores_BN: model scores.
            target_BN: bool, exactly one true a row.
            valid_BN: bool, columns that take part.
            log_q_N: log probability that a column is among the candidates.

        Returns:
            (B,) non-negative.
        """
        positive_B = (scores_BN * target_BN).sum(dim=1)
        loss_BN: Tensor = Softplus.apply(scores_BN - positive_B.unsqueeze(1))
        weight_BN = (valid_BN & ~target_BN) * (-log_q_N).exp()
        if self.draws > 1:
            weight_BN = hardest_of(scores_BN.detach(), weight_BN, self.draws)
        loss_B: Tensor = (loss_BN * weight_BN).sum(dim=1) / weight_BN.sum(dim=1).clamp(min=1e-12)
        return loss_B


class Softplus(torch.autograd.Function):
    """`log(1 + exp(x)) = -log sigmoid(-x)` with the exact gradient `sigmoid(x)`, at half the time of PyTorch's on a processor.

    The time there goes into `log1p`, which keeps the value relatively exact far below 0; a loss needs it absolutely exact.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The value."""
        ctx.save_for_backward(x)
        return x.abs().neg_().exp_().add_(1).log_().add_(x.clamp(min=0))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """The gradient."""
        (x,) = ctx.saved_tensors
        product: Tensor = gradient * x.sigmoid()
        return product


def hardest_of(scores_BN: Tensor, weight_BN: Tensor, draws: float) -> Tensor:
    """Probability (B, N) that a column has the highest score of `draws` columns drawn, with replacement, by `weight_BN`.

    Zero for a column of weight zero; a row without any weight stays zero. Of equal scores the first column counts as higher.
    """
    order_BN = torch.where(weight_BN > 0, scores_BN, -torch.inf).argsort(dim=1, descending=True, stable=True)
    share_BN = weight_BN.gather(1, order_BN) / weight_BN.sum(dim=1, keepdim=True).clamp(min=1e-12)
    left_BN = (1 - share_BN.cumsum(dim=1)).clamp(min=0)
    before_BN = (left_BN + share_BN).clamp(max=1)
    chance_BN = (before_BN**draws - left_BN**draws) * (share_BN > 0)
    return torch.zeros_like(weight_BN).scatter(1, order_BN, chance_BN)
