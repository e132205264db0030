"""Stages that train encoders: each its own fit, undone or kept whole with its bank, and resumed as if never broken."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from avrec.core.errors import ConfigError
from avrec.core.files import read_json
from avrec.models.encoders.base import RAW
from avrec.training.averaging import EpochAveraging, ExponentialAveraging
from avrec.training.checkpoints import load_tensors
from avrec.training.encoder_module import EncoderModule
from avrec.training.fit import train
from avrec.training.media_store import media_encoders
from avrec.training.module import LossWeights
from avrec.training.optimiser import ParameterGroups
from avrec.training.stages import run_stage
from tests.models.tiny_encoders import whisper
from tests.training.media_world import (
    BOTH,
    HELD_OUT,
    LACKS,
    MediaWorld,
    encoder_stage,
    make_world,
    media_context,
)
from tests.training.test_stages import Plug, PulledPlugError, equal
from tests.training.test_stages import Recorder as Batches
from tests.training.world import adam, block_world, make_context, make_model, make_stage, same, state_of

TOP = {"audio": 1, "video": 1}
FULL = {"audio": "all", "video": "all"}
averaged = partial(EpochAveraging, start_epoch=1)


def levels(blocks: dict[str, object]) -> dict[str, int]:
    """Where a stage starts from; both tiny encoders have three blocks."""
    return {name: RAW if count == "all" else 3 - int(count) for name, count in blocks.items()}


def close(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 2e-5) -> bool:
    """Equal up to the rounding of other sizes of batches."""
    return all(torch.allclose(one[name], other[name], rtol=0, atol=tolerance) for name in other)


def trunks(world: MediaWorld) -> dict[str, Tensor]:
    return {name: value for name, value in state_of(world.model).items() if ".trunk." in name}


class Starts(Callback):
    """The stage as each fit finds it."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.free: list[set[str]] = []
        self.states: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer, pl_module):
        self.kinds.append(type(pl_module).__name__)
        self.free.append({name for name, value in pl_module.model.named_parameters() if value.requires_grad})
        self.states.append(state_of(pl_module.model))


def test_a_line_of_stages_thaws_from_the_top_and_each_starts_from_the_best_of_the_last(tmp_path):
    world = make_world(tmp_path)
    starts, seen = Starts(), []
    objectives = iter([0.1, 0.3, 0.2, 0.5, 0.1, 0.9, 0.95])

    def validate(model, weights):
        seen.append((state_of(model), world.bank()))
        return {"objective": next(objectives)}

    context = replace(media_context(world, tmp_path, lambda: [starts]), validate=validate)
    stages = [
        make_stage(BOTH, name="joint"),
        encoder_stage(TOP, name="top"),
        encoder_stage({"audio": 2, "video": "all"}, name="full"),
    ]
    first = state_of(world.model)
    summaries = train(world.model, stages, context)
    assert starts.kinds == ["TwoTowerModule", "EncoderModule", "EncoderModule"]
    assert [summary["best_epoch"] for summary in summaries] == [1, 0, 1]
    best = [1, 3, 6]
    assert same(starts.states[1], seen[best[0]][0])
    assert same(starts.states[2], seen[best[1]][0])
    assert same(state_of(world.model), seen[best[2]][0])
    assert same(world.bank(), seen[best[2]][1])

    def of_trunk(names, kind):
        return {name.split(".trunk.")[1] for name in names if f"encoders.{kind}.trunk." in name}

    assert [(of_trunk(free, "audio"), of_trunk(free, "video")) for free in starts.free[:1]] == [(set(), set())]
    assert {name.split(".")[1] for name in of_trunk(starts.free[1], "audio") if name[0] == "b"} == {"2"}
    assert {name.split(".")[1] for name in of_trunk(starts.free[2], "audio") if name[0] == "b"} == {"1", "2"}
    assert not [name for name in of_trunk(starts.free[2], "audio") if name.startswith("stem")]
    assert {name.split(".")[0] for name in of_trunk(starts.free[2], "video")} == {"stem", "blocks", "norm"}
    moved = [
        {name for name, value in one.items() if not torch.equal(value, other[name])}
        for one, other in zip([*starts.states[1:], state_of(world.model)], [first, *starts.states[1:]], strict=True)
    ]
    assert not [name for name in moved[0] if ".trunk." in name]
    assert "item_table.output_ND" in moved[0] and "item_table.output_ND" not in moved[1] | moved[2]
    assert {name for name in moved[1] | moved[2] if ".trunk." in name} <= starts.free[1] | starts.free[2]
    assert not any(value.requires_grad for name, value in world.model.named_parameters() if ".trunk." in name)
    assert all(encoder.boundary_level == encoder.pooled_level for encoder in media_encoders(world.model).values())
    # A joint stage moves nothing below the heads: the bank is that of the start until the second stage.
    assert same(seen[0][1], seen[1][1]) and not same(seen[1][1], seen[3][1])


