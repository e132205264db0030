"""The item tower of raw media: what its graphs take and give, and how they are compared with PyTorch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from avrec.bundle.reader import Bundle
from avrec.core.errors import ArtefactError
from avrec.export import graph_files, writer
from avrec.export.calls import item_calls
from avrec.export.graph_files import export_onnx, load_torchscript
from avrec.export.graphs import ItemTowerGraph, UserTowerGraph
from avrec.export.parity import check_parity
from avrec.export.sample import EveryItem, ItemSample
from avrec.export.tables import Tables
from avrec.export.writer import BundleInfo, write_bundle
from tests.export.media_world import NUM_FILES, NUM_STEPS, MediaWorld
from tests.export.world import NUM_ITEMS


@pytest.fixture(scope="module")
def sample(media_world: MediaWorld) -> ItemSample:
    return ItemSample.of(EveryItem(media_world.model, media_world.catalogue, media_world.clips))


def onnx_session(world: MediaWorld) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(world.folder / "item_tower.onnx")


def test_the_item_tower_takes_raw_clips_with_a_dynamic_batch(media_world: MediaWorld) -> None:
    session = onnx_session(media_world)
    assert {value.name: (value.type, value.shape) for value in session.get_inputs()} == {
        "feature_text": ("tensor(float)", ["batch", 5]),
        "mask_text": ("tensor(bool)", ["batch"]),
        "clips_audio": ("tensor(float)", ["batch", 2, 7680]),
        "valid_audio": ("tensor(float)", ["batch", 2]),
        "mask_audio": ("tensor(bool)", ["batch"]),
        "clips_video": ("tensor(uint8)", ["batch", 1, 5, 24, 32, 3]),
        "valid_video": ("tensor(float)", ["batch", 1]),
        "mask_video": ("tensor(bool)", ["batch"]),
        "id_vector": ("tensor(float)", ["batch", 6]),
        "neighbour_vector": ("tensor(float)", ["batch", 6]),
        "bias": ("tensor(float)", ["batch"]),
        "evidence": ("tensor(float)", ["batch"]),
    }
    assert list(ItemTowerGraph(media_world.model.item_tower).inputs) == [value.name for value in session.get_inputs()]


def test_the_sample_has_items_of_every_sort_and_stays_small(media_world: MediaWorld, sample: ItemSample) -> None:
    present = np.stack([feature.present for feature in media_world.dataset.features.values()], axis=1)
    cold = media_world.dataset.cold_items & present.any(axis=1)
    assert np.isin(np.flatnonzero(cold), sample.rows).all() and cold.sum() == 3
    assert sample.rows[sample.new].tolist() == np.flatnonzero(cold).tolist()
    lacking = ~present.all(axis=1)
    assert lacking[sample.rows].sum() >= 5 and (~lacking & ~cold)[sample.rows].sum() == 5
    assert len(sample) <= 15 and (np.diff(sample.rows) > 0).all()
    absent = ~sample.inputs["mask_audio"]
    assert (
        absent.any()
        and not sample.inputs["clips_audio"][absent].any()
        and not sample.inputs["valid_audio"][absent].any()
    )
    assert sample.inputs["clips_audio"].dtype == np.float32 and sample.inputs["clips_video"].dtype == np.uint8
    row = int(np.flatnonzero(sample.inputs["mask_video"])[2])
    np.testing.assert_array_equal(
        sample.inputs["clips_video"][row], media_world.clips["video"].values[sample.rows[row]]
    )


def test_few_calls_run_the_encoders(sample: ItemSample) -> None:
    calls = item_calls(sample)
    sizes = [len(call["bias"]) for call in calls]
    assert set(sizes) == {1, 2, 7, len(sample)}
    assert sum(sizes) <= 1 + 2 + 7 + 15 + 5 * 2 and sizes[0] == len(sample)
    gaps = {
        tuple(bool(call[f"mask_{name}"].any()) for name in sample.modalities)
        for call in calls
        if len(call["bias"]) == 2
    }
    assert {(False, False, False), (True, False, True), (True, True, False), (False, True, True)} <= gaps


def test_the_tower_gives_the_tables_rows_from_raw_clips(media_world: MediaWorld, sample: ItemSample) -> None:
    """An independent way: items one by one through ONNX Runtime against the model's own table."""
    session = onnx_session(media_world)
    item, _, share = media_world.model.item_vectors(media_world.catalogue)
    for place in range(0, len(sample), 3):
        found = session.run(None, sample.taken(np.array([place])))
        np.testing.assert_allclose(found[0][0], item[sample.rows[place]], atol=1e-5)
        np.testing.assert_allclose(found[2][0], share[sample.rows[place]], atol=1e-5)


