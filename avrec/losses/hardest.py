"""Which columns are hard for a row: the highest scores of a pool, by the scores of the step itself.

Axes: B users in the batch, N candidate items (columns).
"""

import torch
from torch import Tensor


def keep_hardest(
    scores_BN: Tensor, valid_BN: Tensor, mined_N: Tensor, num_hard: int, log_q_N: Tensor, log_q_hard_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Leave of the mined columns of each row the `num_hard` with the highest scores, and correct each by its stratum.

    A column is hard for a row if its score is not below that of the last mined column that is kept. Hard ones take part
    whenever they were drawn at all; the others only where they were drawn for all rows. Ties at the border are all kept.

    Args:
        scores_BN: model scores; no gradient flows through the choice.
        valid_BN: bool, what may be a negative: a user's history, and what nobody had met yet, is out before the choice.
        mined_N: bool, columns that take part only where they are hard.
        num_hard: of the valid mined columns; all where there are fewer.
        log_q_N: log probability that a column takes part if it is not hard.
        log_q_hard_N: the same if it is.

    Returns:
        (B, N) bool, the columns that take part, and (B, N) the log probability of each.
    """
    floor = -torch.inf
    pool_BN = scores_BN.detach().masked_fill(~(valid_BN & mined_N), floor)
    number = min(num_hard, int(mined_N.sum()))
    if number == 0:
        return valid_BN & ~mined_N, log_q_N.expand_as(scores_BN)
    border_B1 = pool_BN.topk(number, dim=1).values[:, -1:]
    hard_BN = scores_BN.detach() >= border_B1
    return valid_BN & (hard_BN | ~mined_N), torch.where(hard_BN, log_q_hard_N, log_q_N)