class Losses(Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(trainer.logged_metrics["train/content_loss"]))


def test_training_encoders_lowers_their_loss(tmp_path):
    world = make_world(tmp_path)
    losses = Losses()
    frozen = [name for name, _ in world.model.named_parameters() if ".trunk." not in name]
    settings = {"log_every_n_steps": 1, "check_val_every_n_epoch": 40}
    stage = encoder_stage(
        FULL, 40, items_per_batch=13, users_per_item=8, bank_weight=0.0, frozen=frozen, optimizer=adam()
    )
    run_stage(world.model, stage, 0, media_context(world, tmp_path, lambda: [losses], **settings))
    assert np.mean(losses.values[-5:]) < np.mean(losses.values[:5]) - 0.25


@pytest.mark.parametrize("blocks", [TOP, {"audio": 2}, FULL], ids=["top", "audio alone", "full"])
def test_every_validation_sees_an_exact_bank_and_the_best_is_kept_with_its_weights(blocks, tmp_path):
    world = make_world(tmp_path)
    seen, objectives = [], iter([0.25, 0.625, 0.5])

    def validate(model, weights):
        seen.append((state_of(model), world.bank()))
        assert close(world.bank(), world.exact_bank(levels(blocks)))
        return {"objective": next(objectives)}

    start = world.bank()
    context = replace(media_context(world, tmp_path), validate=validate)
    summary = run_stage(world.model, encoder_stage(blocks, 3), 0, context)
    assert summary == {"objective": 0.625, "best_epoch": 1, "undone": False, "epochs": 3}
    assert same(state_of(world.model), seen[1][0]) and same(world.bank(), seen[1][1])
    assert close(world.bank(), world.exact_bank(levels(blocks)))
    for name, value in world.bank().items():
        changed = (value != start[name]).flatten(1).any(dim=1)
        expected = [item not in LACKS[name] and name in blocks for item in range(18)]
        assert changed.tolist() == expected
    # What is validated is what will be served: the clips themselves give the same.
    assert close(world.bank(), world.exact_bank({}))


def test_a_bank_in_another_precision_than_the_catalogue_is_validated_as_exactly(tmp_path):
    world, seen = make_world(tmp_path), []

    def validate(model, weights):
        assert next(model.parameters()).dtype == torch.float64
        seen.append(world.bank())
        assert close(world.bank(), world.exact_bank(levels(TOP)), 2e-3)
        return {"objective": float(len(seen))}

    context = replace(media_context(world, tmp_path, precision="64-true"), validate=validate)
    start = world.bank()
    run_stage(world.model, encoder_stage(TOP, 2), 0, context)
    assert not close(seen[1], start, 0.02)
    assert same(world.bank(), seen[1])


@pytest.mark.parametrize(
    "averaging, tolerance",
    [(averaged, 2e-5), (partial(ExponentialAveraging, decay=0.9), 2e-5)],
    ids=["over epochs", "exponential"],
)
def test_the_bank_of_averaged_weights_is_theirs(averaging, tolerance, tmp_path):
    world = make_world(tmp_path)
    seen = []

    def validate(model, weights):
        seen.append((state_of(model), world.bank()))
        assert close(world.bank(), world.exact_bank(levels(TOP)), tolerance)
        return {"objective": float(len(seen))}

    context = replace(media_context(world, tmp_path), validate=validate)
    run_stage(world.model, encoder_stage(TOP, 3, averaging=averaging), 0, context)
    assert len(seen) == 3
    assert same(state_of(world.model), seen[2][0]) and same(world.bank(), seen[2][1])
    assert close(world.bank(), world.exact_bank(levels(TOP)), tolerance)
    current = load_tensors(tmp_path / "0_stage" / "best.ckpt")["current_model_state"]
    name = "item_tower.encoders.audio.trunk.norm.weight"
    assert not torch.equal(current[f"model.{name}"], world.model.get_parameter(name))


