import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from avrec.bundle.verify import verify
from avrec.core.files import write_npy
from tests.bundle.test_reader import forge
from tests.export.world import World


@pytest.fixture
def folder(attention_world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))


def test_a_sound_bundle(world: World) -> None:
    report = verify(world.folder)
    assert report.ok and report.problems == () and report.unlisted == ()
    sizes = [path.stat().st_size for path in world.folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert (report.num_files, report.num_bytes) == (len(sizes), sum(sizes))


def test_unlisted_files_are_mentioned(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "index" / "notes.txt").write_text("mine too")
    report = verify(folder)
    assert report.ok and report.unlisted == ("index/notes.txt", "notes.txt")


def test_damage_is_reported_not_raised(folder: Path) -> None:
    os.truncate(folder / "item_vectors.npy", 10)
    report = verify(folder)
    assert not report.ok and "item_vectors.npy: 10 bytes" in report.problems[0]
    assert "manifest.json: cannot be read" in verify(folder / "nowhere").problems[0]


def test_tables_that_are_not_finite_are_reported(folder: Path) -> None:
    table = np.load(folder / "history_vectors.npy")
    table[3] = np.nan
    write_npy(folder / "history_vectors.npy", table)
    forge(folder, "history_vectors.npy")
    problems = verify(folder).problems
    assert len(problems) == 1
    assert "history_vectors.npy: holds a value that is not finite" in problems[0]


def test_towers_that_are_not_finite_are_reported(folder: Path) -> None:
    for name in ("user_tower.onnx", "item_tower.onnx"):
        model = onnx.load(folder / name)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                values = np.full(tuple(tensor.dims), np.nan, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        (folder / name).write_bytes(model.SerializeToString())
        forge(folder, name)
    problems = verify(folder).problems
    assert len(problems) == 2
    assert "user_tower.onnx: gives vectors that are not finite" in problems[0]
    assert (
        "item_tower.onnx: cannot embed an item of zeros (row 0: the item tower gives a vector that is not"
        in problems[1]
    )


@pytest.mark.parametrize("name", ["id_vectors", "content_vectors", "evidence", "history_weight"])
def test_every_table_is_looked_at(folder: Path, name: str) -> None:
    table = np.load(folder / f"{name}.npy")
    table.flat[2] = np.inf
    write_npy(folder / f"{name}.npy", table)
    forge(folder, f"{name}.npy")
    assert f"{name}.npy: holds a value that is not finite" in verify(folder).problems[0]


def test_a_graph_that_cannot_run_is_reported(folder: Path, ids_world: World) -> None:
    for name in ("user_tower.onnx", "item_tower.onnx"):
        shutil.copy(ids_world.folder / name, folder / name)
        forge(folder, name)
    problems = verify(folder).problems
    assert len(problems) == 2
    assert "user_tower.onnx: cannot run on" in problems[0]
    assert "item_tower.onnx: takes" in problems[1]


def test_an_item_tower_of_other_features_is_reported(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["feature_dims"]["audio"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "item_tower.onnx: cannot run on" in verify(folder).problems[0]


def test_a_parity_file_that_is_no_json_is_reported(folder: Path) -> None:
    (folder / "parity.json").write_text("{")
    forge(folder, "parity.json")
    assert "parity.json: not readable as JSON" in verify(folder).problems[0]


def test_a_failed_parity_is_reported(folder: Path) -> None:
    (folder / "parity.json").write_text(json.dumps({"passed": False}))
    forge(folder, "parity.json")
    assert "parity.json: does not say that the graphs equal PyTorch" in verify(folder).problems[0]
