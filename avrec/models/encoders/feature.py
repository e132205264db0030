"""The encoder of finished feature vectors.

Axes: N items, F feature dimensions, T tokens (one here), D embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of the training items, kept as buffers.

    Statistics are computed in float64: in float16 a standard deviation overflows, and unscaled modalities drown one another.
    """

    mean_F: Tensor
    scale_F: Tensor

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean_F", torch.zeros(feature_dim))
        self.register_buffer("scale_F", torch.ones(feature_dim))

    def learn(self, values_NF: Tensor) -> None:
        """Set the buffers from the rows of the training items; a constant column is only centred."""
        values = values_NF.double()
        if len(values) < 2:
            return
        deviation = values.std(dim=0, correction=0)
        self.mean_F.copy_(values.mean(dim=0))
        self.scale_F.copy_(torch.where(deviation > 0, 1 / deviation, torch.ones_like(deviation)))

    def forward(self, values_NF: Tensor) -> Tensor:
        """(N, F) standardised."""
        return (values_NF - self.mean_F) * self.scale_F


class FeatureEncoder(nn.Module):
    """Standardise, scale to unit length, and project when asked: one token an item.

    Args:
        feature_dim: F, known from the data.
        dim: width of the projection; None keeps the F standardised numbers, with nothing to learn.
        dropout: on the input of the projection.
    """

    def __init__(self, feature_dim: int, dim: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.output_dim = feature_dim if dim is None else dim
        self.preprocess = Standardise(feature_dim)
        self.dropout = nn.Dropout(dropout)
        self.head: nn.Module = nn.Identity() if dim is None else nn.Linear(feature_dim, dim)

    def forward(self, values_NF: Tensor) -> Tensor:
        """Tokens (N, 1, output_dim) of features (N, F)."""
        unit_NF = functional.normalize(self.preprocess(values_NF), dim=1)
        tokens: Tensor = self.head(self.dropout(unit_NF))
        return tokens.unsqueeze(1)
