import contextlib
import copy
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avrec.bundle.reader import Bundle
from avrec.core.errors import ArtefactError
from avrec.export import writer
from avrec.export.writer import BundleInfo, write_bundle
from tests.export.world import World


def test_the_folder_holds_what_the_contract_names(world: World) -> None:
    names = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*") if path.is_file()}
    arrays = {"user_vectors", "item_vectors", "history_vectors", "history_indptr", "history_item_idx", "history_weight"}
    arrays |= {"id_vectors", "content_vectors", "evidence", "mean_user_vector"}
    arrays |= {"shares", "modality_vectors_0", "modality_vectors_1"} if world.model.item_tower.modalities else set()
    arrays |= {"history_timestamp"} if world.dataset.train.timestamp is not None else set()
    towers = {f"{tower}.{kind}" for tower in ("user_tower", "item_tower") for kind in ("onnx", "pt")}
    others = {"items.parquet", "users.parquet", "manifest.json", "parity.json", "card.md"}
    parts = {"index/index.json", "recall_report.json", "vectors.parquet", "history.json", "licences.json"}
    parts |= {"examples/requests.json", "examples/responses.json"}
    assert names == towers | others | parts | {f"{name}.npy" for name in arrays}
    manifest = json.loads((world.folder / "manifest.json").read_text())
    assert manifest["files"].keys() == names - {"manifest.json"}
    assert manifest["format_version"] == 2 and manifest["seed"] == 3 and manifest["config"] == {"model": {"dim": 6}}
    assert manifest["operating_point_name"] == "cold98"
    assert manifest["operating_point"] == pytest.approx(
        {"kappa": 2, "content_scale": 0.7, "cold_offset": 0.4, "neighbour_weight": 0.3, "history_smoothing": 0.25}
    )
    assert manifest["metrics"] == {"test/recall@20": 0.25, "test/cold/recall@20": None}
    assert list(manifest["modalities"]) == list(world.model.item_tower.modalities)


def test_history_is_the_whole_log(world: World) -> None:
    bundle, known = Bundle.open(world.folder), world.history
    assert len(known) == sum(map(len, (world.dataset.train, world.dataset.validation, world.dataset.test))) == 127
    for name in ("indptr", "item_idx", "weight", "timestamp"):
        np.testing.assert_array_equal(getattr(bundle.history, name), getattr(known, name))


def take_graphs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the ONNX files from the bundle that stands already; everything else of the writer runs."""
    monkeypatch.setattr(
        writer, "export_onnx", lambda graph, path, properties: shutil.copy(world.folder / path.name, path)
    )


def test_a_bundle_is_replaced_and_nothing_else(
    ids_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ids_world
    take_graphs(world, monkeypatch)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ArtefactError, match=r"exists and is no bundle, so it is not replaced\. Name another folder"):
        write_bundle(world.model, world.catalogue, world.dataset, tmp_path / "home", info=BundleInfo(seed=0))
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    for seed in (8, 9):
        assert (
            write_bundle(world.model, world.catalogue, world.dataset, tmp_path / "new", info=BundleInfo(seed=seed))
            == tmp_path / "new"
        )
        assert Bundle.open(tmp_path / "new").manifest.seed == seed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "new"]


def test_a_bundle_without_parity_is_not_published(
    ids_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, model = ids_world, copy.deepcopy(ids_world.model)
    take_graphs(world, monkeypatch)
    with torch.no_grad():
        model.user_tower.constant_D += 0.01
    with pytest.raises(ArtefactError, match=r"not written, since the exported graphs differ from PyTorch.*user_tower"):
        write_bundle(model, world.catalogue, world.dataset, tmp_path / "bundle", info=BundleInfo(seed=0))
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_whose_new_items_would_differ_is_not_published(
    attention_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, model = attention_world, copy.deepcopy(attention_world.model)
    take_graphs(world, monkeypatch)
    model.neighbour_vector_ND.neg_()
    with pytest.raises(
        ArtefactError, match=r"0 of 3 cold items embed to what the table holds.* stand-ins that are not"
    ):
        write_bundle(model, world.catalogue, world.dataset, tmp_path / "bundle", info=BundleInfo(seed=0))


def test_model_and_data_must_fit(attention_world: World, tmp_path: Path) -> None:
    world = attention_world
    grown = replace(world.dataset, items=world.dataset.items.extended(["one more"]))
    with pytest.raises(
        ArtefactError, match="the model holds 30 items and 20 users; the data set 'tiny <world>' 31 and 20"
    ):
        write_bundle(world.model, world.catalogue, grown, tmp_path / "bundle", info=BundleInfo(seed=0))


def test_the_card_names_splits_and_escapes_the_data(world: World) -> None:
    card = (world.folder / "card.md").read_text()
    assert "# A two-tower recommender for tiny &lt;world&gt;" in card and "<world>" not in card
    assert "| test/recall@20 | 0.2500 |" in card
    assert "| test/cold/recall@20 | nothing to measure on |" in card
    assert "127 events" in card


def test_the_card_s_program_runs(world: World) -> None:
    program = re.search(r"```python\n(.*?)```", (world.folder / "card.md").read_text(), re.DOTALL)[1]
    for placeholder, value in {
        "this folder": str(world.folder),
        "a user's id": "user 1",
        "an item's id": "item 1",
        "another": "item 2",
    }.items():
        assert f'"{placeholder}"' in program
        program = program.replace(f'"{placeholder}"', repr(value))
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(program, "card.md", "exec"), {})
