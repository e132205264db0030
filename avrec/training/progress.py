"""What a person sees while a stage trains."""

import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar


class Progress(RichProgressBar):
    """A bar with rates in a terminal; elsewhere one line an epoch, at most one each `every_sec`.

    Args:
        every_sec: shortest time between two lines.
    """

    def __init__(self, every_sec: float = 10.0) -> None:
        super().__init__(leave=False)
        self.every_sec = every_sec
        self._lines = not sys.stdout.isatty()
        self._last_sec = 0.0
        self._epoch_sec = 0.0
        if self._lines:
            self.disable()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the epoch."""
        self._epoch_sec = time.monotonic()
        if not self._lines:
            super().on_train_epoch_start(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        if not self._lines:
            super().on_validation_end(trainer, pl_module)
            return
        now = time.monotonic()
        is_last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        if (
            trainer.sanity_checking
            or not trainer.is_global_zero
            or (now - self._last_sec < self.every_sec and not is_last)
        ):
            return
        self._last_sec = now
        metrics: dict[str, Any] = dict(trainer.callback_metrics)
        rate = int(trainer.num_training_batches) / max(now - self._epoch_sec, 1e-9)
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {rate:.1f} batches/s  "
            f"loss {float(metrics.get('train/loss', float('nan'))):.4f}  "
            f"val/objective {float(metrics.get('val/objective', float('nan'))):.4f}",
            flush=True,
        )


class StepTimer(Callback):
    """Measures how long steps wait for data and logs the share."""

    def __init__(self) -> None:
        self._end_sec: float | None = None
        self._wait_sec = 0.0
        self._total_sec = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """A batch has arrived."""
        now = time.monotonic()
        if self._end_sec is not None:
            self._wait_sec += now - self._end_sec
        self._start_sec = now

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """A step is done."""
        self._end_sec = time.monotonic()
        self._total_sec += self._end_sec - self._start_sec

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share of the epoch's time that was spent waiting for data."""
        whole = self._wait_sec + self._total_sec
        pl_module.log("train/data_wait_share", self._wait_sec / max(whole, 1e-9), sync_dist=True)
        self._end_sec, self._wait_sec, self._total_sec = None, 0.0, 0.0
