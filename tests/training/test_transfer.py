"""A start from another model: parts by their shape, rows by their ids, and a sentence about what was left."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from avrec.build.model import Sizes, save
from avrec.core.dataset import Dataset, Feature
from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import write_json, write_table
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions
from avrec.models.fusion.gated import GatedFusion
from avrec.models.fusion.weighted_sum import WeightedSum
from avrec.models.pooling import RefinedSum
from avrec.models.two_tower import TwoTower
from avrec.training.transfer import TransferStart
from tests.models.tiny_encoders import ast
from tests.training.world import block_world, make_model, randomise, state_of

OWN = ("item_evidence_N", "user_evidence_U", "neighbour_vector_ND", "smoothing_idx_NK", "smoothing_weight_NK")
STATISTICS = ("preprocess.mean_F", "preprocess.scale_F")
REFINED = ("hidden.weight", "hidden.bias", "output.weight")


def trained(dataset: Dataset, seed: int = 1, **options: object) -> TwoTower:
    """A model with refined pooling whose every number was moved, as training would."""
    model = make_model(dataset, seed=seed, **options)
    dim, content_dim = model.item_tower.id_dim, model.item_tower.content_dim
    model.user_tower.id_pooling = RefinedSum(dim, hidden_dim=6)
    if content_dim:
        model.user_tower.content_pooling = RefinedSum(content_dim, hidden_dim=6)
    return randomise(model, seed)


def saved(folder: Path, model: TwoTower, dataset: Dataset, side: dict | None = None, with_ids: bool = True) -> Path:
    """What a run leaves: the model file, and the record that says where its prepared data stand."""
    fusion = model.item_tower.fusion
    target = f"{type(fusion).__module__}.{type(fusion).__name__}"
    config = {"seed": 3, "fusion": {"_target_": target}}
    sizes = replace(Sizes.of(dataset, None, None), modalities=model.item_tower.modalities)
    save(folder / "model.pt", model, sizes, config, dataset.content_hash, {}, [], side)
    if with_ids:
        prepared = folder / "prepared"
        prepared.mkdir()
        write_json(prepared / "manifest.json", {"content_hash": dataset.content_hash})
        write_table(prepared / "items.parquet", pa.table({"item_id": dataset.items.array}))
        write_table(prepared / "users.parquet", pa.table({"user_id": dataset.users.array}))
        write_json(folder / "run.json", {"prepared": str(prepared), "data_hash": dataset.content_hash})
    return folder / "model.pt"


def other_ids(dataset: Dataset) -> Dataset:
    """The same world in which nobody and nothing has the id that it had."""
    ids = {
        kind: IdMap([f"new {name}" for name in getattr(dataset, kind).array.to_pylist()]) for kind in ("users", "items")
    }
    return replace(dataset, content_hash="another", **ids)


def shuffled(dataset: Dataset, seed: int = 5, num_new: int = 3) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Another data set in another order, without the first items and with some that are new.

    Returns:
        The data set; for each of its items the index there or -1; for each of its users likewise.
    """
    rng = np.random.default_rng(seed)
    items = rng.permutation([*range(10, dataset.num_items), *[-1] * num_new])
    users = rng.permutation(dataset.num_users)
    names = dataset.items.array.to_pylist()
    item_ids = [names[there] if there >= 0 else f"new {here}" for here, there in enumerate(items)]
    user_ids = dataset.users.ids(users)
    rows = np.repeat(np.arange(len(users)), 4)
    train = Interactions.from_events(
        rows, (rows * 7 + np.tile([0, 11, 29, 40], len(users))) % len(items), len(users), len(items)
    )
    nothing = Interactions.from_events([], [], len(users), len(items))
    features = {
        name: Feature(
            rng.standard_normal((len(items), found.values.shape[1])).astype(np.float32), np.ones(len(items), bool)
        )
        for name, found in dataset.features.items()
    }
    ids = {"users": IdMap(user_ids), "items": IdMap(item_ids)}
    return (
        Dataset("other", "other", **ids, train=train, validation=nothing, test=nothing, features=features),
        items,
        users,
    )