def refuse(**options: object) -> None:
    raise AssertionError("a finished stage was run again")


@pytest.mark.parametrize("min_gain, undone", [(0.0, False), (0.1, True), (None, False)])
def test_a_stage_that_gains_too_little_is_undone_with_its_bank_and_stays_so(min_gain, undone, tmp_path, capsys):
    world = make_world(tmp_path)
    train(world.model, [make_stage(BOTH, 1, name="joint")], media_context(world, tmp_path))
    before, bank = state_of(world.model), world.bank()
    stage = encoder_stage(TOP, 2, min_gain=min_gain)
    told = [0.48, 0.5] if min_gain is None else [0.5, 0.48, 0.5]
    summary = run_stage(world.model, stage, 1, media_context(world, tmp_path, objectives=told))
    assert summary["undone"] == undone
    assert same(state_of(world.model), before) == same(world.bank(), bank) == undone
    assert (summary["objective"], summary.get("start_objective")) == (0.5, None if min_gain is None else 0.5)
    line = "stage stage is undone: its best epoch has the validation objective 0.5000, it started at 0.5000"
    assert (line in capsys.readouterr().out) == undone

    again = make_world(tmp_path / "again")
    joint = make_stage(BOTH, 1, name="joint")
    context = replace(media_context(again, tmp_path), make_trainer=refuse)
    assert train(again.model, [joint, stage], context)[1] == summary
    assert same(state_of(again.model), state_of(world.model)) and same(again.bank(), world.bank())
    assert read_json(tmp_path / "1_stage" / "done.json")["undone"] == undone
    assert same(state_of(again.model), before) == undone


def test_the_gain_is_measured_from_the_start_of_the_stage(tmp_path):
    world = make_world(tmp_path)
    seen = []

    def validate(model, weights):
        seen.append(state_of(model))
        return {"objective": 1.0}

    before = state_of(world.model)
    context = replace(media_context(world, tmp_path), validate=validate)
    run_stage(world.model, encoder_stage(TOP, 1, min_gain=0.0), 0, context)
    assert len(seen) == 2 and same(seen[0], before) and not same(seen[1], before)


# --- broken off


def run(folder: Path, *callbacks: Callback, steps=False, objectives=None, epochs=3, warm=False, **options):
    """A stage from the top blocks of sound and the media of pictures, with every dropout on; model, bank and summary."""
    world = make_world(folder / "world", dropout=0.3)
    every_step = [ModelCheckpoint(folder / "0_stage", "last", every_n_train_steps=1, enable_version_counter=False)]
    context = media_context(world, folder, lambda: [*callbacks, *(every_step if steps else [])], objectives)
    if objectives is None:
        context = replace(
            context, validate=lambda model, _: {"objective": float(model.item_table.bias_N.square().sum())}
        )
    if warm:
        options["optimizer"] = ParameterGroups(
            torch.optim.AdamW, 0.01, encoder_rate=0.005, layer_decay=0.7, warmup_steps=6
        )
    stage = encoder_stage({"audio": 1, "video": "all"}, epochs, LossWeights(0.5, 1.0, 0.3, 0.3, 0.2), **options)
    summary = run_stage(world.model, stage, 0, context)
    return state_of(world.model), world.bank(), summary


def last(folder: Path) -> dict[str, object]:
    checkpoint = load_tensors(folder / "0_stage" / "last.ckpt")
    assert checkpoint["optimizer_states"][0]["state"]
    kept = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "current_model_state")
    return {key: checkpoint.get(key) for key in kept}


def assert_as_unbroken(folder: Path, found, **options):
    whole = run(folder / "whole", **options)
    assert same(found[0], whole[0]) and same(found[1], whole[1])
    assert found[2] == whole[2]
    assert equal(last(folder / "broken"), last(folder / "whole"))
    assert {"feature_audio", "feature_video"} <= set(last(folder / "whole")["state_dict"])


