"""Tables of item and user vectors, outside the towers' graphs.

Axes: N items, U users, D embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ItemTable(nn.Module):
    """One vector and one bias an item; tied tables use one vector for the history and for the output.

    Args:
        num_items: N.
        dim: D.
        tied: one table for both roles; it was measured to win with half the parameters.
        init_std: standard deviation of the random start.
        dropout: elementwise, one mask a step shared by both roles of a tied table.
        sparse: gradients hold only the rows that a step has used, so that a step does not grow with the table; for
            candidates that are not the full catalogue, and `RowAdam`.
    """

    def __init__(
        self,
        num_items: int,
        dim: int,
        tied: bool = True,
        init_std: float = 0.05,
        dropout: float = 0.0,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.tied = tied
        self.sparse = sparse
        self.output_ND = nn.Parameter(torch.randn(num_items, dim) * init_std)
        self.history_ND = None if tied else nn.Parameter(torch.randn(num_items, dim) * init_std)
        self.bias_N = nn.Parameter(torch.zeros(num_items))
        self.dropout = dropout

    def draw(self) -> tuple[Tensor, Tensor]:
        """The history table and the output table of this step, dropout applied while training."""
        output_ND = functional.dropout(self.output_ND, self.dropout, self.training)
        if self.history_ND is None:
            return output_ND, output_ND
        return functional.dropout(self.history_ND, self.dropout, self.training), output_ND

    def rows(self, items_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`draw` and the biases for some items alone: history vectors, output vectors (R, D) and biases (R,).

        Args:
            items_R: distinct, so that one item has one mask of the dropout.
        """
        output_RD = functional.dropout(gather(self.output_ND, items_R, self.sparse), self.dropout, self.training)
        bias_R = torch.gather(self.bias_N, 0, items_R, sparse_grad=self.sparse)
        if self.history_ND is None:
            return output_RD, output_RD, bias_R
        history_RD = gather(self.history_ND, items_R, self.sparse)
        return functional.dropout(history_RD, self.dropout, self.training), output_RD, bias_R

    @torch.no_grad()
    def set_vectors(self, vectors_ND: Tensor) -> None:
        """Overwrite both tables."""
        self.output_ND.copy_(vectors_ND)
        if self.history_ND is not None:
            self.history_ND.copy_(vectors_ND)


class UserTable(nn.Module):
    """A zero-initialised residual vector a user, gated by how many events the user has.

    Args:
        num_users: U.
        dim: D.
        enabled: without it every user is only what the history says, and strangers are served alike.
        kappa: the gate is `n / (n + kappa)`.
        sparse: as in `ItemTable`, for the users of a batch.
    """

    def __init__(
        self, num_users: int, dim: int, enabled: bool = False, kappa: float = 5.0, sparse: bool = False
    ) -> None:
        super().__init__()
        self.sparse = sparse
        self.num_users = num_users
        self.dim = dim
        self.kappa = kappa
        self.residual_UD = nn.Parameter(torch.zeros(num_users if enabled else 0, dim))

    @property
    def enabled(self) -> bool:
        """Whether there are residuals."""
        return len(self.residual_UD) > 0

    def forward(self, user_idx_B: Tensor, evidence_B: Tensor) -> Tensor:
        """Gated residuals (B, D); zero for strangers (index -1)."""
        if not self.enabled:
            return self.residual_UD.new_zeros(len(user_idx_B), self.dim)
        known_B = user_idx_B >= 0
        gate_B = known_B * evidence_B / (evidence_B + self.kappa).clamp(min=1e-12)
        return gather(self.residual_UD, user_idx_B.clamp(min=0), self.sparse) * gate_B.unsqueeze(1)


def gather(table_ND: Tensor, rows_R: Tensor, sparse: bool) -> Tensor:
    """Rows (R, D) of a table, whose gradient is sparse if that is asked for."""
    return functional.embedding(rows_R, table_ND, sparse=True) if sparse else table_ND[rows_R]
