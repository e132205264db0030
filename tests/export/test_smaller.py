import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from avrec.bundle.embedder import ItemEmbedder
from avrec.bundle.reader import Bundle
from avrec.bundle.towers import open_item_tower
from avrec.bundle.zeros import item_of_zeros
from avrec.core.errors import ArtefactError, ConfigError
from avrec.export import smaller
from avrec.export.half import write_half
from avrec.export.int8 import linear_layers, write_int8
from avrec.export.region import Place, places
from avrec.export.sample import EveryItem
from avrec.export.smaller import _embedded, centred_cosine, write_smaller
from tests.export.media_world import MediaWorld
from tests.export.world import World


@pytest.fixture(scope="module")
def items(media_world: MediaWorld) -> EveryItem:
    return EveryItem(media_world.model, media_world.catalogue, media_world.clips)


def test_the_item_tower_itself_gives_the_tables(media_world: MediaWorld, items: EveryItem) -> None:
    bundle = Bundle.open(media_world.folder)
    item, history = _embedded(open_item_tower(bundle), items, bundle)
    np.testing.assert_allclose(item, bundle.item_vectors, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        history, bundle.history_vectors, rtol=1e-4, atol=1e-4
    )  # smoothing by neighbours included


def test_the_report_is_what_can_be_measured_again(media_world: MediaWorld, items: EveryItem) -> None:
    bundle = Bundle.open(media_world.folder)
    report = json.loads((media_world.folder / "smaller.json").read_text())
    assert set(report["towers"]) == {"int8", "fp16"} and report["part"] == "validation"
    reference = _embedded(open_item_tower(bundle), items, bundle)[0][:, 7:]
    for kind, costs in report["towers"].items():
        path = media_world.folder / f"item_tower_{kind}.onnx"
        found = _embedded(open_item_tower(bundle, name=f"item_tower_{kind}"), items, bundle)[0][:, 7:]
        left, right = reference - reference.mean(axis=0), found - reference.mean(axis=0)
        cosines = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in zip(left, right, strict=True)]
        assert costs["centred_cosine"] == pytest.approx(np.mean(cosines), abs=1e-4)
        assert costs["centred_cosine_min"] == pytest.approx(min(cosines), abs=1e-4)
        assert 0.9 < costs["centred_cosine"] < 1 and costs["cpu_ms"] > 0
        assert costs["bytes"] == path.stat().st_size < report["item_tower"]["bytes"]
        assert costs["recall_loss"] == pytest.approx(1 - costs["recall@20"] / report["item_tower"]["recall@20"])
    assert "| item_tower_int8 | " in (media_world.folder / "card.md").read_text()


