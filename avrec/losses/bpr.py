"""Bayesian personalised ranking (Rendle et al. 2009).

Axes: B users in the batch, N candidate items (columns).
"""

from torch import Tensor, nn
from torch.nn import functional


class BPR(nn.Module):
    """Mean over the valid negatives of `-log sigmoid(s_positive - s_negative)` (Rendle et al. 2009, BPR-Opt).

    A negative that the candidates contain more often than uniformly is weighted by `1 / q`, so that in-batch and
    popularity-drawn negatives estimate the same mean as uniform ones; pass `log_q = 0` for no weighting.
    """

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
        loss_BN = functional.softplus(scores_BN - positive_B.unsqueeze(1))
        weight_BN = (valid_BN & ~target_BN) * (-log_q_N).exp()
        return (loss_BN * weight_BN).sum(dim=1) / weight_BN.sum(dim=1).clamp(min=1e-12)