def changed(before: dict[str, torch.Tensor], model: TwoTower) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_without_a_common_id_all_but_rows_and_counts_is_taken(tmp_path, capsys):
    source = block_world()
    there = trained(source)
    target = other_ids(block_world(seed=4))
    model = trained(target, seed=2)
    before = state_of(model)
    path = saved(tmp_path, there, source)
    record = TransferStart(str(path))(model, target)
    learnt = {name for name, _ in model.named_parameters()}
    bound = {name for name in learnt if name.startswith(("item_table.", "user_table.", "user_tower.id_pooling."))}
    bound |= {"user_tower.map_DD", "user_tower.constant_D"}
    assert changed(before, model) == learnt - bound
    assert all(torch.equal(model.state_dict()[name], there.state_dict()[name]) for name in learnt - bound)
    assert not any(
        torch.equal(
            there.state_dict()[f"item_tower.encoders.audio.{name}"], before[f"item_tower.encoders.audio.{name}"]
        )
        for name in STATISTICS
    )

    numbers = {name: there.state_dict()[name].numel() for name in learnt - bound}
    assert sum(part["numbers"] for part in record["taken"].values()) == sum(numbers.values())
    assert sum(part["tensors"] for part in record["taken"].values()) == len(numbers)
    assert record["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (record["ckpt"], record["data_hash"]) == (str(path), "blocks")
    (line,) = capsys.readouterr().out.splitlines()
    assert f"{len(numbers)} tensors with {sum(numbers.values()):,} numbers are taken: encoder audio (104), " in line
    assert "item rows (no trained item has the id of one there); id pooling (only 0 of 80 trained items have" in line


def test_rows_follow_their_ids_whatever_the_order(tmp_path):
    source = block_world()
    there = trained(source, tied=False, user_table=True)
    target, items, users = shuffled(source)
    model = trained(target, seed=2, tied=False, user_table=True)
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, target)
    found, theirs = model.state_dict(), there.state_dict()
    cold = source.cold_items
    known = np.array([index >= 0 and not cold[index] for index in items])
    assert 0 < known.sum() < (items >= 0).sum(), "some rows there were never trained, and are not taken"
    for name in ("output_ND", "history_ND", "bias_N"):
        name = f"item_table.{name}"
        assert torch.equal(found[name][known], theirs[name][items[known]])
        assert torch.equal(found[name][~known], before[name][~known])
    assert torch.equal(found["user_table.residual_UD"], theirs["user_table.residual_UD"][users])
    assert record["taken"]["item rows"] == {"tensors": 3, "numbers": int(known.sum()) * (8 + 8 + 1)}
    assert record["taken"]["user rows"] == {"tensors": 1, "numbers": 64 * 8}
    assert record["left"] == {}
    for name in ("user_tower.map_DD", "user_tower.constant_D", *(f"user_tower.id_pooling.{name}" for name in REFINED)):
        assert torch.equal(found[name], theirs[name])
    assert all(torch.equal(found[name], before[name]) for name in (*OWN, "item_tower.calibration"))


def test_a_few_common_ids_bring_rows_but_not_what_reads_all_of_them(tmp_path):
    source = block_world()
    target = other_ids(source)
    names = target.items.array.to_pylist()
    target = replace(target, items=IdMap(["i000", *names[1:]]))
    there, model = trained(source), trained(target, seed=2)
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, target)
    assert torch.equal(model.item_table.output_ND[0], there.item_table.output_ND[0])
    assert torch.equal(model.item_table.output_ND[1:], before["item_table.output_ND"][1:])
    assert record["left"]["id pooling"] == "only 1 of 80 trained items have a row there"
    assert torch.equal(model.user_tower.map_DD, before["user_tower.map_DD"])


def test_user_rows_do_not_come_without_those_of_their_items(tmp_path):
    source = block_world()
    target = other_ids(source)
    there, model = trained(source, user_table=True), trained(target, seed=2, user_table=True)
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, target)
    assert record["left"]["user rows"] == "they stand in the coordinates of the item rows there"
    assert torch.equal(model.user_table.residual_UD, before["user_table.residual_UD"])


