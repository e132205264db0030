"""Softmax cross-entropy over candidate items: full catalogue, in-batch or sampled, by what the columns are.

Axes: B users in the batch, N candidate items (columns).
"""

import torch
from torch import Tensor, nn


def masked_log_softmax(logits_BN: Tensor, valid_BN: Tensor) -> Tensor:
    """Log-softmax over the valid columns of each row; invalid columns get the smallest finite number, not NaN."""
    floor = -0.5 * torch.finfo(logits_BN.dtype).max
    return logits_BN.masked_fill(~valid_BN, floor).log_softmax(dim=1)


class Softmax(nn.Module):
    """Cross-entropy of the target under a softmax over the candidates, with the log-q correction of Yi et al. (2019, eq. 3).

    `loss_b = -sum_n t_bn log softmax_n((s_bn - log q_n) / temperature)`, where `t_b` is the row of targets divided by its sum.
    With all items as columns and `log_q = 0` it is the full softmax; with the items of the batch and the log of their
    inclusion probability it is the in-batch (sampled) softmax, whose expectation it corrects.

    Args:
        temperature: divides the scores (not the correction).
        correct_positive: also subtract `log_q` from the target's own score. A candidate set that always contains the
            positive draws it with probability 1, so the correction of the negatives alone is the unbiased one.
    """

    def __init__(self, temperature: float = 1.0, correct_positive: bool = False) -> None:
        super().__init__()
        self.temperature = temperature
        self.correct_positive = correct_positive

    def forward(self, scores_BN: Tensor, target_BN: Tensor, valid_BN: Tensor, log_q_N: Tensor) -> Tensor:
        """Loss of each row.

        Args:
            scores_BN: model scores.
            target_BN: bool, at least one true a row.
            valid_BN: bool, columns that take part; targets always do.
            log_q_N: log probability that a column is among the candidates (0 for a full catalogue).

        Returns:
            (B,) non-negative.
        """
        row_T, column_T = target_BN.nonzero(as_tuple=True)
        logits_BN = scores_BN if self.temperature == 1.0 else scores_BN / self.temperature
        if bool(log_q_N.any()):
            corrected_BN = logits_BN - log_q_N
            if not self.correct_positive:
                corrected_BN = torch.where(target_BN, logits_BN, corrected_BN)
            logits_BN = corrected_BN
        log_p_T = masked_log_softmax(logits_BN, valid_BN | target_BN)[row_T, column_T]
        total_B = log_p_T.new_zeros(len(scores_BN)).index_add(0, row_T, log_p_T)
        return -total_B / torch.bincount(row_T, minlength=len(scores_BN))
