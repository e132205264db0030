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
from avrec.data.samplers import PairSampler
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.batches import BatchLoader
from avrec.training.checkpoints import AtomicCheckpointIO, load_tensors
from avrec.training.module import LossWeights, TwoTowerModule
from avrec.training.optimiser import ParameterGroups

EPOCHS_OF_A_STAGE = 1_000_000
FORMAT_VERSION = 1


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
    """

    name: str
    max_epochs: int
    optimizer: ParameterGroups
    weights: LossWeights = field(default_factory=LossWeights)
    patience: int = 10
    frozen: Sequence[str] = ()
    averaging: Callable[[], Callback] | None = None


@dataclass(frozen=True)
class StageContext:
    """What all stages share.

    Attributes:
        sampler: makes the batches.
        catalogue: features of all items.
        loss: the loss of the score matrix.
        validate: named validation metrics of a model under loss weights; `objective` is what selects.
        make_trainer: a partial of `pytorch_lightning.Trainer`.
        make_logger: `(stage name) -> logger or False`.
        callbacks: made anew for each stage.
        folder: the run's folder for checkpoints.
        content_items_A: items whose content may be trained; all when None.
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


def run_stage(model: TwoTower, stage: Stage, index: int, context: StageContext) -> dict[str, float]:
    """Fit one stage and leave its best weights, by validation, in `model`; a finished stage is loaded, a broken one resumed.

    Returns:
        The best objective, the epochs run and the best epoch.
    """
    folder = context.folder / f"{index}_{stage.name}"
    done = folder / "done.json"
    if done.exists():
        found = read_json(done)
        check_format_version(found, done, FORMAT_VERSION)
        _load_best(model, folder / "best.ckpt")
        rank_zero_only(print)(f"  finished earlier, loaded from {folder}", flush=True)
        return {name: value for name, value in found.items() if name != "format_version"}
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    try:
        freeze(model, stage.frozen)
        trainer, best = _fit(model, stage, index, context, folder)
    finally:
        for parameter, flag in zip(model.parameters(), trainable, strict=True):
            parameter.requires_grad_(flag)
    assert best.best_model_score is not None
    _load_best(model, Path(best.best_model_path))
    summary = {
        "objective": float(best.best_model_score),
        "epochs": trainer.current_epoch,
        "best_epoch": int(load_tensors(Path(best.best_model_path))["epoch"]),
    }
    if trainer.is_global_zero:
        write_json(done, {"format_version": FORMAT_VERSION} | summary)
    return summary


def _fit(
    model: TwoTower, stage: Stage, index: int, context: StageContext, folder: Path
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """Fit, from `last.ckpt` where a broken run left one; the best weights stand in `best.ckpt`."""
    module = TwoTowerModule(
        model,
        context.catalogue,
        context.loss,
        stage.weights,
        stage.optimizer,
        lambda current: context.validate(current, stage.weights),
        context.content_items_A,
    )
    best = ModelCheckpoint(folder, "best", monitor="val/objective", mode="max", enable_version_counter=False)
    # Lightning's own save_last writes only when an epoch is the best so far.
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    stopping = Patience("val/objective", mode="max", patience=stage.patience, check_finite=True)
    callbacks: list[Callback] = [best, last, stopping, *context.callbacks()]
    if stage.averaging is not None:
        callbacks.append(stage.averaging())
    trainer = context.make_trainer(
        max_epochs=stage.max_epochs,
        callbacks=callbacks,
        logger=context.make_logger(stage.name),
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(context.folder),
    )
    dtype = next(model.parameters()).dtype
    broken = folder / "last.ckpt"
    trainer.fit(
        module,
        train_dataloaders=BatchLoader(context.sampler, trainer, index * EPOCHS_OF_A_STAGE, dtype),
        val_dataloaders=DataLoader([0], batch_size=None),  # type: ignore[arg-type]
        ckpt_path=str(broken) if broken.exists() else None,
    )
    return trainer, best


def _load_best(model: TwoTower, path: Path) -> None:
    state = load_tensors(path)["state_dict"]
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    )
    model.to(torch.device("cpu"))
