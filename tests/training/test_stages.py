"""Stages: a broken fit ends as an unbroken one, a finished one is not repeated, and each changes what it may."""

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

from avrec.core.errors import ArtefactError, ConfigError
from avrec.core.files import read_json, write_json
from avrec.training.averaging import EpochAveraging
from avrec.training.checkpoints import load_tensors
from avrec.training.fit import train
from avrec.training.module import LossWeights
from avrec.training.optimiser import ParameterGroups, longest_prefix
from avrec.training.stages import EPOCHS_OF_A_STAGE, freeze, run_stage
from tests.training.world import (
    CONTENT,
    IDS,
    adam,
    block_world,
    make_context,
    make_model,
    make_sampler,
    make_stage,
    same,
    state_of,
)

EPOCHS, BATCHES = 4, 4
ALL = LossWeights(1.0, 1.0, 0.5, id_dropout=0.3)
averaged = partial(EpochAveraging, start_epoch=1)


class Recorder(Callback):
    """What was trained on, by (epoch, batch)."""

    def __init__(self) -> None:
        self.batches: dict[tuple[int, int], list[int]] = {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        assert (trainer.current_epoch, batch_idx) not in self.batches
        self.batches[trainer.current_epoch, batch_idx] = batch.positive_B.tolist()


class PulledPlugError(Exception):
    """The plug was pulled."""


class Plug(Callback):
    """Ends the process, or raises, at a moment: the start of a batch, of an epoch, or of a validation."""

    def __init__(self, hook: str, epoch: int, batch: int = 0, kill: bool = False) -> None:
        self.moment, self.kill = (hook, epoch, batch), kill

    def _pull(self, *now: object) -> None:
        if now == self.moment:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise PulledPlugError

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._pull("batch", trainer.current_epoch, batch_idx)

    def on_train_epoch_start(self, trainer, pl_module):
        self._pull("epoch", trainer.current_epoch, 0)

    def on_validation_start(self, trainer, pl_module):
        self._pull("validation", trainer.current_epoch, 0)


def saver(folder: Path) -> ModelCheckpoint:
    """A checkpoint after every step, beside the one that stands after every epoch."""
    return ModelCheckpoint(folder / "0_stage", "last", every_n_train_steps=1, enable_version_counter=False)


def run(folder: Path, *callbacks: Callback, averaging=averaged, patience=10, epochs=EPOCHS, steps=False, **trainer):
    """Fit the world of this file; the model that is left and the summary."""
    dataset = block_world()
    model = make_model(dataset, dropout=0.3)
    extra = [saver(folder)] if steps else []
    context = make_context(dataset, model, folder, callbacks=lambda: [*callbacks, *extra], **trainer)
    stage = make_stage(ALL, epochs, averaging=averaging, patience=patience)
    summary = run_stage(model, stage, 0, context)
    return state_of(model), summary


def equal(one: object, other: object) -> bool:
    """Nested equality, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
        )
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(equal, one, other))
    return one == other


KEPT = ("epoch", "global_step", "state_dict", "optimizer_states", "current_model_state", "averaging_state")


def last(folder: Path) -> dict[str, object]:
    """Weights, averages and optimiser state at the end of the stage."""
    checkpoint = load_tensors(folder / "0_stage" / "last.ckpt")
    assert checkpoint["optimizer_states"][0]["state"]
    return {key: checkpoint.get(key) for key in KEPT}


def assert_as_unbroken(folder: Path, state, summary, steps=False, **options):
    whole, whole_summary = run(folder / "whole", steps=steps, **options)
    assert same(state, whole)
    assert summary == whole_summary
    assert equal(last(folder / "broken"), last(folder / "whole"))


@pytest.mark.parametrize("averaging", [None, averaged], ids=["plain", "averaged"])
@pytest.mark.parametrize("moment", [("batch", 1, 2), ("epoch", 2, 0), ("validation", 2, 0), ("batch", 0, 3)])
def test_a_broken_fit_goes_on_after_its_last_epoch_and_ends_as_an_unbroken_one(moment, averaging, tmp_path):
    folder = tmp_path / "broken"
    with pytest.raises(PulledPlugError):
        run(folder, Plug(*moment), averaging=averaging)
    assert not (folder / "0_stage" / "done.json").exists()
    again = Recorder()
    state, summary = run(folder, again, averaging=averaging)
    first = (moment[1], 0)
    assert list(again.batches) == [(epoch, batch) for epoch in range(first[0], EPOCHS) for batch in range(BATCHES)]
    assert_as_unbroken(tmp_path, state, summary, averaging=averaging)


@pytest.mark.parametrize("averaging", [None, averaged], ids=["plain", "averaged"])
@pytest.mark.parametrize("moment", [(1, 2), (0, 1), (3, 3)])
def test_a_fit_broken_in_the_middle_of_an_epoch_trains_on_every_other_batch_once(moment, averaging, tmp_path):
    folder = tmp_path / "broken"
    before, after, whole = Recorder(), Recorder(), Recorder()
    with pytest.raises(PulledPlugError):
        run(folder, Plug("batch", *moment), before, averaging=averaging, steps=True)
    state, summary = run(folder, after, averaging=averaging, steps=True)
    assert next(iter(after.batches)) == moment
    assert not set(before.batches) & set(after.batches)
    assert_as_unbroken(tmp_path, state, summary, averaging=averaging, steps=True)
    run(tmp_path / "again", whole, averaging=averaging)
    assert before.batches | after.batches == whole.batches
    assert len(whole.batches) == EPOCHS * BATCHES


def test_the_middle_of_an_epoch_is_found_when_gradients_are_accumulated(tmp_path):
    folder = tmp_path / "broken"
    options = {"steps": True, "accumulate_grad_batches": 2, "limit_train_batches": 4}
    with pytest.raises(PulledPlugError):
        run(folder, Plug("batch", 1, 2), **options)
    after = Recorder()
    state, summary = run(folder, after, **options)
    assert next(iter(after.batches)) == (1, 2)
    assert_as_unbroken(tmp_path, state, summary, **options)


def test_a_killed_process_leaves_a_fit_that_ends_as_an_unbroken_one(tmp_path):
    script = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path\n"
        "from tests.training.test_stages import Plug, run\n"
        "run(Path(sys.argv[1]), Plug('epoch', 2, kill=True))"
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
    again = Recorder()
    state, summary = run(tmp_path / "broken", again)
    assert next(iter(again.batches)) == (2, 0)
    assert_as_unbroken(tmp_path, state, summary)


def worse_and_worse(trainer_seen: list[int]):
    def validate(model, weights):
        trainer_seen.append(1)
        return {"objective": 1.0 / len(trainer_seen)}

    return validate


def test_a_stage_whose_patience_had_run_out_is_not_trained_further(tmp_path):
    dataset = block_world()
    model = make_model(dataset)
    context = make_context(dataset, model, tmp_path, validate=worse_and_worse([]))
    stage = make_stage(max_epochs=20, patience=3)
    summary = run_stage(model, stage, 0, context)
    assert (summary["objective"], summary["epochs"], summary["best_epoch"]) == (1.0, 4, 0)
    (tmp_path / "0_stage" / "done.json").unlink()
    after, again = Recorder(), make_model(dataset)
    # The validation would now find a better epoch, if there were one.
    context = replace(context, callbacks=lambda: [after], validate=lambda model, weights: {"objective": 9.0})
    assert run_stage(again, stage, 0, context) == summary
    assert not after.batches
    assert same(state_of(again), state_of(model))


def test_a_stage_that_ended_with_its_last_epoch_is_not_trained_further(tmp_path):
    _, summary = run(tmp_path)
    (tmp_path / "0_stage" / "done.json").unlink()
    after = Recorder()
    assert run(tmp_path, after)[1] == summary
    assert not after.batches


def test_a_finished_stage_is_loaded_and_not_run(tmp_path):
    dataset = block_world()
    model = make_model(dataset)
    context = make_context(dataset, model, tmp_path)
    summary = run_stage(model, make_stage(), 0, context)
    done = tmp_path / "0_stage" / "done.json"
    assert read_json(done) == summary | {"format_version": 2}

    def refuse(**options: object) -> None:
        raise AssertionError("a finished stage was run again")

    again = make_model(dataset, seed=9)
    assert not same(state_of(again), state_of(model))
    assert run_stage(again, make_stage(), 0, replace(context, make_trainer=refuse)) == summary
    assert same(state_of(again), state_of(model))
    write_json(done, summary | {"format_version": 1})
    with pytest.raises(ArtefactError, match=r"done.json: format version 1; this avrec reads version 2"):
        run_stage(again, make_stage(), 0, context)


class FirstSeen(Callback):
    """The model as each fit finds it."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer, pl_module):
        self.states.append(state_of(pl_module.model))


def test_the_next_stage_starts_from_the_best_of_the_first_and_ends_with_its_own_best(tmp_path):
    dataset = block_world()
    model = make_model(dataset, dropout=0.2)
    seen, found = [], FirstSeen()
    objectives = iter([0.1, 0.5, 0.3, 0.2, 0.4, 0.1])

    def validate(current, weights):
        seen.append((state_of(current), weights))
        return {"objective": next(objectives)}

    context = make_context(dataset, model, tmp_path, validate=validate, callbacks=lambda: [found])
    stages = [make_stage(IDS, name="first"), make_stage(CONTENT, name="second")]
    summaries = train(model, stages, context)
    assert [summary["best_epoch"] for summary in summaries] == [1, 1]
    assert [weights for _, weights in seen] == [IDS] * 3 + [CONTENT] * 3
    assert same(found.states[1], seen[1][0])
    assert same(state_of(model), seen[4][0])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["0_first", "1_second"]


def test_a_broken_second_stage_does_not_touch_the_first(tmp_path):
    dataset = block_world()

    def both(folder: Path, *callbacks: Callback):
        model = make_model(dataset, dropout=0.3)
        context = make_context(dataset, model, folder, callbacks=lambda: list(callbacks))
        stages = [make_stage(IDS, 1, name="first"), make_stage(ALL, 3, name="second")]
        return state_of(model), train(model, stages, context), state_of(model)

    with pytest.raises(PulledPlugError):
        both(tmp_path / "broken", Plug("batch", 2, 1))
    kept = (tmp_path / "broken" / "0_first" / "best.ckpt").read_bytes()
    _, summaries, state = both(tmp_path / "broken")
    assert (tmp_path / "broken" / "0_first" / "best.ckpt").read_bytes() == kept
    _, whole_summaries, whole = both(tmp_path / "whole")
    assert summaries == whole_summaries
    assert same(state, whole)


def test_stages_see_other_random_numbers_and_the_same_ones_again(tmp_path):
    dataset = block_world()
    epochs: list[list[int]] = []
    for folder in ("one", "two"):
        model, recorders = make_model(dataset), [Recorder(), Recorder()]
        queue = iter(recorders)
        context = make_context(dataset, model, tmp_path / folder, callbacks=lambda queue=queue: [next(queue)])
        train(model, [make_stage(max_epochs=1, name=name) for name in ("first", "second")], context)
        epochs += [[item for batch in recorder.batches.values() for item in batch] for recorder in recorders]
    first, second, first_again, second_again = epochs
    assert (first, second) == (first_again, second_again)
    assert first != second and sorted(first) == sorted(second)
    sampler = make_sampler(dataset)
    expected = np.concatenate([sampler.batch(EPOCHS_OF_A_STAGE, index).positive for index in range(BATCHES)])
    assert second == expected.tolist()


FROZEN = ("item_tower.encoders", "item_table.bias_N")


@pytest.mark.parametrize("broken", [False, True], ids=["done", "broken"])
def test_frozen_parts_do_not_move_and_are_free_again_afterwards(broken, tmp_path):
    dataset = block_world()
    model = make_model(dataset, user_table=True)
    before = state_of(model)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    context = make_context(dataset, model, tmp_path, callbacks=lambda: [Plug("epoch", 1)] if broken else [])
    stage = make_stage(ALL, frozen=FROZEN)
    if broken:
        with pytest.raises(PulledPlugError):
            run_stage(model, stage, 0, context)
    else:
        run_stage(model, stage, 0, context)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    free = {name for name, flag in flags.items() if flag and not name.startswith(FROZEN)}
    free.remove("item_tower.fusion.absent_D")  # every item has a modality
    assert moved == free
    assert not flags["user_tower.map_DD"]
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags


def test_a_frozen_prefix_that_matches_nothing_is_told_with_what_there_is():
    with pytest.raises(
        ConfigError, match=r"frozen prefix 'item_twoer' matches no parameter; there are \['content_log_scale'"
    ):
        freeze(make_model(block_world()), ["item_table", "item_twoer"])


def test_the_longest_prefix_decides():
    table = {"item": 1.0, "item_tower": 2.0, "item_tower.encoders.audio": 3.0}
    names = [
        "item_table.bias_N",
        "item_tower.fusion.query_D",
        "item_tower.encoders.audio.head.bias",
        "user_tower.map_DD",
    ]
    assert [longest_prefix(name, table, 0.5) for name in names] == [1.0, 2.0, 3.0, 0.5]


def test_every_trainable_parameter_gets_the_rate_and_decay_of_its_longest_prefix():
    model = make_model(block_world())
    rates = {"item_tower": 0.1, "item_tower.encoders.audio": 0.2}
    decays = {"item_table.output_ND": 0.3, "item_tower.encoders": 0.4}
    optimizer = ParameterGroups(torch.optim.SGD, 0.01, rates, decays)(model)
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if name == "user_tower.map_DD":
            assert id(parameter) not in found
            continue
        rate = 0.2 if name.startswith("item_tower.encoders.audio") else 0.1 if name.startswith("item_tower") else 0.01
        decay = 0.3 if name == "item_table.output_ND" else 0.4 if name.startswith("item_tower.encoders") else 0.0
        assert found[id(parameter)] == (rate, decay), name
    assert (
        len(found)
        == sum(len(group["params"]) for group in optimizer.param_groups)
        == len(dict(model.named_parameters())) - 1
    )


def test_a_rate_moves_its_part_only(tmp_path):
    dataset = block_world()
    model = make_model(dataset)
    before = state_of(model)
    optimizer = ParameterGroups(torch.optim.SGD, 0.0, {"item_table.bias_N": 0.1})
    run_stage(model, make_stage(optimizer=optimizer), 0, make_context(dataset, model, tmp_path))
    assert [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])] == [
        "item_table.bias_N"
    ]


