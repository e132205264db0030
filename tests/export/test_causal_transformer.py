"""The causal transformer leaves PyTorch unchanged: one user or many, one event or two hundred, and nobody's history."""

from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.bundle.session import OnnxGraph
from avrec.export.graph_files import export_onnx, export_torchscript, load_torchscript
from avrec.export.graphs import UserTowerGraph
from avrec.export.parity import TOLERANCE, relative_errors, torch_runner
from avrec.export.sample import Arrays
from avrec.models.causal_transformer import CausalTransformer
from avrec.models.user_tower import UserTower

ID_DIM, CONTENT_DIM = 6, 5


@pytest.fixture(scope="module")
def graph() -> UserTowerGraph:
    torch.manual_seed(0)
    pooling = CausalTransformer(ID_DIM, num_blocks=2), CausalTransformer(CONTENT_DIM, hidden_dim=32)
    tower = UserTower(ID_DIM, CONTENT_DIM, *pooling, max_history_items=200)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return UserTowerGraph(tower)


def calls() -> list[Arrays]:
    made = []
    for size, length in ((1, 1), (1, 200), (2, 3), (7, 50)):
        draw = np.random.default_rng(length)
        mask = np.arange(length) < draw.integers(1, length + 1, (size, 1))
        mask[1:2] = False  # nobody's history
        made.append(
            {
                "user_vector": draw.standard_normal((size, ID_DIM)).astype(np.float32),
                "history_vectors": draw.standard_normal((size, length, ID_DIM + CONTENT_DIM)).astype(np.float32),
                "weights": (draw.random((size, length)) + 0.2).astype(np.float32) * mask,
                "ages": draw.integers(0, 300, (size, length)).astype(np.float32) / 4 * mask,
                "mask": mask,
            }
        )
    return made


def test_onnx_and_torchscript_say_what_pytorch_says(graph: UserTowerGraph, tmp_path: Path) -> None:
    export_onnx(graph, tmp_path / "tower.onnx", {})
    export_torchscript(graph, tmp_path / "tower.pt")
    onnx = OnnxGraph(
        (tmp_path / "tower.onnx").read_bytes(), tmp_path / "tower.onnx", UserTowerGraph.inputs, UserTowerGraph.outputs
    )
    expected = [torch_runner(graph)(call) for call in calls()]
    assert relative_errors(expected, onnx.run, calls())["vector"] <= TOLERANCE
    script = torch_runner(graph, load_torchscript(tmp_path / "tower.pt"))
    assert relative_errors(expected, script, calls())["vector"] <= TOLERANCE


def test_a_user_has_one_vector_alone_and_in_company(graph: UserTowerGraph) -> None:
    """Ranks hold other users of a batch, padded to another length."""
    whole = calls()[-1]
    vectors = torch_runner(graph)(whole)["vector"]
    for row in range(7):
        length = max(1, int(whole["mask"][row].sum()))
        alone = {name: values[row : row + 1] for name, values in whole.items()}
        alone |= {name: alone[name][:, :length] for name in ("history_vectors", "weights", "ages", "mask")}
        assert torch_runner(graph)(alone)["vector"][0] == pytest.approx(
            vectors[row], abs=1e-5 * float(np.abs(vectors).max())
        )
