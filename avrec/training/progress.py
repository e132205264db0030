"""What a person sees while a stage trains."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


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


class Counter:
    """Counts what is done of a total, with its rate: a bar in a terminal, elsewhere a line every ten seconds.

    Args:
        label: what is done.
        total: how much there is; may be told later by `__call__`.
    """

    def __init__(self, label: str, total: int = 0, every_sec: float = 10.0) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.every_sec = every_sec
        self._began = self._last = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
        )
        self._bar = Bar(*columns, TimeRemainingColumn(), transient=True) if sys.stdout.isatty() else None
        self._task = self._bar.add_task(label, total=total or None, rate="") if self._bar else None

    @property
    def rate(self) -> float:
        """Items a second so far."""
        return self.done / max(time.monotonic() - self._began, 1e-9)

    def advance(self, number: int) -> None:
        """So many more are done."""
        self(self.done + number, self.total)

    def __call__(self, done: int, total: int) -> None:
        """So many are done of so many."""
        self.done, self.total = done, total
        if self._bar is not None and self._task is not None:
            self._bar.start()
            self._bar.update(self._task, completed=done, total=total, rate=f"{self.rate:.1f} items/s")
        elif time.monotonic() - self._last >= self.every_sec:
            self._last = time.monotonic()
            print(f"  {self.label}: {done:,} of {total:,}, {self.rate:.1f} items/s", flush=True)

    def close(self) -> None:
        """Say what was done, if anything was."""
        if self._bar is not None:
            self._bar.stop()
        if self.done:
            seconds = time.monotonic() - self._began
            print(f"  {self.label}: {self.done:,} items in {seconds:.1f} s, {self.rate:.1f} items/s", flush=True)


@contextmanager
def counting(label: str, total: int = 0) -> Iterator[Counter]:
    """A counter that closes itself."""
    counter = Counter(label, total)
    try:
        yield counter
    finally:
        counter.close()


class StepTimer(Callback):
    """Measures how long steps wait for data: a curve of each epoch's share, and the totals of a stage.

    Attributes:
        handled: pairs of this rank's batches, or items where items are encoded, over all epochs.
        step_sec: spent in steps.
        wait_sec: spent waiting for batches.
        unit: `pairs` or `items`.
    """

    def __init__(self) -> None:
        self.handled, self.unit = 0, "pairs"
        self.step_sec = self.wait_sec = 0.0
        self._end_sec: float | None = None
        self._before = (0.0, 0.0)

    @property
    def wait_share(self) -> float:
        """Of the time of all steps, what was spent waiting."""
        return self.wait_sec / max(self.wait_sec + self.step_sec, 1e-9)

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
        """A batch has arrived."""
        now = time.monotonic()
        if self._end_sec is not None:
            self.wait_sec += now - self._end_sec
        self._start_sec = now

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step is done."""
        self._end_sec = time.monotonic()
        self.step_sec += self._end_sec - self._start_sec
        self.unit = "items" if batch.inputs else "pairs"
        self.handled += len(batch.candidate_idx_N if batch.inputs else batch.user_idx_B)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the share of the epoch's time that was spent waiting for data."""
        waited, stepped = self.wait_sec - self._before[0], self.step_sec - self._before[1]
        pl_module.log("train/data_wait_share", waited / max(waited + stepped, 1e-9), sync_dist=True)
        self._end_sec, self._before = None, (self.wait_sec, self.step_sec)
