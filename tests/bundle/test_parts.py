"""Each part of a bundle: damaged in every way it is refused by name, and so is a part that lies with a matching manifest."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from avrec.bundle.parts import files_of_parts
from avrec.bundle.reader import Bundle
from avrec.bundle.verify import verify
from avrec.core.errors import ArtefactError
from avrec.core.files import read_table, write_table
from tests.bundle.test_reader import forge
from tests.export.media_world import MediaWorld

PARTS = [
    "examples/requests.json",
    "examples/responses.json",
    "history.json",
    "index/index.json",
    "index/index_cells.npy",
    "index/index_centres.npy",
    "index/index_item_map.npy",
    "index/index_item_mean.npy",
    "index/index_query_map.npy",
    "item_tower.pt2",
    "item_tower_fp16.onnx",
    "item_tower_int8.onnx",
    "licences.json",
    "preprocessing/audio/preprocessor_config.json",
    "preprocessing/video/preprocessor_config.json",
    "recall_report.json",
    "smaller.json",
    "triton/item_tower/1/model.onnx",
    "triton/item_tower/config.pbtxt",
    "triton/user_tower/1/model.onnx",
    "triton/user_tower/config.pbtxt",
    "user_tower.pt2",
    "vectors.parquet",
]


@pytest.fixture
def folder(media_world: MediaWorld, tmp_path: Path) -> Path:
    return Path(shutil.copytree(media_world.folder, tmp_path / "bundle"))


def test_the_bundle_with_everything_has_every_part(media_world: MediaWorld) -> None:
    files = Bundle.open(media_world.folder).manifest.files
    assert sorted(name for name in files if name in files_of_parts(files, ["audio", "video"])) == PARTS
    report = verify(media_world.folder)
    assert report.ok and not report.unlisted


def refused(folder: Path, name: str) -> str:
    start = time.perf_counter()
    with pytest.raises(ArtefactError, match=name.replace(".", r"\.")) as caught:
        Bundle.open(folder)
    assert time.perf_counter() - start < 2
    return str(caught.value)


def test_every_part_that_is_damaged_is_refused_by_name(folder: Path) -> None:
    for place, name in enumerate(PARTS):
        path, other = folder / name, folder / PARTS[place - 1]
        data = path.read_bytes()
        os.truncate(path, len(data) - 1)
        assert "bytes; manifest.json says" in refused(folder, name)
        path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
        assert "was changed or exchanged" in refused(folder, name)
        path.write_bytes(other.read_bytes())
        refused(folder, name)
        path.unlink()
        assert "there is no such file" in refused(folder, name)
        outside = folder.parent / "outside"
        outside.write_bytes(data)
        path.symlink_to(outside)
        assert "a link that leaves the bundle's folder" in refused(folder, name)
        path.unlink()
        path.write_bytes(data)
    assert verify(folder).ok


Change = Callable[[Path], None]


def changed(**values: object) -> Change:
    """Other values of a JSON object's keys."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | values)) and None


def text(old: str, new: str) -> Change:
    def change(path: Path) -> None:
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))

    return change


def other_score(path: Path) -> None:
    responses = json.loads(path.read_text())
    responses[2]["items"][3]["score"] += 0.01
    path.write_text(json.dumps(responses))


def other_item(path: Path) -> None:
    responses = json.loads(path.read_text())
    items = responses[0]["items"]
    items[0]["item"], items[1]["item"] = items[1]["item"], items[0]["item"]
    path.write_text(json.dumps(responses))


def fewer_responses(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text())[:-1]))


def other_vector(path: Path) -> None:
    table = read_table(path)
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    vectors[17, 3] += 1e-3
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    write_table(path, pa.table({"item_id": table["item_id"], "vector": column}))


def other_order(path: Path) -> None:
    table = read_table(path)
    write_table(path, table.set_column(0, "item_id", [table["item_id"].combine_chunks()[::-1]]))


def lists_of_any_length(path: Path) -> None:
    table = read_table(path)
    write_table(path, table.set_column(1, "vector", table["vector"].cast(pa.list_(pa.float32()))))


LIES = [
    ("examples/responses.json", other_score, "response 2 is not what this bundle answers to"),
    ("examples/responses.json", other_item, "response 0 is not what this bundle answers to"),
    ("examples/responses.json", fewer_responses, "not one response for each request"),
    ("examples/responses.json", text("user", "guest"), "response 0 is not what"),
    ("examples/requests.json", text('"k": 10', '"k": 100000'), "expected at most 100 requests"),
    ("examples/requests.json", text('"k": 10', '"k": true'), "expected at most 100 requests"),
    ("examples/requests.json", text('"user 0"', '"nobody"'), "'nobody' is not in"),
    ("history.json", changed(max_items=7), "'max_items' does not fit the manifest"),
    ("history.json", changed(order="newest first"), "'order' does not fit the manifest"),
    ("history.json", changed(x=None), "ValueError"),  # what no check foresaw is reported too, not raised
    ("licences.json", changed(data={"name": "x"}), "'data' is .*; expected a name and a licence"),
    ("licences.json", changed(encoders=[]), "'encoders' does not name the licence of each of"),
    (
        "preprocessing/audio/preprocessor_config.json",
        changed(sampling_rate=8000),
        "'sampling_rate' is 8000; expected 16000",
    ),
    ("preprocessing/video/preprocessor_config.json", changed(size={"height": 1}), "'size' is"),
    ("preprocessing/video/preprocessor_config.json", changed(do_center_crop=True), "'do_center_crop' is True"),
    ("preprocessing/video/preprocessor_config.json", changed(image_processor_type=None), "expected a class"),
    ("smaller.json", changed(max_recall_loss=-1.0), "(int8|fp16) loses .* of Recall@20; at most -1.0 is accepted"),
    ("smaller.json", changed(towers={}), "expected a bound and the costs of"),
    ("smaller.json", text('"centred_cosine"', '"cosine"'), "lacks one of"),
    ("triton/item_tower/config.pbtxt", text("TYPE_BOOL", "TYPE_FP32"), "does not describe the graph item_tower"),
    ("triton/user_tower/config.pbtxt", text("[ -1 ]", "[ 50 ]"), "does not describe the graph user_tower"),
    ("vectors.parquet", other_vector, "other vectors than item_vectors.npy holds"),
    ("vectors.parquet", other_order, "other item ids than the bundle's"),
    ("vectors.parquet", lists_of_any_length, "column 'vector' is list"),
]


@pytest.mark.parametrize(("name", "change", "message"), LIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_part_that_lies_is_refused_by_name(folder: Path, name: str, change: Change, message: str) -> None:
    change(folder / name)
    forge(folder, name)
    problems = verify(folder).problems
    assert len(problems) == 1
    place = "" if message == "ValueError" else re.escape(name)
    assert re.search(rf"{place}: .*{message}", problems[0], re.DOTALL), problems[0]


def test_a_model_for_triton_that_is_another_graph_is_refused(folder: Path) -> None:
    name = "triton/item_tower/1/model.onnx"
    shutil.copyfile(folder / "item_tower_int8.onnx", folder / name)
    forge(folder, name)
    assert f"{name}: not the graph item_tower.onnx" in verify(folder).problems[0]


def test_a_smaller_tower_that_cannot_run_is_refused(folder: Path) -> None:
    shutil.copyfile(folder / "user_tower.onnx", folder / "item_tower_fp16.onnx")
    forge(folder, "item_tower_fp16.onnx")
    assert "item_tower_fp16.onnx: takes ['user_vector'" in verify(folder).problems[0]