@pytest.mark.parametrize("argument", ["learning_rates", "weight_decays"])
def test_an_unknown_prefix_of_a_group_is_told(argument):
    groups = ParameterGroups(torch.optim.Adam, 0.01, **{argument: {"item_table": 0.1, "towers": 0.2}})
    message = (
        r"optimiser: no parameter starts with 'towers'; the model has \['content_log_scale', 'item_table', 'item_tower'"
    )
    with pytest.raises(ConfigError, match=message):
        groups(make_model(block_world()))


def test_a_stage_that_freezes_everything_is_told():
    model = make_model(block_world())
    freeze(model, [""])
    with pytest.raises(ConfigError, match="every parameter is frozen, so there is nothing to train"):
        adam()(model)


def test_the_order_of_runs_with_one_seed_is_the_same_and_of_another_seed_is_not(tmp_path):
    dataset = block_world()
    states = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        model = make_model(dataset, dropout=0.3)
        torch.manual_seed(seed + len(name))  # the state of the global generator decides nothing
        context = make_context(dataset, model, tmp_path / name, sampler=make_sampler(dataset, seed=seed))
        run_stage(model, make_stage(ALL, optimizer=adam()), 0, context)
        states.append(state_of(model))
    assert same(states[0], states[1])
    assert not same(states[0], states[2])
