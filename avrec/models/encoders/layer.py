"""Layers of transformers as blocks: one tensor in, one out."""

from torch import Tensor, nn


class Layer(nn.Module):
    """A transformer layer that wants to be told of a mask, without one.

    Axes: X sequences, T tokens, H hidden width.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden_XTH: Tensor) -> Tensor:
        """(X, T, H)."""
        hidden: Tensor = self.layer(hidden_XTH, None)
        return hidden
