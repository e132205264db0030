"""Stages: each is its own fit, with what it may change fixed before the fit begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn
from torch.utils.data import DataLoader

from avrec.core.errors import ConfigError
from avrec.core.files import check_format_version, read_json, write_json
from avrec.data.items_first import ItemsFirstSampler
from avrec.data.samplers import PairSampler
from avrec.models.encoders.base import MediaEncoder
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.batches import BatchLoader, ItemLoader
from avrec.training.checkpoints import AtomicCheckpointIO, load_tensors
from avrec.training.collapse import CollapseMonitor
from avrec.training.encoder_module import EncoderModule, EncoderTraining
from avrec.training.media_store import MediaStore, media_encoders
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.optimiser import ParameterGroups
from avrec.training.progress import StepTimer

EPOCHS_OF_A_STAGE = 1_000_000
FORMAT_VERSION = 2  # 2: a stage may be undone


class Patience(EarlyStopping):
    """Early stopping that remembers: resumed after its last epoch, a stage does not train another one."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop at once where patience had run out."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


@dataclass(frozen=True)
class Stage:
    """One fit.

    Attributes:
        name: of its folder and of its curves.
        max_epochs: at most so many.
        optimizer: makes the optimiser of what is not frozen.
        weights: of the three losses.
        patience: epochs without a better validation objective before the stage stops; early plateaus are long.
        frozen: prefixes of parameters that stay as they are.
        averaging: an optional weight-averaging callback.
        encoders: which blocks of pretrained encoders are trained, if any.
        min_gain: what the best epoch must add to the objective at the stage's start; otherwise the stage is undone.
            None keeps the best epoch in any case, as a first stage must.
    """

    name: str
    max_epochs: int
    optimizer: ParameterGroups
    weights: LossWeights = field(default_factory=LossWeights)
    patience: int = 10
    frozen: Sequence[str] = ()
    averaging: Callable[[], Callback] | None = None
    encoders: EncoderTraining | None = None
    min_gain: float | None = None


@dataclass(frozen=True)
class StageContext:
    """What all stages share.

    Attributes:
        sampler: makes the batches.
        catalogue: content of all items; a stage that trains encoders overwrites their steps.
        loss: the loss of the score matrix.
        validate: named validation metrics of a model under loss weights; `objective` is what selects.
        make_trainer: a partial of `pytorch_lightning.Trainer`.
        make_logger: `(stage name) -> logger or False`.
        callbacks: made anew for each stage.
        folder: the run's folder for checkpoints.
        content_items_A: items whose content may be trained; all when None.
        media: what encoders read, where the model has any.
        make_item_sampler: `(items in a batch, users of each) -> ItemsFirstSampler`.
    """

    sampler: PairSampler
    catalogue: CatalogueFeatures
    loss: nn.Module
    validate: Callable[[TwoTower, LossWeights], Mapping[str, float]]
    make_trainer: Callable[..., pl.Trainer]
    make_logger: Callable[[str], Any]
    callbacks: Callable[[], list[Callback]]
    folder: Path
    content_items_A: Tensor | None = None
    media: MediaStore | None = None
    make_item_sampler: Callable[[int, int], ItemsFirstSampler] | None = None


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Set `requires_grad` of every parameter; the user tower's map stays as its owner set it.

    Raises:
        ConfigError: a prefix matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(f"stage: frozen prefix '{prefix}' matches no parameter; there are {sorted(names)}.")
    for name, parameter in model.named_parameters():
        if any(name.startswith(prefix) for prefix in prefixes):
            parameter.requires_grad_(False)


