"""Checkpoints and model files: atomic, never unpickled, refused by name, and enough to rebuild the model."""

import os
import pickle
import zipfile
from dataclasses import asdict

import numpy as np
import pytest
import torch

from avrec.build.model import MODEL_KEYS, Sizes, build_model, learn_from_train, load, save
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.query import UserQuery
from avrec.models.item_tower import OperatingPoint
from avrec.training.checkpoints import AtomicCheckpointIO, load_tensors
from avrec.training.scorer import TwoTowerScorer, catalogue_features
from avrec.training.stages import run_stage
from tests.training.world import block_world, make_context, make_model, make_stage, randomise, state_of

MODELS = "avrec.models."
CONFIG = {
    "id_dim": 8,
    "modalities": ["visual", "audio"],
    "encoder": {
        "feature": {
            "_target_": MODELS + "encoders.feature.FeatureEncoder",
            "_partial_": True,
            "dim": 8,
            "dropout": 0.1,
        }
    },
    "fusion": {"_target_": MODELS + "fusion.attention.AttentionFusion", "_partial_": True, "num_heads": 2},
    "pooling": {
        "id": {"_target_": MODELS + "pooling.AttentionPooling", "_partial_": True},
        "content": {"_target_": MODELS + "pooling.NormalizedSum", "_partial_": True},
    },
    "item_tower": {"_target_": MODELS + "item_tower.ItemTower", "_partial_": True},
    "user_tower": {"_target_": MODELS + "user_tower.UserTower", "_partial_": True, "max_history_items": 4},
    "item_table": {"_target_": MODELS + "id_table.ItemTable", "_partial_": True, "tied": False},
    "user_table": {"_target_": MODELS + "id_table.UserTable", "_partial_": True, "enabled": True},
    "seed": 7,
}
POINTS = {"overall": OperatingPoint(2.0, 0.5, 0.25, 0.125, 0.75), "cold98": OperatingPoint(cold_offset=1.5)}


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_pickled_objects_are_refused_and_not_run(how, tmp_path):
    path, trap = tmp_path / "evil.pt", tmp_path / "sprung"
    if how == "torch":
        torch.save({"state_dict": {}, "extra": Trap(trap)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(trap), protocol=2))
    with pytest.raises(
        ArtefactError, match=r"evil.pt: not readable as a checkpoint of tensors .* Train again or use another"
    ):
        load_tensors(path)
    with pytest.raises(ArtefactError, match=r"evil.pt"):
        load(path)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 0.999])
def test_a_truncated_file_is_refused_by_name(share, tmp_path):
    path = tmp_path / "short.ckpt"
    torch.save({"state_dict": {"weight": torch.arange(5000.0)}}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ArtefactError, match=r"short.ckpt: not readable as a checkpoint of tensors"):
        load_tensors(path)


