"""InfoNCE both ways: the pair's item among the items of the batch, and the pair's user among its users.

Axes: B users in the batch, N candidate items (columns).
"""

import math

import torch
from torch import Tensor, nn

from avrec.core.errors import ConfigError
from avrec.losses.softmax import Softmax, masked_log_softmax

MAX_SCALE = 100.0


class InfoNCE(nn.Module):
    """Symmetric contrast of users and items (van den Oord et al. 2018, eq. 4; both ways as in Radford et al. 2021, section 2.3).

    `loss_b = (1 - w) L_item + w L_user` with `L_item = -log softmax_n(s_bn / t - log q_n)_i`, the softmax of `Softmax`, and
    `L_user = -log(exp(s_bi / t) / (exp(s_bi / t) + sum_c exp(s_ci / t)))` for the pair's item i, over the rows c for whose
    users i is a negative: another pair with the same item, or a user who has it in his history, is none. Users are drawn as
    their pairs are; a softmax over them is not corrected for that, since nobody is recommended to.

    The users are those of the batch, so the loss couples its rows and needs them all in one process.

    Args:
        temperature: t, or where it starts.
        user_weight: w; 0 is the softmax over items alone, 1 that over users.
        learn_temperature: learn `log(1 / t)` with the model, its scale held at 100 or below (Radford et al. 2021).

    Raises:
        ConfigError: the temperature or the weight is out of range.
    """

    couples_rows = True

    def __init__(self, temperature: float = 1.0, user_weight: float = 0.5, learn_temperature: bool = False) -> None:
        super().__init__()
        if not (temperature >= 1 / MAX_SCALE and 0 <= user_weight <= 1):
            raise ConfigError(
                f"loss: temperature is {temperature} and user_weight {user_weight}; expected a temperature of at least "
                f"{1 / MAX_SCALE} and a weight from 0 to 1. Cosines like .05 to .1, inner products 1."
            )
        self.user_weight = user_weight
        self.by_item = Softmax()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)

    def forward(self, scores_BN: Tensor, target_BN: Tensor, valid_BN: Tensor, log_q_N: Tensor) -> Tensor:
        """Loss of each row.

        Args:
            scores_BN: model scores.
            target_BN: bool, exactly one true a row.
            valid_BN: bool, columns that take part; targets always do.
            log_q_N: log probability that a column is among the candidates.

        Returns:
            (B,) non-negative.
        """
        with (
            torch.no_grad()
        ):  # the parameter itself, as Radford et al. do: beyond a bound in the graph no gradient leads back
            self.log_scale.clamp_(max=math.log(MAX_SCALE))
        logits_BN = self.log_scale.exp() * scores_BN
        by_item_B: Tensor = self.by_item(logits_BN, target_BN, valid_BN, log_q_N)
        column_B = target_BN.int().argmax(dim=1)
        own_BB = torch.eye(len(scores_BN), dtype=torch.bool, device=scores_BN.device)
        rival_BB = (valid_BN & ~target_BN).T[column_B]
        by_user_B = -masked_log_softmax(logits_BN.T[column_B], rival_BB | own_BB).diagonal()
        return (1 - self.user_weight) * by_item_B + self.user_weight * by_user_B