def run_stage(model: TwoTower, stage: Stage, index: int, context: StageContext) -> dict[str, Any]:
    """Fit one stage and leave its best weights, by validation, in `model`; a finished stage is loaded, a broken one resumed.

    Returns:
        The objective that was kept, the one at the start of a stage that may be undone, the epochs run, the best epoch, whether the stage was undone.
    """
    folder = context.folder / f"{index}_{stage.name}"
    done = folder / "done.json"
    if done.exists():
        found = read_json(done)
        check_format_version(found, done, FORMAT_VERSION)
        if not found["undone"]:
            _load_best(model, context, folder / "best.ckpt")
        rank_zero_only(print)(f"  finished earlier, loaded from {folder}", flush=True)
        return {name: value for name, value in found.items() if name != "format_version"}
    start = None if stage.min_gain is None else context.validate(model, stage.weights)["objective"]
    if start is not None:
        rank_zero_only(print)(f"  the validation objective at the start is {start:.4f}", flush=True)
    before = _Start.of(model, context)
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    try:
        _set_trainable(model, stage)
        trainer, best = _fit(model, stage, index, context, folder, start)
    finally:
        for parameter, flag in zip(model.parameters(), trainable, strict=True):
            parameter.requires_grad_(flag)
        for encoder in media_encoders(model).values():
            encoder.set_trainable(0)
    assert best.best_model_score is not None
    summary = _kept(model, stage, context, start, before, Path(best.best_model_path), float(best.best_model_score))
    summary["epochs"] = trainer.current_epoch
    if trainer.is_global_zero:
        write_json(done, {"format_version": FORMAT_VERSION} | summary)
    return summary


@dataclass(frozen=True)
class _Start:
    """The model, the loss and the bank as a stage found them."""

    state: dict[str, Tensor]
    loss: dict[str, Tensor]
    values: dict[str, Tensor]

    @classmethod
    def of(cls, model: TwoTower, context: StageContext) -> "_Start":
        parts = (model.state_dict(), context.loss.state_dict(), context.catalogue.values)
        return cls(*({name: value.detach().clone() for name, value in part.items()} for part in parts))

    def restore(self, model: TwoTower, context: StageContext) -> None:
        model.load_state_dict(self.state)
        context.loss.load_state_dict(self.loss)
        model.to(torch.device("cpu"))
        for name, value in self.values.items():
            context.catalogue.values[name].copy_(value)


def _kept(
    model: TwoTower,
    stage: Stage,
    context: StageContext,
    start: float | None,
    before: _Start,
    path: Path,
    objective: float,
) -> dict[str, Any]:
    """Leave the best epoch in the model, or what the stage started from where training did not earn its cost."""
    epoch = int(load_tensors(path)["epoch"])
    if start is None or stage.min_gain is None or objective >= start + stage.min_gain:
        _load_best(model, context, path)
        known = {} if start is None else {"start_objective": start}
        return {"objective": objective, "best_epoch": epoch, "undone": False, **known}
    before.restore(model, context)
    rank_zero_only(print)(
        f"  stage {stage.name} is undone: its best epoch has the validation objective {objective:.4f}, it started at {start:.4f}",
        flush=True,
    )
    return {"objective": start, "best_epoch": epoch, "undone": True, "start_objective": start}


def _set_trainable(model: TwoTower, stage: Stage) -> None:
    """Freeze what the stage leaves alone, pretrained blocks among it, before the fit begins.

    Raises:
        ConfigError: an encoder has fewer blocks than the stage trains, or a frozen prefix matches nothing.
    """
    encoders = media_encoders(model)
    training = stage.encoders
    for name, encoder in encoders.items():
        blocks = 0 if training is None else training.blocks.get(name, 0)
        encoder.set_trainable(blocks, training is not None and training.checkpointing)
    freeze(model, stage.frozen)


def boundaries(encoders: Mapping[str, MediaEncoder], stages: Sequence[Stage]) -> dict[str, list[int]]:
    """{modality: the levels below the first block that a stage trains}, so that they can be stored in one pass."""
    found: dict[str, set[int]] = {}
    for name, encoder in encoders.items():
        for stage in stages:
            encoder.set_trainable(0 if stage.encoders is None else stage.encoders.blocks.get(name, 0))
            found.setdefault(name, set()).add(encoder.boundary_level)
        encoder.set_trainable(0)
        found[name].discard(encoder.pooled_level)
    return {name: sorted(levels) for name, levels in found.items()}


