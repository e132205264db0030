import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
import pytest

from avrec.bundle.reader import Bundle
from avrec.core.errors import ArtefactError, AvrecError
from avrec.core.files import write_npy, write_table
from avrec.training.scorer import content_table
from tests.export.world import World


@pytest.fixture
def folder(attention_world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(attention_world.folder, tmp_path / "bundle"))


def edit(folder: Path, **changes: object) -> None:
    """Change keys of the manifest; a key `a__b` is `b` in `a`."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for key, value in changes.items():
        *parents, last = key.split("__")
        target = manifest
        for parent in parents:
            target = target[parent]
        target[last] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


def forge(folder: Path, name: str) -> None:
    """Make the manifest agree with whatever the file holds now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    data = (folder / name).read_bytes()
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def files() -> list[str]:
    towers = [f"{tower}.{kind}" for tower in ("user_tower", "item_tower") for kind in ("onnx", "pt")]
    tables = ["user_vectors", "item_vectors", "history_vectors", "id_vectors", "content_vectors", "evidence"]
    tables += [f"history_{name}" for name in ("indptr", "item_idx", "weight", "timestamp")]
    parts = ["index/index.json", "recall_report.json", "vectors.parquet", "history.json", "licences.json"]
    parts += ["examples/requests.json", "examples/responses.json"]
    return [
        *towers,
        *parts,
        "items.parquet",
        "users.parquet",
        "parity.json",
        "card.md",
        *(f"{name}.npy" for name in tables),
    ]


def test_a_sound_bundle_opens(world: World) -> None:
    bundle = Bundle.open(world.folder)
    assert bundle.items == world.dataset.items and bundle.users == world.dataset.users
    item, history, _ = world.model.item_vectors(world.catalogue)
    np.testing.assert_array_equal(bundle.item_vectors, item.numpy())
    np.testing.assert_array_equal(bundle.history_vectors, history.numpy())
    np.testing.assert_array_equal(bundle.user_vectors, world.model.user_vectors().numpy())
    np.testing.assert_array_equal(bundle.id_vectors, world.model.id_vectors().numpy())
    np.testing.assert_array_equal(bundle.evidence, world.dataset.train.item_counts)
    if world.model.item_tower.modalities:
        present = np.logical_or.reduce([feature.present for feature in world.dataset.features.values()])
        assert not present.all()
        content = content_table(world.model, world.catalogue) * present[:, None]
        np.testing.assert_array_equal(bundle.content_vectors, content)
    assert bundle.content_vectors.shape == (30, world.model.item_tower.content_dim)
    assert (world.dataset.train.timestamp is None) == (bundle.history.timestamp is None)


def test_tables_are_memory_maps(attention_world: World) -> None:
    bundle = Bundle.open(attention_world.folder)
    assert isinstance(bundle.item_vectors.base, np.memmap) and not bundle.item_vectors.flags.writeable


@pytest.mark.parametrize("name", files())
def test_a_truncated_file_is_refused_by_name(folder: Path, name: str) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size - 1)
    for verify in (True, False):
        with pytest.raises(ArtefactError, match=rf"{name}: \d+ bytes; manifest\.json says \d+"):
            Bundle.open(folder, verify)


@pytest.mark.parametrize("name", files())
def test_a_flipped_bit_is_refused_by_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ArtefactError, match=f"{name}: sha256 .* The file was changed or exchanged"):
        Bundle.open(folder)


