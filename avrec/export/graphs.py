"""The towers with flat, named tensor inputs, as ONNX and TorchScript files.

Axes: B users in the batch, N items, L history length, D embedding of the ids, C content width, F feature dimensions.
"""

import copy
import io
import logging
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from avrec.bundle.schema import (
    USER_TOWER_INPUTS,
    USER_TOWER_OUTPUTS,
    item_tower_inputs,
    item_tower_outputs,
)
from avrec.core.errors import require
from avrec.core.files import atomic_write
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
    """The item tower: `feature_<m>`, `mask_<m>` of each modality, `id_vector`, `neighbour_vector`, `bias`, `evidence`.

    Without modalities (ids alone) there are only the last four inputs and no output `share`.
    """

    def __init__(self, tower: ItemTower) -> None:
        super().__init__()
        self.tower = _frozen(tower)
        self.inputs = item_tower_inputs(tower.modalities)
        self.outputs = item_tower_outputs(tower.modalities)
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Item vector (N, D + 1 + C), history vector (N, D + C) and share (N, M)."""
        modalities = self.tower.modalities
        content, known = inputs[: 2 * len(modalities)], inputs[2 * len(modalities) :]
        features = dict(zip(modalities, content[::2], strict=True))
        masks = dict(zip(modalities, content[1::2], strict=True))
        outputs: tuple[Tensor, ...] = self.tower(features, masks, *known)
        return outputs[: len(self.outputs)]

    def example(self) -> tuple[Tensor, ...]:
        """Made-up items: one complete, one lacking everything, one new."""
        tensors = []
        for name in self.tower.modalities:
            tensors += [_noise(EXAMPLE_ROWS, self.tower.feature_dims[name]), torch.tensor([True, False, True])]
        width = self.tower.id_dim
        known = (_noise(EXAMPLE_ROWS, width), _noise(EXAMPLE_ROWS, width), _noise(EXAMPLE_ROWS))
        return (*tensors, *known, torch.tensor([5.0, 1.0, 0.0]))

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


def export_onnx(graph: TowerGraph, path: Path, properties: Mapping[str, str]) -> None:
    """Write `graph` as one ONNX file without external data.

    PyTorch notes for each node the source lines it came from, with the folders of this machine: they are taken out.

    Args:
        graph: a tower.
        path: the file.
        properties: stored as the model's `metadata_props`.
    """
    require("onnxscript", "export")
    onnx = require("onnx", "export")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports that packages no tower uses are absent
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)  # inputs share `batch`
        program = torch.onnx.export(
            graph,
            graph.example(),
            dynamo=True,
            external_data=False,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=(graph.dynamic_shapes(),),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_sources(model)
    onnx.helper.set_model_props(model, dict(properties))
    onnx.checker.check_model(model)
    with atomic_write(path) as file:
        file.write(model.SerializeToString(deterministic=True))


def _forget_sources(model: Any) -> None:
    for holder in (model.graph, *model.functions):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
        for part in (*holder.node, *holder.value_info):
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.ClearField("metadata_props")
        value.ClearField("doc_string")


def export_torchscript(graph: TowerGraph, path: Path) -> None:
    """Write `graph` as TorchScript by tracing, which also takes modules that cannot be scripted.

    Neither the example inputs nor the debug records, which name source files of this machine, are kept.
    """
    buffer = io.BytesIO()
    with _no_jit_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]  # parity shows
        traced = torch.jit.trace(graph, graph.example(), strict=False, _store_inputs=False)
        torch.jit.save(traced, buffer)
    with zipfile.ZipFile(buffer) as whole, atomic_write(path) as file, zipfile.ZipFile(file, "w") as slim:
        for member in whole.infolist():
            if not member.filename.endswith(".debug_pkl"):
                slim.writestr(zipfile.ZipInfo(member.filename), whole.read(member))


def load_torchscript(path: Path) -> nn.Module:
    """A traced graph; only for files that this process wrote or whose sha256 was compared."""
    with _no_jit_warnings():
        module: nn.Module = torch.jit.load(str(path), map_location="cpu")
    return module


@contextmanager
def _no_jit_warnings() -> Iterator[None]:
    """PyTorch calls TorchScript deprecated at every use; the bundle's contract asks for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        yield


def _frozen(tower: Tower) -> Tower:
    return copy.deepcopy(tower).cpu().float().eval().requires_grad_(False)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))