def _readers(model: TwoTower, stage: Stage, context: StageContext) -> dict[str, Any]:
    """Where each trained encoder of the stage starts from, its cache filled before the stage begins."""
    if stage.encoders is None or context.media is None:
        return {}
    media = context.media
    encoders = media_encoders(model)
    trained = {name: encoder for name, encoder in encoders.items() if stage.encoders.blocks.get(name, 0) != 0}
    return {name: media.level(encoder, encoder.boundary_level) for name, encoder in trained.items()}


def _fit(
    model: TwoTower, stage: Stage, index: int, context: StageContext, folder: Path, start: float | None
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """Fit, from `last.ckpt` where a broken run left one; the best weights stand in `best.ckpt`."""
    best = ModelCheckpoint(folder, "best", monitor="val/objective", mode="max", enable_version_counter=False)
    # Lightning's own save_last writes only when an epoch is the best so far.
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    stopping = Patience("val/objective", mode="max", patience=stage.patience, check_finite=True)
    callbacks: list[Callback] = [best, last, stopping, *context.callbacks()]
    if stage.averaging is not None:
        callbacks.append(stage.averaging())
    if stage.weights.uses_content:
        callbacks.append(CollapseMonitor(stage.name, start))
    trainer = context.make_trainer(
        max_epochs=stage.max_epochs,
        callbacks=callbacks,
        logger=context.make_logger(stage.name),
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(context.folder),
    )
    module, loader = _module(model, stage, index, context, trainer)
    broken = folder / "last.ckpt"
    trainer.fit(
        module,
        train_dataloaders=loader,
        val_dataloaders=DataLoader([0], batch_size=None),  # type: ignore[arg-type]
        ckpt_path=str(broken) if broken.exists() else None,
    )
    for timer in (found for found in callbacks if isinstance(found, StepTimer)):
        if context.media is not None:
            context.media.rates.add("step", f"{stage.name}, {timer.unit}", timer.handled, timer.step_sec)
            context.media.rates.wait_share[stage.name] = timer.wait_share
    return trainer, best


def _module(
    model: TwoTower, stage: Stage, index: int, context: StageContext, trainer: pl.Trainer
) -> tuple[TwoTowerModule, BatchLoader]:
    """The module and the loader of a stage: pairs first, or items first where encoders are trained."""
    arguments = (
        model,
        context.catalogue,
        context.loss,
        stage.weights,
        stage.optimizer,
        lambda current: context.validate(current, stage.weights),
        context.content_items_A,
    )
    dtype, first_epoch = next(model.parameters()).dtype, index * EPOCHS_OF_A_STAGE
    readers = _readers(model, stage, context)
    if not readers:
        return TwoTowerModule(*arguments), BatchLoader(context.sampler, trainer, first_epoch, dtype)
    assert stage.encoders is not None and context.make_item_sampler is not None
    sampler = context.make_item_sampler(stage.encoders.items_per_batch, stage.encoders.users_per_item)
    module = EncoderModule(*arguments, readers=readers, training=stage.encoders, available_sec=sampler.available_sec)
    return module, ItemLoader(sampler, trainer, first_epoch, dtype, readers)


def _load_best(model: TwoTower, context: StageContext, path: Path) -> None:
    """The best weights, those of the loss too, and the steps that their encoders made, where the stage trained any."""
    state = load_tensors(path)["state_dict"]
    for name, module in (("model.", model), ("loss.", context.loss)):
        module.load_state_dict({key.removeprefix(name): value for key, value in state.items() if key.startswith(name)})
    model.to(torch.device("cpu"))
    for name, value in context.catalogue.values.items():
        if f"feature_{name}" in state:
            value.copy_(state[f"feature_{name}"])
