"""The item tower: features and the item's id vector in, its half of the inner product out.

Axes: N items, M modalities, F feature dimensions, D embedding of the ids, C content width.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from avrec.models.encoders.feature import FeatureEncoder


@dataclass(frozen=True)
class OperatingPoint:
    """How ids and content are weighed against each other; chosen on validation, never trained.

    Attributes:
        kappa: the gate is `g = n / (n + kappa)` for `n` training events; 0 makes it hard (content for cold items only).
        content_scale: `s`, from content units to id units.
        cold_offset: added to the score of items without a training event.
        neighbour_weight: share of the id vectors of an item's content neighbours in the content part.
        history_smoothing: weight of the content of an item's neighbours in its history vector; tables only, not the graph.
    """

    kappa: float = 0.0
    content_scale: float = 1.0
    cold_offset: float = 0.0
    neighbour_weight: float = 0.0
    history_smoothing: float = 0.0


class ItemTower(nn.Module):
    """Encode each modality, fuse, and lay `[g e + (1 - g) s w v, b + offset, (1 - g) s c]` end to end.

    `e` is the item's id vector, `v` the mean id vector of its content neighbours, `c` the fused content and `g` the
    evidence gate; see `OperatingPoint`. The history vector of a trained item is `[e, c]`, of a cold one `[w v, c]`: gating
    what a user *did* by the item's evidence was measured to hurt.

    Args:
        encoders: one for each modality; their order is the order of `share`.
        fusion: called with the encoders' tokens; None without modalities.
        id_dim: D.
        normalise: scale the fused content to unit length.
    """

    calibration: Tensor

    def __init__(
        self, encoders: Mapping[str, nn.Module], fusion: nn.Module | None, id_dim: int, normalise: bool = True
    ) -> None:
        super().__init__()
        self.modalities = tuple(encoders)
        self.encoders = nn.ModuleDict(dict(encoders))
        self.feature_dims = {
            name: found.feature_dim for name, found in encoders.items() if isinstance(found, FeatureEncoder)
        }
        self.fusion = fusion
        self.id_dim = id_dim
        self.content_dim = 0 if fusion is None else _dim(fusion, "output_dim")
        self.normalise = normalise
        self.register_buffer("calibration", torch.zeros(5))
        self.set_operating_point(OperatingPoint())

    @property
    def operating_point(self) -> OperatingPoint:
        """The calibration in force."""
        return OperatingPoint(*(float(value) for value in self.calibration))

    def set_operating_point(self, point: OperatingPoint) -> None:
        """Put another calibration in force."""
        self.calibration.copy_(torch.tensor(astuple(point), dtype=self.calibration.dtype))

    def content(self, features: dict[str, Tensor], masks: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Fused content (N, C) and shares (N, M).

        Args:
            features: {modality: (N, F)} finished features, or (N, K, H) the steps of a media encoder.
            masks: {modality: (N,)} true where the item has it.
        """
        assert self.fusion is not None
        tokens = {name: self.encoders[name](features[name]) for name in self.modalities}
        vector_NC, share_NM = self.fusion(tokens, {name: masks[name] for name in self.modalities})
        return (functional.normalize(vector_NC, dim=1) if self.normalise else vector_NC), share_NM

    def assemble(
        self, content_NC: Tensor, id_vector_ND: Tensor, neighbour_vector_ND: Tensor, bias_N: Tensor, evidence_N: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Item vectors (N, D + 1 + C) and history vectors (N, D + C) from their parts."""
        kappa, scale, offset, neighbour_weight, _ = self.calibration.unbind()
        cold_N = (evidence_N <= 0).to(content_NC.dtype)
        gate_N1 = (evidence_N / torch.where(evidence_N > 0, evidence_N + kappa, 1.0)).unsqueeze(1)
        own_ND = gate_N1 * id_vector_ND
        borrowed_ND = neighbour_weight * neighbour_vector_ND
        past_ND = torch.where(cold_N.unsqueeze(1) > 0, borrowed_ND, id_vector_ND)
        bias_N = bias_N * (1 - cold_N) + offset * cold_N
        item_id_ND = own_ND + (1 - gate_N1) * scale * borrowed_ND
        item = torch.cat([item_id_ND, bias_N.unsqueeze(1), (1 - gate_N1) * scale * content_NC], dim=1)
        return item, torch.cat([past_ND, content_NC], dim=1)

    def forward(
        self,
        features: dict[str, Tensor],
        masks: dict[str, Tensor],
        id_vector: Tensor,
        neighbour_vector: Tensor,
        bias: Tensor,
        evidence: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Everything a catalogue stores of its items.

        Args:
            features: {modality: (N, F) or (N, K, H)}.
            masks: {modality: (N,)} true where the item has it.
            id_vector: (N, D), zero for a new item.
            neighbour_vector: (N, D) mean id vector of the content neighbours, zero when unknown.
            bias: (N,), zero for a new item.
            evidence: (N,) training events, zero for a new item.

        Returns:
            item_vector (N, D + 1 + C), history_vector (N, D + C), share (N, M).
        """
        if self.fusion is None:
            content_NC, share_NM = id_vector[:, :0], id_vector[:, :0]
        else:
            content_NC, share_NM = self.content(features, masks)
        return *self.assemble(content_NC, id_vector, neighbour_vector, bias, evidence), share_NM


def _dim(module: nn.Module, name: str) -> int:
    value = getattr(module, name)
    assert isinstance(value, int)
    return value
