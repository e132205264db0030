"""Weight averaging: over epochs (stochastic weight averaging, Izmailov et al. 2018), or exponentially over steps."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor


class EpochAveraging(WeightAveraging):
    """The mean of the weights at the end of each epoch from `start_epoch` on; before it, the weights themselves.

    Validation, early stopping and checkpoints see the averaged model. The average is updated after an epoch's last step and
    before its validation, so the model that is validated is the one that is kept.

    Args:
        start_epoch: first epoch (from 0) whose weights enter the mean.
    """

    def __init__(self, start_epoch: int) -> None:
        self.start_epoch = start_epoch
        self._is_epoch_end = False
        super().__init__(use_buffers=False, avg_fn=self._average)

    def _average(self, average: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
        epochs = int(num_averaged) - self.start_epoch
        return current if epochs <= 0 else average + (current - average) / (epochs + 1)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update after the last step of an epoch."""
        self._is_epoch_end = batch_idx + 1 == trainer.num_training_batches
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """True after the last step of an epoch."""
        return step_idx is not None and self._is_epoch_end


class ExponentialAveraging(WeightAveraging):
    """The exponentially moving mean of the weights, updated after each step.

    What does not move stays as it is to the last bit, unlike under Lightning's own: caches of frozen encoders stay valid.

    Args:
        decay: share of the mean that is kept at each step.
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__(use_buffers=False, avg_fn=lambda average, current, _: average.lerp(current, 1 - decay))
