"""From a sampler's numpy batches to a loader that Lightning can resume in the middle of an epoch.

Axes: B pairs in the batch, L history length, N candidate items (columns).
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from avrec.core.arrays import Int64
from avrec.core.order import generator
from avrec.data.candidates import Mined
from avrec.data.items_first import ItemsFirstSampler
from avrec.data.samplers import Batch
from avrec.training.media_store import LevelReader


class LevelInput(NamedTuple):
    """What an encoder starts from, for the items of this rank that have the modality.

    `row` is each item's place among this rank's items, `values` (n, *shape) and `valid` (n, C) what the reader gave.
    """

    row: Tensor
    values: Tensor
    valid: Tensor


class HardColumns(NamedTuple):
    """Columns that take part in a loss only where the model finds them hard: `keep_hardest` takes these."""

    mined_N: Tensor
    log_q_hard_N: Tensor
    num_hard: int


class Places(NamedTuple):
    """Distinct items, sorted, and where a batch's candidates, histories and positives stand among them.

    Axes: R distinct items.
    """

    items_R: Tensor
    candidate_N: Tensor
    history_BL: Tensor
    positive_B: Tensor


class TensorBatch(NamedTuple):
    """`Batch` as tensors, with the two (B, N) masks that the losses take.

    With `own_column` the first column is each pair's own positive and the candidates follow: masks and `log_q_N` have one
    column more than `candidate_idx_N`.
    `pair_sec_B` is there where the time of a pair decides what is a negative; `noise_seed` decides the dropout of the step,
    equally on every rank; `inputs` are there when encoders are trained.
    """

    user_idx_B: Tensor
    positive_B: Tensor
    history_idx_BL: Tensor
    history_weight_BL: Tensor
    history_age_days_BL: Tensor
    history_mask_BL: Tensor
    candidate_idx_N: Tensor
    log_q_N: Tensor
    target_BN: Tensor
    valid_BN: Tensor
    global_size: int
    pair_sec_B: Tensor | None = None
    noise_seed: int = 0
    inputs: Mapping[str, LevelInput] = MappingProxyType({})
    own_column: bool = False
    hard: HardColumns | None = None

    @property
    def columns(self) -> Tensor:
        """Items of the columns: (N,), or (B, 1 + N) where each pair has a column of its own."""
        return self.by_column(self.candidate_idx_N, self.positive_B)

    def by_column(self, candidate_N: Tensor, positive_B: Tensor) -> Tensor:
        """What stands for the candidates, behind what stands for each pair's positive where that has its own column."""
        if not self.own_column:
            return candidate_N
        shared_BN = candidate_N.expand(len(positive_B), candidate_N.shape[-1])
        return torch.cat([positive_B.unsqueeze(1), shared_BN], dim=1)

    @property
    def places(self) -> "Places":
        """The items that the batch names, and where each of its parts stands among them."""
        parts = [self.candidate_idx_N, self.history_idx_BL.flatten(), self.positive_B]
        items_R, place = torch.unique(torch.cat(parts), return_inverse=True)
        candidate_N, history, positive_B = place.split([len(part) for part in parts])
        return Places(items_R, candidate_N, history.view_as(self.history_idx_BL), positive_B)

    @classmethod
    def of(cls, batch: Batch, dtype: torch.dtype = torch.float32) -> "TensorBatch":
        """Convert; numbers become `dtype`."""
        first = int(batch.own_column)
        shape = (len(batch.user_idx), first + len(batch.candidate_idx))
        target, valid = np.zeros(shape, np.bool_), np.ones(shape, np.bool_)
        valid[batch.seen_row, first + batch.seen_column] = False
        if batch.pair_sec is not None and batch.available_sec is not None:
            valid[:, first:] &= batch.available_sec <= batch.pair_sec[:, None]
        if batch.own_column:
            target[:, 0] = True
            doubled = np.flatnonzero(batch.target_column >= 0)
            valid[doubled, 1 + batch.target_column[doubled]] = False
        else:
            target[np.arange(shape[0]), batch.target_column] = True
        log_q = np.concatenate([np.zeros(first, np.float32), batch.log_q])
        return cls(
            torch.from_numpy(batch.user_idx),
            torch.from_numpy(batch.positive),
            torch.from_numpy(batch.history_idx),
            torch.from_numpy(batch.history_weight).to(dtype),
            torch.from_numpy(batch.history_age_days).to(dtype),
            torch.from_numpy(batch.history_mask),
            torch.from_numpy(batch.candidate_idx),
            torch.from_numpy(log_q).to(dtype),
            torch.from_numpy(target),
            torch.from_numpy(valid),
            batch.global_size,
            None if batch.pair_sec is None else torch.from_numpy(batch.pair_sec),
            own_column=batch.own_column,
            hard=None if batch.hard is None else _hard_columns(batch.hard, dtype),
        )