def test_a_missing_file_and_one_that_holds_something_else_are_told(tmp_path):
    with pytest.raises(
        ArtefactError, match=r"nowhere.pt: no such file. Give the path of a model.pt that `train.py` wrote"
    ):
        load_tensors(tmp_path / "nowhere.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ArtefactError, match=r"tensor.pt: holds a Tensor, not a checkpoint"):
        load_tensors(tmp_path / "tensor.pt")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path, door = tmp_path / "last.ckpt", AtomicCheckpointIO()
    door.save_checkpoint({"epoch": 1, "weight": torch.ones(3)}, path)
    before = path.read_bytes()

    def fail(*names: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space left"):
        patch.setattr(os, "replace", fail)
        door.save_checkpoint({"epoch": 2, "weight": torch.zeros(3)}, path)
    with pytest.raises(AttributeError):
        door.save_checkpoint(
            {"epoch": 3, "weight": lambda: None}, path
        )  # half of it is written before this is found out
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    assert door.load_checkpoint(path)["epoch"] == 1
    door.remove_checkpoint(path)
    door.remove_checkpoint(path)
    assert not path.exists()


def test_a_stage_leaves_two_checkpoints_that_load_without_pickle(tmp_path):
    dataset = block_world()
    model = make_model(dataset)
    run_stage(model, make_stage(max_epochs=1), 0, make_context(dataset, model, tmp_path))
    assert sorted(path.name for path in (tmp_path / "0_stage").iterdir()) == ["best.ckpt", "done.json", "last.ckpt"]
    for name in ("best", "last"):
        assert torch.load(tmp_path / "0_stage" / f"{name}.ckpt", weights_only=True)["global_step"] == 4


@pytest.fixture(scope="module")
def world():
    dataset = block_world()
    model = build_model(CONFIG, Sizes.of(dataset, CONFIG["modalities"]))
    learn_from_train(model, dataset)
    randomise(model)
    with torch.no_grad():
        model.neighbour_vector_ND.normal_()
        model.smoothing_idx_NK.random_(0, dataset.num_items)
        model.smoothing_weight_NK.uniform_(0, 0.3)
    return dataset, model


@pytest.fixture
def written(world, tmp_path):
    dataset, model = world
    path = tmp_path / "model.pt"
    save(
        path, model, Sizes.of(dataset, CONFIG["modalities"]), CONFIG, dataset.content_hash, POINTS, [{"recall@20": 0.5}]
    )
    return path


def scores_of(model, dataset):
    catalogue = catalogue_features(dataset, model.item_tower.modalities)
    query = UserQuery.of_users(np.arange(dataset.num_users), dataset.train)
    return TwoTowerScorer(model, catalogue).score(query)


@pytest.mark.parametrize("rule", ["overall", "cold98"])
def test_a_model_file_alone_rebuilds_the_model(rule, world, written):
    dataset, model = world
    found = load(written, rule)
    model.set_operating_point(POINTS[rule])
    assert np.array_equal(scores_of(found.model, dataset), scores_of(model, dataset))
    assert found.model.item_tower.modalities == ("visual", "audio")
    assert found.model.user_tower.max_history_items == 4
    assert not found.model.training
    assert (found.data_hash, found.seed, found.config, found.operating_points) == ("blocks", 7, CONFIG, POINTS)
    assert found.frontier == [{"recall@20": 0.5}]
    assert state_of(found.model).keys() == state_of(model).keys()


def test_an_operating_point_that_is_not_there_is_told(written):
    with pytest.raises(
        ConfigError, match=r"calibration: .*model.pt has no operating point 'best'; it has \['cold98', 'overall'\]"
    ):
        load(written, "best")


def changed(path, change):
    value = torch.load(path, weights_only=True)
    change(value)
    torch.save(value, path)
    return path


@pytest.mark.parametrize("key", [key for key in MODEL_KEYS if key not in ("id_dim", "modalities", "pooling")])
@pytest.mark.parametrize(
    "target", ["os.system", "avrec.core.files.write_json", "avrec.data.sources.tables.TablesSource"]
)
def test_a_foreign_target_in_the_file_is_refused(key, target, written):
    node = {"_target_": target, "_args_": ["touch sprung"]}
    changed(written, lambda value: value["config"].update({key: {"feature": node} if key == "encoder" else node}))
    with pytest.raises(ConfigError, match=target.rsplit(".", 1)[0].replace(".", r"\.")):
        load(written)


def larger(value):
    value["sizes"]["num_items"] += 1


def wider(value):
    value["sizes"]["feature_dims"]["audio"] += 1


def enormous(value):
    value["sizes"]["num_items"] = 10**14


def other_width(value):
    value["config"]["id_dim"] = 9


def unknown_size(value):
    value["sizes"]["num_words"] = 3


def lost(value):
    del value["state_dict"]["item_table.output_ND"]


def no_points(value):
    del value["operating_points"]


def strange_point(value):
    value["operating_points"]["overall"] = asdict(POINTS["overall"]) | {"kapa": 1.0}


def factors(value, rows=0, shape=(3, 3), map_FF=None):
    state = value["state_dict"]
    state["factors_NF"] = torch.zeros(len(state["item_evidence_N"]) + rows, 3)
    state["user_tower.factor_map_FF"] = torch.zeros(shape) if map_FF is None else map_FF


def factors_of_other_items(value):
    factors(value, rows=1)


def another_map(value):
    factors(value, shape=(4, 4))


def no_map(value):
    factors(value)
    del value["state_dict"]["user_tower.factor_map_FF"]


def scalar_map(value):
    factors(value, shape=())


def scalar_factors(value):
    value["state_dict"]["factors_NF"] = torch.tensor(1.0)


def a_number_for_a_tensor(value):
    value["state_dict"]["factors_NF"] = 3


def more_than_is_there(value):
    factors(value, map_FF=torch.zeros(1, 1).expand(3, 3))


MISFITS = [
    larger,
    wider,
    enormous,
    other_width,
    unknown_size,
    lost,
    no_points,
    strange_point,
    factors_of_other_items,
    another_map,
    no_map,
    scalar_map,
    scalar_factors,
    a_number_for_a_tensor,
    more_than_is_there,
]


@pytest.mark.parametrize("change", MISFITS)
def test_parts_that_do_not_fit_one_another_are_refused(change, written):
    with pytest.raises(ArtefactError, match=r"model.pt: its parts do not fit one another \(.+\). Train again"):
        load(changed(written, change))


def test_a_tensor_that_claims_more_numbers_than_the_file_holds_is_named(written):
    with pytest.raises(ArtefactError, match=r"\(user_tower\.factor_map_FF claims more numbers than it holds\)"):
        load(changed(written, more_than_is_there))


def test_another_format_version_is_refused(written):
    changed(written, lambda value: value.update(format_version=99))
    with pytest.raises(ArtefactError, match=r"model.pt: format version 99; this avrec reads version 4"):
        load(written)


def test_a_compressed_archive_is_refused(tmp_path):
    path, bomb = tmp_path / "model.pt", tmp_path / "bomb.pt"
    torch.save({"weights": torch.zeros(1_000_000)}, path)
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry))
    assert bomb.stat().st_size < path.stat().st_size / 100
    with pytest.raises(ArtefactError, match=r"bomb\.pt: the entry .* is compressed"):
        load_tensors(bomb)