def test_without_verify_a_graph_is_compared_all_the_same(folder: Path) -> None:
    bundle = Bundle.open(folder, verify=False)
    data = bytearray((folder / "user_tower.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "user_tower.onnx").write_bytes(data)
    with pytest.raises(ArtefactError, match=r"user_tower\.onnx: sha256"):
        bundle.graph("user_tower")
    with pytest.raises(ArtefactError, match=r"user_tower\.onnx: sha256"):
        Bundle.open(folder, verify=False)


def test_exchanged_files_are_refused_by_name(folder: Path) -> None:
    os.rename(folder / "history_item_idx.npy", folder / "kept")  # both are int64 of one length
    os.rename(folder / "history_timestamp.npy", folder / "history_item_idx.npy")
    os.rename(folder / "kept", folder / "history_timestamp.npy")
    with pytest.raises(ArtefactError, match=r"history_item_idx\.npy: sha256|history_timestamp\.npy: sha256"):
        Bundle.open(folder)


@pytest.mark.parametrize("name", files())
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtefactError, match=rf"{name}: listed in manifest\.json, but there is no such file"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../outside.npy",
        "index/../../outside.npy",
        "/etc/passwd",
        "index//a.npy",
        "a/b/c/d/e.npy",
        ".hidden/a.npy",
        "index/",
        "..",
        "~.npy",
        "a\\b.npy",
        "nul\0.npy",
        "",
    ],
)
def test_a_path_in_the_manifest_is_refused(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["card.md"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        ArtefactError, match=r"manifest\.json: 'files' is .*; expected a file below the bundle's folder"
    ):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "name", ["extra.npy", "index/extra.npy", "index/index_cells.npz", "triton/item_tower/2/model.onnx"]
)
def test_a_file_that_the_format_does_not_know_is_refused(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    forge(folder, name)
    with pytest.raises(ArtefactError, match=rf"'files' lacks \[\] and has unknown \['{name}'\]"):
        Bundle.open(folder)


def test_a_part_is_whole_or_absent(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["recall_report.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match=r"'files' lacks \['recall_report\.json'\]"):
        Bundle.open(folder)


def test_a_folder_that_leads_out_is_refused(folder: Path) -> None:
    os.rename(folder / "index", folder.parent / "index")
    (folder / "index").symlink_to("../index")
    with pytest.raises(ArtefactError, match=r"index/index\.json: a link that leaves the bundle's folder"):
        Bundle.open(folder)


def test_a_link_that_leaves_the_folder_is_refused(folder: Path) -> None:
    os.rename(folder / "item_vectors.npy", folder.parent / "item_vectors.npy")
    (folder / "item_vectors.npy").symlink_to("../item_vectors.npy")
    with pytest.raises(ArtefactError, match=r"item_vectors\.npy: a link that leaves the bundle's folder"):
        Bundle.open(folder)


def test_a_linked_folder_is_served(folder: Path) -> None:
    (folder.parent / "current").symlink_to(folder)
    assert len(Bundle.open(folder.parent / "current").items) == 30


def test_an_unlisted_file_is_never_opened(folder: Path) -> None:
    os.mkfifo(folder / "notes.txt")  # reading it would block for ever
    assert len(Bundle.open(folder).items) == 30


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_another_version_is_refused(folder: Path, version: object) -> None:
    edit(folder, format_version=version)
    with pytest.raises(ArtefactError, match=r"manifest\.json: format version .* reads version 2"):
        Bundle.open(folder)


def test_another_kind_of_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    edit(folder, kind="prepared data")
    with pytest.raises(ArtefactError, match=r"not the manifest of a bundle. Give the folder that `avrec export` wrote"):
        Bundle.open(folder)
    with pytest.raises(ArtefactError, match=r"manifest\.json: cannot be read"):
        Bundle.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "3"}, "'seed' is '3'; expected a value of type int"),
        ({"seed": True}, "'seed' is True; expected a value of type int"),
        ({"dims__num_items": -1}, r"'dims\.num_items' is -1; expected a positive number"),
        ({"feature_dims__audio": 0}, r"'feature_dims\.audio' is 0; expected a positive number"),
        ({"operating_point__kappa": "2"}, r"'operating_point\.kappa' is '2'; expected a value of type float"),
        ({"operating_point": {}}, "'operating_point' lacks .*'neighbour_weight'"),
        ({"operating_point__surprise": 1.0}, r"'operating_point' lacks \[\] and has unknown \['surprise'\]"),
        ({"dims__num_items": 30.0}, r"'dims.num_items' is 30\.0; expected a value of type int"),
        ({"dims": {}}, "'dims' lacks .*'num_items'"),
        ({"dims__depth": 1}, r"has unknown \['depth'\]"),
        ({"modalities": ["audio", "audio"]}, "expected distinct names"),
        ({"modalities": ["audio"]}, r"'feature_dims' lacks \[\] and has unknown \['video'\]"),
        ({"max_history_items": 0}, r"'manifest\.max_history_items' is 0; expected a positive number"),
        ({"files": []}, r"'files' is \[\]; expected a value of type dict"),
        ({"files__card.md__sha256": "0"}, "expected 64 hexadecimal digits"),
        ({"surprise": 1}, r"'manifest' lacks \[\] and has unknown \['surprise'\]"),
        ({"metrics": {"test/recall@20": "high"}}, "'metrics.test/recall@20' is 'high'"),
    ],
)
def test_a_manifest_that_is_not_as_agreed_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(ArtefactError, match=rf"manifest\.json: .*{message}"):
        Bundle.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"kind": "avrec bundle"}', "[" * 100_000, "\ufeff{}", "{" * 9])