def test_rows_may_be_forbidden(tmp_path):
    source = block_world()
    there, model = trained(source), trained(source, seed=2)
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)), rows=False)(model, source)
    assert record["left"]["item rows"] == "start.rows=false"
    assert not {name for name in changed(before, model) if name.startswith("item_table.")}


def test_rows_of_another_width_are_left_and_the_rest_is_taken(tmp_path):
    source = block_world()
    there, model = trained(source, dim=8), trained(source, seed=2, dim=4)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, source)
    assert record["left"]["item rows"] == "id vectors have 4 numbers here and 8 there"
    assert set(record["taken"]) == {"encoder audio", "encoder visual", "fusion", "scale", "content pooling"}


@pytest.mark.parametrize("damage", ["absent", "another", "moved"])
def test_without_the_ids_the_rest_is_taken_and_it_is_said(tmp_path, damage):
    source = block_world()
    path = saved(tmp_path, trained(source), source, with_ids=damage != "absent")
    if damage == "another":
        write_json(tmp_path / "prepared" / "manifest.json", {"content_hash": "of something else"})
    if damage == "moved":
        (tmp_path / "prepared").rename(tmp_path / "elsewhere")
    record = TransferStart(str(path))(trained(source, seed=2), source)
    expected = {
        "absent": "run.json: cannot be read",
        "another": "manifest.json is of another data set",
        "moved": "manifest.json: cannot",
    }
    assert expected[damage] in record["left"]["item rows"]
    assert "fusion" in record["taken"]


def test_an_encoder_of_another_width_is_left_whole(tmp_path):
    source = block_world()
    values = np.ones((source.num_items, 5), np.float32)
    target = replace(source, features={**source.features, "audio": Feature(values, np.ones(len(values), bool))})
    there, model = trained(source), trained(target, seed=2)
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, target)
    reason = "another shape: item_tower.encoders.audio.head.weight is (8, 5) here and (8, 12) there"
    assert record["left"] == {"encoder audio": reason}
    assert not {name for name in changed(before, model) if name.startswith("item_tower.encoders.audio.")}


def renamed(dataset: Dataset, **names: str) -> Dataset:
    features = {names.get(name, name): feature for name, feature in dataset.features.items()}
    return replace(dataset, features=dict(sorted(features.items())))


def test_what_stands_for_a_modality_follows_its_name(tmp_path):
    """There audio and visual; here visual and words: visual is the second there and the first here."""
    source = block_world()
    target = renamed(source, audio="words")
    there, model = trained(source), trained(target, seed=2)
    assert model.item_tower.modalities == ("visual", "words")
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, target)
    assert record["left"] == {
        "encoder words": "the modality is only here",
        "encoder audio": "the modality is only there",
    }
    found = model.item_tower.fusion.modality_MD
    assert torch.equal(found[0], there.item_tower.fusion.modality_MD[1])
    assert torch.equal(found[1], before["item_tower.fusion.modality_MD"][1])
    assert torch.equal(model.item_tower.fusion.query_D, there.item_tower.fusion.query_D)
    assert (
        record["taken"]["fusion"]["numbers"] == sum(value.numel() for value in there.item_tower.fusion.parameters()) - 8
    )


def with_fusion(model: TwoTower, fusion: torch.nn.Module) -> TwoTower:
    model.item_tower.fusion = fusion
    return model


def test_a_gate_is_made_for_its_modalities_in_their_order(tmp_path):
    source = block_world()
    target = renamed(source, audio="sound")
    there = with_fusion(trained(source), GatedFusion({"audio": 8, "visual": 8}))
    model = with_fusion(trained(target, seed=2), GatedFusion({"sound": 8, "visual": 8}))
    before = state_of(model)
    record = TransferStart(str(saved(tmp_path, there, source)))(model, target)
    assert record["left"]["fusion"] == "made for the modalities ['audio', 'visual'], here are ['sound', 'visual']"
    assert record["left"]["content pooling"] == "the fusion before it is left"
    assert not {name for name in changed(before, model) if "fusion" in name or "content" in name}


def test_another_fusion_is_left_although_its_tensors_would_fit(tmp_path):
    source = block_world()
    there = with_fusion(trained(source), WeightedSum({"audio": 8, "visual": 8}, learned=True))
    record = TransferStart(str(saved(tmp_path, there, source)))(trained(source, seed=2), source)
    assert record["left"]["fusion"] == "a AttentionFusion here, WeightedSum there"


