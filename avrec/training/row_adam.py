"""Adam that updates of a table only the rows that a step has touched.

Axes: N rows of the table, R rows touched, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam
from torch.optim.adam import adam

SparseGradient = tuple[dict[str, Any], Tensor, Tensor]


class RowAdam(Adam):
    """`torch.optim.Adam`, to the last bit where gradients are dense; lazy where a gradient is sparse.

    Of a parameter with a sparse gradient (an id table with `sparse=true`) only the rows in the gradient are read and written,
    so a step costs the same for ten thousand rows and for ten million. For those rows it is Adam (Kingma and Ba 2015,
    algorithm 1) as they stand: moments decay, and weights decay, when a row is touched, not in between (as in TensorFlow's
    LazyAdam and `torch.optim.SparseAdam`, which has no weight decay and takes no dense gradients). The bias correction counts
    the table's steps. State is laid out as Adam's, so checkpoints are too.

    Args:
        params: parameters or groups, as for Adam.
        lr: learning rate.
        betas: decay of the two moments.
        eps: added to the root of the second.
        weight_decay: added to the gradient times the weight.
        decoupled_weight_decay: shrink the weight instead (AdamW; Loshchilov and Hutter 2019).
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, decoupled_weight_decay=decoupled_weight_decay)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        sparse = self._take_sparse()
        super().step()
        for group, parameter, gradient in sparse:
            self._update_rows(group, parameter, *distinct_rows(gradient))
            parameter.grad = gradient
        return loss

    def _take_sparse(self) -> list[SparseGradient]:
        """The sparse gradients, taken away so that Adam sees the dense ones alone."""
        found = []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None and parameter.grad.is_sparse:
                    found.append((group, parameter, parameter.grad))
                    parameter.grad = None
        return found

    @torch.no_grad()
    def _update_rows(self, group: dict[str, Any], parameter: Tensor, rows_R: Tensor, gradient_RD: Tensor) -> None:
        """Gather the rows and their moments, make Adam's own step with them, and put them back."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            # `zeros`, not `zeros_like`: untouched pages of a large table are then never written, nor held in memory.
            state["exp_avg"], state["exp_avg_sq"] = (
                torch.zeros(parameter.shape, dtype=parameter.dtype, device=parameter.device) for _ in range(2)
            )
        tables = (parameter, state["exp_avg"], state["exp_avg_sq"])
        weight_RD, first_RD, second_RD = (table.index_select(0, rows_R) for table in tables)
        beta1, beta2 = group["betas"]
        adam(
            [weight_RD],
            [gradient_RD],
            [first_RD],
            [second_RD],
            [],
            [state["step"]],
            foreach=False,
            fused=parameter.device.type == "cpu",  # elsewhere the count of steps would have to lie there
            decoupled_weight_decay=group["decoupled_weight_decay"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        for table, values_RD in zip(tables, (weight_RD, first_RD, second_RD), strict=True):
            table.index_copy_(0, rows_R, values_RD)


def distinct_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R,) of a sparse gradient, each once, and what belongs to them (R, D); rows that ascend need no sorting."""
    rows_R = gradient._indices()[0]
    if not bool((rows_R[1:] > rows_R[:-1]).all()):
        gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()