def test_a_tower_that_loses_too_much_is_refused_by_name(
    media_world: MediaWorld, items: EveryItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(media_world.folder)
    (tmp_path / "item_tower.onnx").write_bytes((media_world.folder / "item_tower.onnx").read_bytes())

    def noise(source: Path, target: Path) -> None:
        model = onnx.load(source)
        for weight in model.graph.initializer:
            if "head" in weight.name or "fusion" in weight.name:
                values = onnx.numpy_helper.to_array(weight)
                draw = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
                weight.CopyFrom(onnx.numpy_helper.from_array(20 * draw, weight.name))
        target.write_bytes(model.SerializeToString())

    monkeypatch.setitem(smaller._WRITERS, "int8", noise)
    with pytest.raises(
        ArtefactError, match=r"smaller: int8 loses \d+\.\d+% of Recall@20 on validation .* Leave int8 out, or"
    ):
        write_smaller(("int8",), bundle, items, media_world.dataset, 0.01, tmp_path)
    assert not (tmp_path / "smaller.json").exists()


def test_a_tower_without_encoders_has_no_smaller_one(attention_world: World, tmp_path: Path) -> None:
    source = attention_world.folder / "item_tower.onnx"
    with pytest.raises(ConfigError, match="smaller: int8 finds no linear layer in an encoder"):
        write_int8(source, tmp_path / "a.onnx")
    with pytest.raises(ConfigError, match="smaller: fp16 finds no encoder"):
        write_half(source, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_int8_is_for_the_linear_layers_of_encoders_alone(media_world: MediaWorld) -> None:
    whole = onnx.load(media_world.folder / "item_tower.onnx").graph
    chosen = linear_layers(whole)
    assert len(chosen) == 6  # queries, keys, values, their output and two of the feed-forward, in one Whisper layer
    small = onnx.load(media_world.folder / "item_tower_int8.onnx").graph
    assert not {node.name for node in small.node} & set(chosen)
    matrices = [weight for weight in small.initializer if len(weight.dims) == 2]
    assert sum(weight.data_type == onnx.TensorProto.INT8 for weight in matrices) == 6


def test_half_precision_ends_at_the_borders_of_the_trunks(media_world: MediaWorld) -> None:
    graph = onnx.load(media_world.folder / "item_tower_fp16.onnx").graph
    where = places(onnx.load(media_world.folder / "item_tower.onnx").graph)
    halves = {weight.name for weight in graph.initializer if weight.data_type == onnx.TensorProto.FLOAT16}
    assert halves and all(".trunk." in name or not name.startswith("tower.") for name in halves)
    assert not any("preprocess" in name for name in halves)
    casts = {node.output[0]: node.input[0] for node in graph.node if node.name.startswith("cast_")}
    for name, source in casts.items():
        assert where.get(source, Place.BEFORE) == (Place.TRUNK if name.endswith("_single") else Place.BEFORE)
    assert {value.type.tensor_type.elem_type for value in graph.output} == {onnx.TensorProto.FLOAT}


class Mixed(torch.nn.Module):
    """A layer that is asked for by its name in PyTorch, and what stands before and behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = torch.nn.Module()
        self.tower.trunk = torch.nn.Module()
        self.tower.trunk.preprocess = torch.nn.Linear(4, 4)
        self.tower.trunk.stem = torch.nn.Linear(4, 4)
        self.tower.head = torch.nn.Linear(4, 3)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        before = self.tower.trunk.preprocess(values) * 1e-9
        hidden = self.tower.trunk.stem(before * 1e9)
        return self.tower.head(hidden * (hidden > 0).to(hidden.dtype)) + before.sum(dim=1, keepdim=True)


def test_numbers_too_small_for_half_precision_stay_whole_before_the_trunk(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, values = Mixed().eval(), torch.randn(5, 4)
    torch.onnx.export(
        model, (values,), dynamo=True, external_data=False, verbose=False, input_names=["values"], optimize=False
    ).save(str(tmp_path / "a.onnx"))
    write_half(tmp_path / "a.onnx", tmp_path / "b.onnx")
    run = onnxruntime.InferenceSession((tmp_path / "b.onnx").read_bytes()).run
    found, expected = run(None, {"values": values.numpy()})[0], model(values).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=2e-3)
    assert np.abs(found - expected).max() > 0


def test_centred_cosine() -> None:
    mean = np.array([100.0, 50.0, -20.0], np.float32)
    offsets = np.array([[1, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]], np.float32)
    turned = np.array([[1, 0, 0], [0, 0, 3], [0, -2, 0], [0, -7, 0]], np.float32)
    np.testing.assert_allclose(centred_cosine(mean + offsets, mean + turned), [1, 0, -1, 1], atol=1e-6)
    same = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(centred_cosine(same, same), [1, 1])
    np.testing.assert_array_equal(centred_cosine(same, 2 * same), [0, 0])


@pytest.mark.parametrize("kind", ["int8", "fp16"])
def test_a_smaller_tower_embeds_new_items(media_world: MediaWorld, kind: str) -> None:
    bundle = Bundle.open(media_world.folder)
    content = item_of_zeros(bundle.manifest)
    whole, small = (ItemEmbedder.of(bundle, name=name).embed(content) for name in ("item_tower", f"item_tower_{kind}"))
    assert whole[0].shape == small[0].shape and not np.array_equal(whole[0], small[0])
    np.testing.assert_allclose(whole[0], small[0], atol=0.3)