def test_weights_that_were_given_by_hand_stay(tmp_path):
    source = block_world()
    there = with_fusion(trained(source), WeightedSum({"audio": 8, "visual": 8}))
    model = with_fusion(trained(source, seed=2), WeightedSum({"audio": 8, "visual": 8}, {"audio": 0.25}))
    TransferStart(str(saved(tmp_path, there, source)))(model, source)
    assert model.item_tower.fusion.weight_M.tolist() == [0.25, 1.0]


def test_what_was_learnt_of_side_information_is_left_and_texts_are_taken(tmp_path):
    source = block_world()
    side = {"audio": {"axes": torch.ones(2)}, "visual": {"columns": ["title"], "encoder": ["digest"]}}
    record = TransferStart(str(saved(tmp_path, trained(source), source, side)))(trained(source, seed=2), source)
    assert record["left"] == {"encoder audio": "what its numbers mean was learnt from the other data set"}
    assert "encoder visual" in record["taken"]


def test_an_encoder_of_media_comes_with_its_trunk_but_not_with_its_statistics(tmp_path):
    source = block_world()
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        encoder = ast()
        encoder.preprocess.mean_F.fill_(seed)
        with torch.no_grad():
            for value in encoder.trunk.state_dict().values():
                value.add_(seed)
        model = trained(source, seed=seed)
        model.item_tower.encoders["audio"] = encoder
        models.append(model)
    there, model = models
    TransferStart(str(saved(tmp_path, there, source)))(model, source)
    found, theirs = model.item_tower.encoders["audio"], there.item_tower.encoders["audio"]
    assert found.preprocess.mean_F[0] == 2
    pairs = zip(found.trunk.state_dict().values(), theirs.trunk.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert torch.equal(found.head.mix_DKK, theirs.head.mix_DKK)


def test_a_model_of_which_nothing_fits_is_refused_by_what_differs(tmp_path):
    source = block_world()
    path = saved(
        tmp_path,
        trained(renamed(source, audio="sound", visual="film"), dim=8),
        renamed(source, audio="sound", visual="film"),
    )
    model = trained(source, seed=2, dim=4)
    before = state_of(model)
    with pytest.raises(ConfigError) as caught:
        TransferStart(str(path))(model, source)
    for part in (
        f"start.ckpt: nothing of {path} fits this model",
        "encoder audio (the modality is only here)",
        "encoder film (the modality is only there)",
        "fusion (no encoder before it fits)",
        "item rows (id vectors have 4 numbers here and 8 there)",
        "Give a model of the same modalities and widths, or set start=random.",
    ):
        assert part in str(caught.value)
    assert not changed(before, model)


def test_ids_alone_take_rows_or_nothing(tmp_path):
    source = block_world()
    path = str(saved(tmp_path, trained(source, fusion="none"), replace(source, features={})))
    model = trained(source, seed=2, fusion="none")
    record = TransferStart(path)(model, replace(source, features={}))
    assert set(record["taken"]) == {"item rows", "id pooling"}
    with pytest.raises(ConfigError, match=r"fits this model\. item rows \(no trained item has the id of one there\)"):
        TransferStart(path)(model, other_ids(replace(source, features={})))


def test_what_is_no_model_file_is_refused(tmp_path):
    source = block_world()
    model = trained(source)
    with pytest.raises(ArtefactError, match="no such file"):
        TransferStart(str(tmp_path / "model.pt"))(model, source)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "best.ckpt")
    with pytest.raises(
        ArtefactError, match=r"best\.ckpt: no model file .*'sizes'.*Give the model\.pt of a run, not a checkpoint"
    ):
        TransferStart(str(tmp_path / "best.ckpt"))(model, source)
    path = saved(tmp_path, model, source)
    value = torch.load(path, weights_only=True)
    value["sizes"]["num_items"] = 7
    torch.save(value, path)
    with pytest.raises(ArtefactError, match=r"do not fit one another \(rows \[96, 96, 64\]"):
        TransferStart(str(path))(model, source)