@pytest.mark.parametrize(
    "moment, steps, options",
    [
        (("batch", 1, 2), False, {}),
        (("batch", 1, 1), True, {"warm": True}),
        pytest.param(("batch", 0, 1), True, {}, marks=pytest.mark.slow),
        pytest.param(("epoch", 2, 0), False, {"averaging": averaged}, marks=pytest.mark.slow),
        (("batch", 2, 1), True, {"averaging": averaged}),
        pytest.param(("validation", 1, 0), False, {"checkpointing": True}, marks=pytest.mark.slow),
    ],
)
def test_a_broken_stage_ends_as_an_unbroken_one_bank_included(moment, steps, options, tmp_path):
    folder = tmp_path / "broken"
    with pytest.raises(PulledPlugError):
        run(folder, Plug(*moment), steps=steps, **options)
    after = Batches()
    found = run(folder, after, steps=steps, **options)
    if moment[0] == "batch":
        assert next(iter(after.batches)) == (moment[1:] if steps else (moment[1], 0))
    assert_as_unbroken(tmp_path, found, steps=steps, **options)


def test_a_broken_stage_that_is_undone_leaves_what_it_started_from(tmp_path):
    start = make_world(tmp_path / "start", dropout=0.3)
    with pytest.raises(PulledPlugError):
        run(tmp_path / "broken", Plug("batch", 1, 2), objectives=[0.9, 0.5], min_gain=0.0)
    state, bank, summary = run(tmp_path / "broken", objectives=[0.9, 0.6, 0.7], min_gain=0.0)
    assert summary["undone"] and (summary["start_objective"], summary["epochs"]) == (0.9, 3)
    assert same(state, state_of(start.model)) and same(bank, start.bank())


def test_what_a_broken_stage_froze_is_as_before(tmp_path):
    world = make_world(tmp_path)
    flags = {name: value.requires_grad for name, value in world.model.named_parameters()}
    with pytest.raises(PulledPlugError):
        run_stage(world.model, encoder_stage(FULL), 0, media_context(world, tmp_path, lambda: [Plug("batch", 1, 1)]))
    assert {name: value.requires_grad for name, value in world.model.named_parameters()} == flags
    assert [encoder.boundary_level for encoder in media_encoders(world.model).values()] == [4, 4]


@pytest.mark.slow
def test_a_killed_process_leaves_a_stage_that_ends_as_an_unbroken_one(tmp_path):
    script = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path\n"
        "from tests.training.test_encoder_stages import Plug, run\n"
        "run(Path(sys.argv[1]), Plug('batch', 1, 2, kill=True), steps=True)"
    )
    root = Path(__file__).resolve().parents[2]
    child = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "broken")],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    assert_as_unbroken(tmp_path, run(tmp_path / "broken", steps=True), steps=True)


# --- what is left out or refused


def test_a_stage_for_encoders_is_left_out_of_a_model_without_any(tmp_path, capsys):
    dataset = block_world()
    model = make_model(dataset)
    context = make_context(dataset, model, tmp_path)
    summaries = train(model, [make_stage(max_epochs=1, name="ids"), encoder_stage(TOP, name="top")], context)
    assert len(summaries) == 1
    assert "stage 2/2: top: left out, the model has none of its encoders" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0_ids"]


def test_an_encoder_that_the_model_lacks_is_not_missed(tmp_path):
    world = make_world(tmp_path, random_heads=False, encoders={"audio": whisper})
    starts = Starts()
    run_stage(world.model, encoder_stage(TOP, 1), 0, media_context(world, tmp_path, lambda: [starts]))
    assert starts.kinds == ["EncoderModule"]


def test_more_blocks_than_there_are_is_told_before_anything_is_trained(tmp_path):
    world = make_world(tmp_path)
    with pytest.raises(ConfigError, match=r"ViTEncoder: 7 blocks cannot be trained; expected 0 to 3 or 'all'"):
        run_stage(world.model, encoder_stage({"video": 7}), 0, media_context(world, tmp_path))
    assert not (tmp_path / "0_stage").exists()


def test_pseudo_cold_items_are_encoded_for_validation_only(tmp_path):
    world = make_world(tmp_path)
    phases: dict[str, set[int]] = {"train": set(), "validate": set()}

    class Phase(Callback):
        now = "train"

        def on_validation_start(self, trainer, pl_module):
            assert isinstance(pl_module, EncoderModule)
            self.now = "validate"

        def on_validation_end(self, trainer, pl_module):
            self.now = "train"

    phase = Phase()
    for memory in world.store.memory.values():
        read = memory.read
        memory.read = lambda idx, read=read: phases[phase.now].update(np.asarray(idx).tolist()) or read(idx)
    run_stage(world.model, encoder_stage(FULL, 2), 0, media_context(world, tmp_path, lambda: [phase]))
    assert phases["train"] == set(range(15)) - {*HELD_OUT, 4}
    assert phases["validate"] == set(range(18)) - {4}
