"""Adagrad with one number of state a row, for the rows that a step has touched.

Axes: N rows of the table, R rows touched, D width.
"""

from typing import Any

import torch
from torch import Tensor

from avrec.training.row_adam import RowAdam


class RowAdagrad(RowAdam):
    """Row-wise Adagrad where a gradient is sparse, Adam where it is dense.

    `s_r += mean_d g_rd^2; w_r -= rate g_r / (sqrt(s_r) + eps)` for the rows r in the gradient (Duchi et al. 2011, with one
    accumulator a row as in FBGEMM's tables of recommendation models). The state of ten million rows of width 64 is 40 MB
    where Adam's is 5 GB, and a step reads and writes the table once where Adam does that to three. It has no momentum, and
    its rate wants to be ten times Adam's or more: `row_rate` is that of the tables as a multiple of their group's.

    Args:
        params: parameters or groups, as for Adam.
        lr: learning rate.
        betas: of Adam, for dense gradients.
        eps: see there; likewise for rows.
        weight_decay: added to the gradient times the weight, of a table when a row is touched.
        row_rate: multiplies the rate for rows.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        row_rate: float = 10.0,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
        self.row_rate = row_rate

    @torch.no_grad()
    def _update_rows(self, group: dict[str, Any], parameter: Tensor, rows_R: Tensor, gradient_RD: Tensor) -> None:
        """Add up the squares and step."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)  # Adam looks for it when a state is restored
            state["square_sum_N"] = torch.zeros(len(parameter), dtype=parameter.dtype, device=parameter.device)
        state["step"] += 1
        if group["weight_decay"]:
            gradient_RD = gradient_RD.add(parameter.index_select(0, rows_R), alpha=group["weight_decay"])
        square_R = gradient_RD.square() if gradient_RD.dim() == 1 else gradient_RD.square().mean(dim=1)
        sum_R = state["square_sum_N"].index_select(0, rows_R).add_(square_R)
        state["square_sum_N"].index_copy_(0, rows_R, sum_R)
        size_R = sum_R.sqrt_().add_(group["eps"]).reciprocal_().mul_(-group["lr"] * self.row_rate)
        step_RD = gradient_RD * (size_R if gradient_RD.dim() == 1 else size_R.unsqueeze(1))
        parameter.index_add_(0, rows_R, step_RD)
