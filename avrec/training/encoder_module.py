"""Training steps that reach into the pretrained encoders: items first, every column equally fresh.

Axes: B pairs in the batch, N items of the batch (columns), n items of this rank, K steps in time, H hidden width, C content.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn import functional

from avrec.core.arrays import Int64
from avrec.core.clips import MEDIA_KINDS
from avrec.core.errors import ConfigError
from avrec.models.encoders.base import MediaEncoder
from avrec.training.batches import TensorBatch
from avrec.training.media_store import LevelReader, encode
from avrec.training.module import Shared, TwoTowerModule

MAX_BANK = 4096


@dataclass(frozen=True)
class EncoderTraining:
    """How a stage trains pretrained encoders.

    Attributes:
        blocks: {modality: how many of its top blocks are trained, or `all`}; one that is not named stays frozen.
        items_per_batch: M, distinct items of a global batch, each encoded once.
        users_per_item: P, training events of each item in the batch.
        bank_weight: of a second content loss over the whole bank, whose columns are all equally stale. It reaches only what
            lies above the bank (heads, fusion, pooling) and keeps that from adapting to the few columns of a batch.
        checkpointing: keep the activations of block borders only and compute the others again.
        batch_items: items that are encoded at once where nothing is trained.

    Raises:
        ConfigError: `blocks` names what is no kind of media.
    """

    blocks: Mapping[str, int | Literal["all"]]
    items_per_batch: int = 32
    users_per_item: int = 8
    bank_weight: float = 1.0
    checkpointing: bool = False
    batch_items: int = 16

    def __post_init__(self) -> None:
        unknown = sorted(set(self.blocks) - set(MEDIA_KINDS))
        if unknown:
            raise ConfigError(f"encoders.blocks names {unknown}; there are encoders of {list(MEDIA_KINDS)}.")


class EncoderModule(TwoTowerModule):
    """The content losses with the batch's items encoded now, from the level below the first trained block.

    Columns are the batch's items, all of them fresh: if the positive were fresh and the negatives came from the bank, the
    encoder could learn to mark freshness. Histories come from the bank, without gradient. What is encoded is written back;
    before each validation every item is encoded anew, so what is validated, and kept, is exact.

    Args:
        readers: {modality: where its trained part starts from}.
        training: how.
        available_sec: (A,) since when each item is known, None where that does not matter.
        arguments: those of `TwoTowerModule`.

    Raises:
        ConfigError: no loss reaches the encoders.
    """

    available_sec_A: Tensor | None

    def __init__(
        self,
        *arguments: Any,
        readers: Mapping[str, LevelReader],
        training: EncoderTraining,
        available_sec: Int64 | None = None,
    ) -> None:
        super().__init__(*arguments)
        if not self.weights.uses_content:
            raise ConfigError(
                "stage: it trains encoders, but its weights content and joint are 0, so nothing would reach them. Give content "
                "a weight, or leave `encoders` out."
            )
        self.readers = Shared(dict(readers))
        self.batch_items = training.batch_items
        self.bank_weight = training.bank_weight
        known = None if available_sec is None else torch.from_numpy(available_sec)
        self.register_buffer("available_sec_A", known, persistent=False)
        for name in readers:  # the bank belongs to the state of a broken run
            self._non_persistent_buffers_set.discard(f"feature_{name}")

    def encoder(self, name: str) -> MediaEncoder:
        """The media encoder of a modality."""
        found = self.model.item_tower.encoders[name]
        assert isinstance(found, MediaEncoder)
        return found

    def _fresh(self, name: str, batch: TensorBatch) -> Tensor:
        """Steps (N, K, H) of the batch's items, with gradient to the encoders of all ranks."""
        encoder, given = self.encoder(name), batch.inputs[name]
        count, world = len(batch.candidate_idx_N), self.trainer.world_size
        bank = self.get_buffer(f"feature_{name}")
        own = bank.new_zeros(-(-count // world), *bank.shape[1:])
        if len(given.row) > 0:
            own = own.index_copy(0, given.row, encoder.steps(given.values, given.valid, encoder.boundary_level).to(own))
        else:  # every rank takes part in the backward pass
            own = own + sum(parameter.sum() for parameter in encoder.trunk.parameters() if parameter.requires_grad) * 0
        if world > 1:
            gathered = self.all_gather(own, sync_grads=True)
            assert isinstance(gathered, Tensor)
            own = gathered.flatten(0, 1)
        return own[:count]

    def fresh(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Steps of the batch's items by the encoders as they stand."""
        return {name: self._fresh(name, batch) for name in self.readers.value}

    def content_scores(self, batch: TensorBatch, fresh: Mapping[str, Tensor]) -> Tensor:
        """Scores (B, N) by content alone; the history is read from the bank."""
        content_NC = self.column_content(batch, fresh)
        user_BC = self.user_content(batch)
        scale = self.model.content_log_scale.exp()
        scores_BN = scale * (user_BC @ content_NC.T)
        self._watch(batch, fresh, user_BC, scores_BN)
        for name, steps in fresh.items():
            self.get_buffer(f"feature_{name}")[batch.candidate_idx_N] = steps.detach()
        return scores_BN

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Those of the batch's columns, and the one of the bank, which is read before it is written to."""
        if self.bank_weight <= 0:
            return super().losses(batch)
        bank_B = self.bank_weight * self._bank_loss(batch)
        return {**super().losses(batch), "bank": bank_B.sum() / batch.global_size}

    def _bank_loss(self, batch: TensorBatch) -> Tensor:
        """The content loss (B,) of the pairs over at most `MAX_BANK` trained items as the bank holds them.

        What is in a user's history is no negative of his, nor what nobody had met yet.
        """
        usable_A = (self.model.item_evidence_N > 0) & self.content_items_A
        items = torch.nonzero(usable_A).flatten()
        if len(items) > MAX_BANK:
            noise = torch.Generator().manual_seed(batch.noise_seed)
            drawn = items[torch.randperm(len(items), generator=noise)[:MAX_BANK].to(items.device)]
            items = torch.unique(torch.cat([drawn, batch.candidate_idx_N]))
        column_A = torch.full_like(usable_A, -1, dtype=torch.long)
        column_A[items] = torch.arange(len(items), device=items.device)
        scores_BN = (
            self.model.content_log_scale.exp() * self.user_content(batch) @ self.column_content(batch, {}, items).T
        )
        target_BN = functional.one_hot(column_A[batch.positive_B], len(items)).bool()
        seen_BL = column_A[batch.history_idx_BL].masked_fill(~batch.history_mask_BL, -1)
        valid_BN = torch.ones(len(scores_BN), len(items) + 1, dtype=torch.bool, device=scores_BN.device)
        valid_BN = valid_BN.scatter(1, seen_BL.where(seen_BL >= 0, len(items)), False)[:, :-1]
        if self.available_sec_A is not None and batch.pair_sec_B is not None:
            valid_BN = valid_BN & (self.available_sec_A[items] <= batch.pair_sec_B.unsqueeze(1))
        loss_B: Tensor = self.loss(
            scores_BN, target_BN, valid_BN | target_BN, torch.zeros_like(items, dtype=scores_BN.dtype)
        )
        return loss_B

    def user_content(self, batch: TensorBatch) -> Tensor:
        """The content segment (B, C) of users whose history is read from the bank."""
        items, place = torch.unique(batch.history_idx_BL, return_inverse=True)
        content = self.column_content(batch, {}, items)
        pooled: Tensor = self.model.user_tower.content_vector(
            content[place],
            batch.history_weight_BL,
            batch.history_age_days_BL,
            batch.history_mask_BL & self.content_items_A[batch.history_idx_BL],
        )
        return pooled

    @torch.no_grad()
    def _watch(self, batch: TensorBatch, fresh: Mapping[str, Tensor], user_BC: Tensor, scores_BN: Tensor) -> None:
        """Log how far the bank has moved, and whether freshness itself is rewarded.

        `fresh_stale_gap` is the mean difference between the scores of the fresh and the stale copy of a positive, in
        standard deviations of the scores: it grows when the encoder learns to mark what is fresh. Both copies go through
        the heads without dropout, which would differ between them.
        """
        was_training = self.model.training
        self.model.eval()
        moved_NC = self.column_content(batch, fresh) - self.column_content(batch, {})
        self.model.train(was_training)
        moved_BN = self.model.content_log_scale.exp() * (user_BC @ moved_NC.T)
        gap = moved_BN[batch.target_BN].mean() / scores_BN.std().clamp(min=1e-9)
        found = {"train/fresh_stale_gap": gap}
        for name, steps in fresh.items():
            old = self.get_buffer(f"feature_{name}")[batch.candidate_idx_N]
            present = self.get_buffer(f"mask_{name}")[batch.candidate_idx_N]
            cosine = functional.cosine_similarity(old.flatten(1), steps.flatten(1), dim=1)
            found[f"train/{name}_bank_cosine"] = cosine[present].mean()
        self.log_dict(found, batch_size=1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Encode every item anew, by averaged weights where they are averaged, then validate."""
        for name in self.readers.value:
            self._embed(name)
        super().validation_step(batch, batch_idx)

    @torch.no_grad()
    def _embed(self, name: str) -> None:
        encoder, reader = self.encoder(name), self.readers.value[name]
        bank = self.get_buffer(f"feature_{name}")
        shares = np.array_split(np.flatnonzero(reader.present), self.trainer.world_size)
        own = shares[self.trainer.global_rank]
        for start in range(0, len(own), self.batch_items):
            rows = own[start : start + self.batch_items]
            values, valid = reader.read(rows)
            steps = encode(encoder, values, valid, encoder.boundary_level, encoder.pooled_level)
            bank[torch.from_numpy(rows).to(bank.device)] = steps.to(bank)
        for rank, share in enumerate(shares if self.trainer.world_size > 1 else []):
            rows_of_rank = torch.from_numpy(share).to(bank.device)
            part = bank[rows_of_rank]
            distributed.broadcast(part, rank)
            bank[rows_of_rank] = part
        shared = self.catalogue.value.values[name]
        if shared.data_ptr() != bank.data_ptr():
            shared.copy_(bank)
