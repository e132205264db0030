"""The towers as functions of flat, named tensors, preprocessing and encoders of raw media included.

Axes: B users in the batch, N items, L history length, D embedding of the ids, C content width.
"""

import copy
from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn

from avrec.bundle.schema import (
    KNOWN_OF_ITEM,
    USER_TOWER_INPUTS,
    USER_TOWER_OUTPUTS,
    item_tower_inputs,
    item_tower_outputs,
)
from avrec.core.clips import VideoSpec
from avrec.models.encoders.base import MediaEncoder
from avrec.models.item_tower import ItemTower
from avrec.models.user_tower import UserTower

Tower = TypeVar("Tower", bound=nn.Module)

EXAMPLE_ROWS = 3  # torch.export takes a dimension of size 1 in the example for a constant
EXAMPLE_LENGTH = 4


class TowerGraph(nn.Module, ABC):
    """A tower as a function of flat tensors; holds a copy of it in evaluation mode, in float32, on the CPU."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @abstractmethod
    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs in their order."""

    @abstractmethod
    def example(self) -> tuple[Tensor, ...]:
        """Made-up inputs to trace with; a file may keep them, so they are never a user's data."""

    @abstractmethod
    def dynamic_shapes(self) -> tuple[dict[int, str], ...]:
        """Names of each input's dynamic axes."""


class ItemTowerGraph(TowerGraph):
    """The item tower: the content and `mask_<m>` of each modality, `id_vector`, `neighbour_vector`, `bias`, `evidence`.

    The content is `feature_<m>` (N, F), or of raw media `clips_<m>`, (N, C, S) float32 sound or (N, C, T, H, W, 3) uint8
    pictures, with `valid_<m>` (N, C), the share of each clip that is no padding. Without modalities (ids alone) there are
    only the last four inputs and no output `share`.
    """

    def __init__(self, tower: ItemTower) -> None:
        super().__init__()
        self.tower = _frozen(tower)
        self.media = {name: found for name, found in self.tower.encoders.items() if isinstance(found, MediaEncoder)}
        self.inputs = item_tower_inputs(tower.modalities, self.media)
        self.outputs = item_tower_outputs(tower.modalities)
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Item vector (N, D + 1 + C), history vector (N, D + C) and share (N, M)."""
        given = dict(zip(self.inputs, inputs, strict=True))
        features, masks = {}, {}
        for name in self.tower.modalities:
            masks[name] = given[f"mask_{name}"]
            if (
                name in self.media
            ):  # what comes of an absent row does not matter: the fusion leaves it out, NaN included
                features[name] = self.media[name].steps(given[f"clips_{name}"], given[f"valid_{name}"])
            else:
                features[name] = given[f"feature_{name}"]
        outputs: tuple[Tensor, ...] = self.tower(features, masks, *(given[name] for name in KNOWN_OF_ITEM))
        return outputs[: len(self.outputs)]

    def example(self) -> tuple[Tensor, ...]:
        """Made-up items: one complete, one lacking everything, one new."""
        tensors = []
        for name in self.tower.modalities:
            tensors += self._example_content(name)
            tensors.append(torch.tensor([True, False, True]))
        width = self.tower.id_dim
        known = (_noise(EXAMPLE_ROWS, width), _noise(EXAMPLE_ROWS, width), _noise(EXAMPLE_ROWS))
        return (*tensors, *known, torch.tensor([5.0, 1.0, 0.0]))

    def _example_content(self, name: str) -> list[Tensor]:
        if name not in self.media:
            return [_noise(EXAMPLE_ROWS, self.tower.feature_dims[name])]
        spec = self.media[name].spec
        clips = 0.1 * _noise(EXAMPLE_ROWS, *spec.shape)
        if isinstance(spec, VideoSpec):
            clips = (128 + 500 * clips).clamp(0, 255).to(torch.uint8)
        return [clips, torch.tensor([1.0, 0.0, 0.6]).unsqueeze(1).repeat(1, spec.num_clips)]

    def dynamic_shapes(self) -> tuple[dict[int, str], ...]:
        """Every input's first axis."""
        return tuple({0: "batch"} for _ in self.inputs)


class UserTowerGraph(TowerGraph):
    """The user tower: `user_vector`, `history_vectors`, `weights`, `ages`, `mask` to `vector`."""

    inputs = USER_TOWER_INPUTS
    outputs = USER_TOWER_OUTPUTS

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = _frozen(tower)
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The user's vector (B, D + 1 + C)."""
        return (self.tower(*inputs),)

    def example(self) -> tuple[Tensor, ...]:
        """Made-up users, one of them without a history."""
        block = (EXAMPLE_ROWS, EXAMPLE_LENGTH)
        mask = torch.ones(block, dtype=torch.bool)
        mask[0, 2:], mask[1] = False, False
        history = _noise(*block, self.tower.id_dim + self.tower.content_dim)
        return _noise(EXAMPLE_ROWS, self.tower.id_dim), history, _noise(*block).abs() + 0.5, _noise(*block).abs(), mask

    def dynamic_shapes(self) -> tuple[dict[int, str], ...]:
        """Batch everywhere, history length in all but the first."""
        return ({0: "batch"}, *({0: "batch", 1: "length"} for _ in self.inputs[1:]))


def _frozen(tower: Tower) -> Tower:
    return copy.deepcopy(tower).cpu().float().eval().requires_grad_(False)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
