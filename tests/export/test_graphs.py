import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from avrec.export.graph_files import export_onnx, export_torchscript, load_torchscript
from avrec.export.graphs import ItemTowerGraph, UserTowerGraph
from avrec.models.item_tower import ItemTower
from avrec.models.pooling import NormalizedSum
from avrec.models.user_tower import UserTower
from tests.export.world import World

ROOT = Path(__file__).resolve().parents[2]


def signature(path: Path) -> tuple[dict[str, list], list[str]]:
    session = onnxruntime.InferenceSession(path)
    return {value.name: value.shape for value in session.get_inputs()}, [value.name for value in session.get_outputs()]


def test_item_tower_takes_flat_named_tensors_with_a_dynamic_batch(world: World) -> None:
    inputs, outputs = signature(world.folder / "item_tower.onnx")
    content = {"feature_audio": 5, "mask_audio": None, "feature_video": 7, "mask_video": None}
    id_dim = world.model.item_tower.id_dim
    known = {"id_vector": id_dim, "neighbour_vector": id_dim, "bias": None, "evidence": None}
    modalities = world.model.item_tower.modalities
    expected = (content if modalities else {}) | known
    assert inputs == {name: ["batch"] + ([width] if width else []) for name, width in expected.items()}
    assert list(inputs) == list(expected)
    assert outputs == ["item_vector", "history_vector"] + (["share"] if modalities else [])


def test_user_tower_has_a_dynamic_batch_and_history_length(world: World) -> None:
    inputs, outputs = signature(world.folder / "user_tower.onnx")
    block = ["batch", "length"]
    id_dim = world.model.item_tower.id_dim
    width = id_dim + world.model.item_tower.content_dim
    assert inputs == {
        "user_vector": ["batch", id_dim],
        "history_vectors": [*block, width],
        "weights": block,
        "ages": block,
        "mask": block,
    }
    assert outputs == ["vector"]


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize("length", [1, 2, 9])
def test_torchscript_takes_any_batch_and_length(world: World, size: int, length: int) -> None:
    graph = UserTowerGraph(world.model.user_tower)
    script = load_torchscript(world.folder / "user_tower.pt")
    id_dim, content_dim = world.model.user_tower.id_dim, world.model.user_tower.content_dim
    shapes = [(size, id_dim), (size, length, id_dim + content_dim), (size, length), (size, length)]
    inputs = [*(torch.rand(shape) for shape in shapes), torch.rand(size, length) > 0.5]
    torch.testing.assert_close(script(*inputs)[0], graph(*inputs)[0], rtol=1e-6, atol=1e-6)


def test_one_self_contained_file_says_what_it_belongs_to(world: World) -> None:
    files = [path for path in world.folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".onnx", ".pt", ".npy", ".parquet", ".json", ".md"}
    for name in ("item_tower", "user_tower"):
        model = onnx.load(world.folder / f"{name}.onnx", load_external_data=False)
        properties = {entry.key: entry.value for entry in model.metadata_props}
        assert properties["tower"] == name
        assert properties["data_hash"] == world.dataset.content_hash


def test_no_file_names_a_folder_of_this_machine(world: World) -> None:
    folders = [str(ROOT).encode(), b"site-packages", str(world.folder).encode(), str(Path.home()).encode() + b"/"]
    for path in world.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".pt":
            with zipfile.ZipFile(path) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        assert not [folder for folder in folders if folder in content], path.name


def test_torchscript_keeps_no_example_inputs(world: World) -> None:
    with zipfile.ZipFile(world.folder / "user_tower.pt") as archive:
        assert not [name for name in archive.namelist() if "traced_inputs" in name or "debug" in name]


def test_a_graph_is_a_frozen_copy(attention_world: World) -> None:
    tower = attention_world.model.item_tower.train()
    graph = ItemTowerGraph(tower)
    assert tower.training and not any(module.training for module in graph.modules())
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    before = graph(*graph.example())[0].clone()
    with torch.no_grad():
        tower.fusion.query_D.add_(1)
        after = graph(*graph.example())[0]
        tower.fusion.query_D.sub_(1)
    tower.eval()
    assert torch.equal(before, after)


class Noisy(nn.Module):
    """What a trained tower may hold: a check of a size in Python, which tracing warns of."""

    def forward(self, vectors: Tensor, weights: Tensor, ages: Tensor, mask: Tensor) -> Tensor:
        if vectors.sum() > 1e30:
            raise ValueError("too large")
        return (vectors * mask.unsqueeze(2)).sum(dim=1)


def test_exporting_is_quiet_and_repeatable(tmp_path: Path) -> None:
    graph = ItemTowerGraph(ItemTower({}, None, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("a", "b"):
            export_onnx(graph, tmp_path / f"{name}.onnx", {"tower": "item"})
        export_torchscript(UserTowerGraph(UserTower(3, 0, Noisy(), NormalizedSum())), tmp_path / "a.pt")
        load_torchscript(tmp_path / "a.pt")
    assert [str(warning.message) for warning in caught if "jit" in str(warning.message)] == []
    assert [str(warning.message) for warning in caught if issubclass(warning.category, FutureWarning)] == []
    assert [str(warning.message) for warning in caught if "Exporting a model" in str(warning.message)] == []
    assert [warning for warning in caught if issubclass(warning.category, torch.jit.TracerWarning)] == []
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_no_warning_filter_is_left_behind(tmp_path: Path) -> None:
    before = list(warnings.filters)
    export_torchscript(UserTowerGraph(UserTower(2, 0, NormalizedSum(), NormalizedSum())), tmp_path / "a.pt")
    assert warnings.filters == before


def test_ids_alone_go_through_onnx(tmp_path: Path) -> None:
    """Zero-width segments: a tower without content has D + 1 numbers an item."""
    graph = ItemTowerGraph(ItemTower({}, None, 3))
    export_onnx(graph, tmp_path / "item.onnx", {})
    inputs = {
        "id_vector": np.array([[1, 2, 3], [4, 5, 6]], np.float32),
        "neighbour_vector": np.zeros((2, 3), np.float32),
        "bias": np.array([0.5, 0.25], np.float32),
        "evidence": np.array([1, 0], np.float32),
    }
    item, history = onnxruntime.InferenceSession(tmp_path / "item.onnx").run(None, inputs)
    np.testing.assert_array_equal(item, [[1, 2, 3, 0.5], [0, 0, 0, 0]])  # the gate is hard at kappa 0
    np.testing.assert_array_equal(history, [[1, 2, 3], [0, 0, 0]])