def _hard_columns(hard: Mined, dtype: torch.dtype) -> HardColumns:
    log_q = torch.from_numpy(np.log(hard.inclusion)).to(dtype)
    return HardColumns(torch.from_numpy(hard.mined), log_q, hard.num_hard)


class Sampler(Protocol):
    """Makes batches by (epoch, index)."""

    seed: int

    @property
    def num_batches(self) -> int:
        """Batches in an epoch."""
        ...

    def batch(self, epoch: int, index: int, rank: int = 0, world_size: int = 1) -> Batch:
        """One rank's part of a batch."""
        ...


class BatchLoader:
    """The batches of the trainer's current epoch from the trainer's current batch on, for this rank.

    Where to start is read off the trainer: after a resume in the middle of an epoch the remaining batches come, each once
    and with the dropout it would have had, and no state of a generator has to be saved. It claims Lightning's stateful
    interface, so that Lightning does not warn.

    Args:
        sampler: makes batches by (epoch, index).
        trainer: tells epoch, batch, rank and world size.
        first_epoch: added to the trainer's epoch, so that every stage sees other random numbers.
        dtype: of the numbers.
    """

    def __init__(self, sampler: Sampler, trainer: pl.Trainer, first_epoch: int, dtype: torch.dtype) -> None:
        self.sampler = sampler
        self.trainer = trainer
        self.first_epoch = first_epoch
        self.dtype = dtype

    def __len__(self) -> int:
        return self.sampler.num_batches

    def __iter__(self) -> Iterator[TensorBatch]:
        epoch = self.first_epoch + self.trainer.current_epoch
        for index in range(self.trainer.fit_loop.epoch_loop.batch_idx + 1, len(self)):
            batch = self.sampler.batch(epoch, index, self.trainer.global_rank, self.trainer.world_size)
            noise = generator(self.sampler.seed, epoch, f"noise {index}")
            yield TensorBatch.of(batch, self.dtype)._replace(
                noise_seed=int(noise.integers(2**63)), inputs=self.inputs(epoch, index)
            )

    def inputs(self, epoch: int, index: int) -> Mapping[str, LevelInput]:
        """What encoders start from; nothing where none is trained."""
        return {}

    def state_dict(self) -> dict[str, int]:
        """Nothing: the trainer's progress says it all."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to load."""


class ItemLoader(BatchLoader):
    """Batches of items first, each with what the encoders of this rank start from.

    Args:
        sampler: makes the batches.
        trainer: see `BatchLoader`.
        first_epoch: likewise.
        dtype: likewise; pictures stay bytes.
        readers: {modality: its reader}.
    """

    def __init__(
        self,
        sampler: ItemsFirstSampler,
        trainer: pl.Trainer,
        first_epoch: int,
        dtype: torch.dtype,
        readers: Mapping[str, LevelReader],
    ) -> None:
        super().__init__(sampler, trainer, first_epoch, dtype)
        self.items = sampler
        self.readers = readers

    def inputs(self, epoch: int, index: int) -> Mapping[str, LevelInput]:
        """Read what this rank's items need."""
        items = self.items.items_of(epoch, index, self.trainer.global_rank, self.trainer.world_size)
        return {name: self._read(reader, items) for name, reader in self.readers.items()}

    def _read(self, reader: LevelReader, items: Int64) -> LevelInput:
        row = np.flatnonzero(reader.present[items])
        values, valid = (torch.from_numpy(array) for array in reader.read(items[row]))
        values = values if values.dtype == torch.uint8 else values.to(self.dtype)
        return LevelInput(torch.from_numpy(row), values, valid.to(self.dtype))