def test_a_manifest_that_is_no_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(ArtefactError, match=r"manifest\.json"):
        Bundle.open(folder)


def test_external_data_is_refused_even_with_a_matching_manifest(folder: Path) -> None:
    model = onnx.load(folder / "user_tower.onnx")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[3], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="item_vectors.npy")
    model.graph.initializer.append(tensor)
    (folder / "user_tower.onnx").write_bytes(model.SerializeToString())
    forge(folder, "user_tower.onnx")
    with pytest.raises(ArtefactError, match=r"user_tower\.onnx: keeps tensors in another file"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("item_vectors.npy", np.zeros((30, 3), np.float32)),
        ("user_vectors.npy", np.zeros((20, 6), np.float64)),
        ("history_weight.npy", np.zeros(3, np.float32)),
        ("history_indptr.npy", np.zeros((20, 2), np.int64)),
        ("id_vectors.npy", np.zeros((30, 7), np.float32)),
        ("content_vectors.npy", np.zeros((29, 8), np.float32)),
        ("evidence.npy", np.zeros(30, np.int64)),
    ],
)
def test_shapes_are_compared_with_the_manifest(folder: Path, name: str, array: np.ndarray) -> None:
    write_npy(folder / name, array)
    forge(folder, name)
    with pytest.raises(ArtefactError, match=rf"{name}: .*\(\d"):
        Bundle.open(folder, verify=False)


def test_pickled_objects_are_refused(folder: Path) -> None:
    np.save(folder / "item_vectors.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    forge(folder, "item_vectors.npy")
    with pytest.raises(
        ArtefactError, match=r"item_vectors\.npy: holds Python objects \(pickle\), which are never loaded"
    ):
        Bundle.open(folder)


def test_histories_must_be_rows_of_known_items(folder: Path) -> None:
    good = np.load(folder / "history_item_idx.npy")
    for bad in (-1, 30):
        write_npy(folder / "history_item_idx.npy", np.where(np.arange(len(good)) == 5, bad, good))
        forge(folder, "history_item_idx.npy")
        with pytest.raises(ArtefactError, match=r"history_item_idx\.npy: an item outside 0 \.\.\. 29"):
            Bundle.open(folder)
    indptr = np.load(folder / "history_indptr.npy")
    write_npy(folder / "history_indptr.npy", indptr[::-1].copy())
    forge(folder, "history_indptr.npy")
    with pytest.raises(ArtefactError, match=r"history_indptr\.npy: not a row pointer"):
        Bundle.open(folder)


def test_the_number_of_ids_must_match(folder: Path) -> None:
    write_table(folder / "items.parquet", pa.table({"item_id": ["a", "b"]}))
    forge(folder, "items.parquet")
    with pytest.raises(ArtefactError, match=r"items\.parquet: 2 rows; manifest\.json says 30"):
        Bundle.open(folder)


@pytest.mark.parametrize("ids", [["a"] * 30, [None] * 30, [{"a": 1}] * 30])
def test_ids_that_are_none_are_refused_by_name(folder: Path, ids: list[object]) -> None:
    write_table(folder / "items.parquet", pa.table({"item_id": ids}))
    forge(folder, "items.parquet")
    with pytest.raises(ArtefactError, match=r"items\.parquet: column 'item_id': "):
        Bundle.open(folder)


def test_a_mutated_manifest_opens_or_is_refused(folder: Path) -> None:
    good = (folder / "manifest.json").read_bytes()
    draw = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        mutated = bytearray(good)
        for position in draw.integers(0, len(good), draw.integers(1, 4)):
            mutated[position] = draw.choice(np.frombuffer(b'0123456789-.eE"{}[],: \xff', np.uint8))
        (folder / "manifest.json").write_bytes(mutated)
        try:
            Bundle.open(folder, verify=False)
        except AvrecError:
            refused += 1
    assert refused > 200