@pytest.mark.parametrize("backend", ["pytorch", "onnx", "torchscript"])
def test_what_an_absent_row_holds_does_not_matter(media_world: MediaWorld, sample: ItemSample, backend: str) -> None:
    graph = ItemTowerGraph(media_world.model.item_tower)
    script = load_torchscript(media_world.folder / "item_tower.pt")

    def run(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        if backend == "onnx":
            return onnx_session(media_world).run(None, inputs)
        tensors = [torch.from_numpy(inputs[name]) for name in graph.inputs]
        return [value.numpy() for value in (graph if backend == "pytorch" else script)(*tensors)]

    whole = sample.taken(np.arange(4))
    hidden = np.array([True, False, True, False])
    masks = {"mask_audio": hidden, "mask_video": ~hidden, "mask_text": np.zeros(4, np.bool_)}
    zero = {
        name: np.where(mask.reshape(-1, *[1] * (whole[f"clips_{kind}"].ndim - 1)), whole[name], 0).astype(
            whole[name].dtype
        )
        for kind, mask in (("audio", hidden), ("video", ~hidden))
        for name in (f"clips_{kind}",)
    }
    garbage = {name: values.copy() for name, values in zero.items()}
    garbage["clips_audio"][~hidden] = np.nan
    garbage["clips_video"][hidden] = 255
    garbage["valid_audio"] = np.where(hidden[:, None], whole["valid_audio"], np.nan).astype(np.float32)
    garbage["feature_text"] = np.full_like(whole["feature_text"], np.nan)
    for one, other in zip(run(whole | masks | zero), run(whole | masks | garbage), strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)


def test_recorded_parity_is_small(media_world: MediaWorld) -> None:
    parity = json.loads((media_world.folder / "parity.json").read_text())
    assert parity["passed"] is True and parity["equal_new_items"] == parity["num_new_items"] == 3
    assert parity["relative_error"].keys() == {"pytorch", "onnx", "torchscript", "torch.export"}
    assert max(error for found in parity["relative_error"].values() for error in found.values()) < 1e-5


def test_clips_that_are_not_those_of_the_tables_are_found(media_world: MediaWorld) -> None:
    """Clips that are not those of the tables: the graphs agree with PyTorch, and the bundle is refused all the same."""
    other = {name: replace(clips, values=clips.values[::-1].copy()) for name, clips in media_world.clips.items()}
    other = {name: replace(clips, present=media_world.clips[name].present) for name, clips in other.items()}
    tables = Tables.of(media_world.model, media_world.catalogue, media_world.dataset)
    sample = ItemSample.of(EveryItem(media_world.model, media_world.catalogue, other))
    manifest = Bundle.open(media_world.folder).manifest
    graphs = ItemTowerGraph(media_world.model.item_tower), UserTowerGraph(media_world.model.user_tower)
    report = check_parity(media_world.folder, manifest, *graphs, tables, sample)
    assert max(report.relative_error["onnx"].values()) < 1e-5
    assert report.relative_error["pytorch"]["item_tower.item_vector"] > 1e-2
    assert report.equal_new_items == 0 and not report.passed


def test_a_bundle_of_other_media_is_not_published(
    media_world: MediaWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = media_world
    other = {name: replace(clips, valid=np.full_like(clips.valid, 0.1)) for name, clips in world.clips.items()}
    for name in ("export_onnx", "export_torchscript"):
        monkeypatch.setattr(
            writer, name, lambda graph, path, *rest: path.write_bytes((world.folder / path.name).read_bytes())
        )
    with pytest.raises(ArtefactError, match=r"not written, .*'pytorch': \{'item_tower.item_vector': 0\.\d"):
        write_bundle(world.model, world.catalogue, world.dataset, tmp_path / "b", info=BundleInfo(0), clips=other)


@pytest.mark.parametrize("size", [1, 5])
def test_torchscript_takes_any_batch(media_world: MediaWorld, sample: ItemSample, size: int) -> None:
    graph = ItemTowerGraph(media_world.model.item_tower)
    script = load_torchscript(media_world.folder / "item_tower.pt")
    inputs = sample.taken(np.arange(size))
    tensors = [torch.from_numpy(inputs[name]) for name in graph.inputs]
    for found, expected in zip(script(*tensors), graph(*tensors), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_graph_is_frozen_whatever_is_being_trained(media_world: MediaWorld) -> None:
    tower = media_world.model.item_tower
    tower.encoders["audio"].set_trainable("all", checkpointing=True)
    tower.train()
    try:
        graph = ItemTowerGraph(tower)
        assert not any(module.training for module in graph.modules())
        assert not any(parameter.requires_grad for parameter in graph.parameters())
        steps = graph.media["audio"].steps(torch.zeros(2, 2, 7680), torch.ones(2, 2))
        assert steps.shape == (2, NUM_STEPS, 16) and not steps.requires_grad
    finally:
        tower.encoders["audio"].set_trainable(0)
        tower.eval()


def test_no_file_holds_media_or_a_folder_of_this_machine(media_world: MediaWorld) -> None:
    graph = ItemTowerGraph(media_world.model.item_tower)
    content = (media_world.folder / "item_tower.onnx").read_bytes()
    assert str(media_world.media_root).encode() not in content and b"site-packages" not in content
    example = dict(zip(graph.inputs, graph.example(), strict=True))
    for item in range(NUM_ITEMS - NUM_FILES, NUM_ITEMS):
        sound = media_world.clips["audio"].values[item].astype(np.float32)
        assert not sound.any() or sound.tobytes()[:4000] not in content
        assert not np.array_equal(example["clips_audio"][0].numpy(), sound)


def test_a_tower_too_large_for_one_file_is_refused_before_it_is_traced(
    media_world: MediaWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_files, "MAX_GRAPH_BYTES", 1000)
    graph = ItemTowerGraph(media_world.model.item_tower)
    with pytest.raises(ArtefactError, match=r"a\.onnx: the tower holds \d+ bytes; one ONNX file takes at most 1000"):
        export_onnx(graph, tmp_path / "a.onnx", {})


def test_the_card_tells_how_uploads_are_embedded(media_world: MediaWorld) -> None:
    card = (media_world.folder / "card.md").read_text()
    assert (
        "text (5 numbers), audio (sound: 2 clips of 0.48 s at 16000 Hz), video (pictures: 1 clips divided over" in card
    )
    assert 'embed_files({"audio": ["a file below it"], "video": ["a file below it"]}, media_root="a folder")' in card
