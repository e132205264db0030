"""The LightningModule of the two towers: three losses on one batch.

Axes: B pairs in the batch, N candidate items (columns), A all items, L history length, D id width, C content width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from avrec.core.errors import ConfigError
from avrec.losses.contrastive import Contrastive
from avrec.losses.hardest import keep_hardest
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.batches import Places, TensorBatch
from avrec.training.optimiser import ParameterGroups
from avrec.training.refusals import refuse_columns, refuse_optimizer, refuse_processes

ALIGNED = ("audio", "video")
MAX_ALIGNED = 1024


@dataclass(frozen=True)
class LossWeights:
    """How much each loss counts; a part with weight 0 is not computed.

    Attributes:
        id: ids alone, over trained items.
        content: content alone, over warm items too: this is where encoders learn.
        joint: both through the evidence gate, with the ids of random items hidden.
        id_dropout: chance that an item's id is hidden in the joint loss.
        alignment: sound and picture of one item find each other among the batch's items.
    """

    id: float = 1.0
    content: float = 0.0
    joint: float = 0.0
    id_dropout: float = 0.3
    alignment: float = 0.0

    @property
    def uses_content(self) -> bool:
        """Whether the content part is trained."""
        return self.content > 0 or self.joint > 0


class TwoTowerModule(pl.LightningModule):
    """Training steps of a `TwoTower`; it never sees ids of the caller, files or configuration.

    Args:
        model: the towers.
        catalogue: features of all items.
        loss: `loss(scores_BN, target_BN, valid_BN, log_q_N) -> loss_B`.
        weights: of the three losses.
        make_optimizer: makes the optimiser of the model and its warm-up.
        validate: returns named validation metrics of the model as it stands.
        content_items_A: items whose content may be trained; pseudo-cold ones are kept out for the calibration: they are
            neither row, column nor history of the content loss, and ids alone to the joint loss.

    Raises:
        ConfigError: a loss of content is wanted of a model without modalities, or no loss at all.
    """

    content_items_A: Tensor

    def __init__(
        self,
        model: TwoTower,
        catalogue: CatalogueFeatures,
        loss: nn.Module,
        weights: LossWeights,
        make_optimizer: ParameterGroups,
        validate: Callable[[TwoTower], Mapping[str, float]],
        content_items_A: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check(weights, model)
        self.model = model
        self.loss = loss
        self.align = Contrastive()
        self.weights = weights
        self.make_optimizer = make_optimizer
        self.validate = Shared(validate)
        self.catalogue = Shared(catalogue)
        self.modalities = tuple(catalogue.values)
        for name in self.modalities:
            self.register_buffer(f"feature_{name}", catalogue.values[name], persistent=False)
            self.register_buffer(f"mask_{name}", catalogue.masks[name], persistent=False)
        everything = torch.ones(model.num_items, dtype=torch.bool)
        self.register_buffer("content_items_A", everything if content_items_A is None else content_items_A, False)

    def column_content(self, batch: TensorBatch, fresh: Mapping[str, Tensor], items: Tensor | None = None) -> Tensor:
        """Fused content (N, C) of the batch's columns, or of `items`; what is in `fresh` is taken from there."""
        items = batch.candidate_idx_N if items is None else items
        features = {name: fresh.get(name, self.get_buffer(f"feature_{name}")[items]) for name in self.modalities}
        masks = {name: self.get_buffer(f"mask_{name}")[items] for name in self.modalities}
        return self.model.item_tower.content(features, masks)[0]

    def id_scores(self, batch: TensorBatch) -> Tensor:
        """Scores (B, N) by ids alone; of a sparse table only the rows that the batch names are read."""
        model, table = self.model, self.model.item_table
        if table.sparse:
            places = batch.places
            history_RD, output_RD, bias_R = table.rows(places.items_R)
        else:
            places = Places(torch.arange(0), batch.candidate_idx_N, batch.history_idx_BL, batch.positive_B)
            (history_RD, output_RD), bias_R = table.draw(), table.bias_N
        own_BD = model.user_table(batch.user_idx_B, model.user_evidence_U[batch.user_idx_B])
        history = batch.history_weight_BL, batch.history_age_days_BL, batch.history_mask_BL
        if not table.sparse:
            user_BD = model.user_tower.id_vector(own_BD, history_RD[places.history_BL], *history)
        elif batch.history_idx_BL.shape[1]:
            user_BD = model.user_tower.id_vector_of_rows(own_BD, history_RD, places.history_BL, *history)
        else:  # nobody is given a history, so there is nothing to pool or to map
            user_BD = own_BD + model.user_tower.constant_D
        return scores_of(batch, places, user_BD, output_RD, bias_R)

    def fresh(self, batch: TensorBatch) -> dict[str, Tensor]:
        """{modality: steps (N, K, H) of the batch's columns} where an encoder is trained: here none."""
        return {}

    def content_scores(self, batch: TensorBatch, fresh: Mapping[str, Tensor]) -> Tensor:
        """Scores (B, N) by content alone, in units of the learned scale; pseudo-cold items are left out of the history."""
        model = self.model
        places = batch.places
        content_RC = self.column_content(batch, {}, places.items_R)
        user_BC = model.user_tower.content_vector(
            content_RC[places.history_BL],
            batch.history_weight_BL,
            batch.history_age_days_BL,
            batch.history_mask_BL & self.content_items_A[batch.history_idx_BL],
        )
        return model.content_log_scale.exp() * scores_of(batch, places, user_BC, content_RC)

    def losses(self, batch: TensorBatch) -> dict[str, Tensor]:
        """The sum over this rank's rows of each weighted loss, divided by the rows of all ranks."""
        weights, parts = self.weights, {}
        fresh = self.fresh(batch)
        ids_BN = self.id_scores(batch) if weights.id > 0 or weights.joint > 0 else None
        content_BN = self.content_scores(batch, fresh) if weights.uses_content else None
        if weights.id > 0:
            assert ids_BN is not None
            parts["id"] = weights.id * self.row_loss(ids_BN, batch, batch.valid_BN)
        if weights.content > 0:
            assert content_BN is not None
            valid_BN = batch.valid_BN & self.content_items_A[batch.columns]
            row_loss_B = self.row_loss(content_BN, batch, valid_BN) * self.content_items_A[batch.positive_B]
            parts["content"] = weights.content * row_loss_B
        if weights.joint > 0:
            assert ids_BN is not None and content_BN is not None
            gate_N = self.gates(batch)
            joint_BN = gate_N * ids_BN + (1 - gate_N) * content_BN
            parts["joint"] = weights.joint * self.row_loss(joint_BN, batch, batch.valid_BN)
        summed = {name: loss_B.sum() / batch.global_size for name, loss_B in parts.items()}
        if weights.alignment > 0:  # the same on every rank, so each counts its share of it
            summed["alignment"] = weights.alignment * self.alignment(batch, fresh) / self.trainer.world_size
        return summed

    def row_loss(self, scores_BN: Tensor, batch: TensorBatch, valid_BN: Tensor) -> Tensor:
        """The loss (B,) of some scores of the columns; hard ones are chosen by these very scores."""
        refuse_columns(self.loss, batch.own_column)
        log_q = batch.log_q_N
        if batch.hard is not None:
            valid_BN, log_q = keep_hardest(
                scores_BN, valid_BN, batch.hard.mined_N, batch.hard.num_hard, log_q, batch.hard.log_q_hard_N
            )
        loss_B: Tensor = self.loss(scores_BN, batch.target_BN, valid_BN, log_q)
        return loss_B

    def gates(self, batch: TensorBatch) -> Tensor:
        """How much of each column's score is its id's, (N,) or (B, 1 + N): by evidence, none where the id is hidden by chance."""
        evidence_N = self.model.item_evidence_N[batch.columns]
        gate_N = evidence_N / torch.where(evidence_N > 0, evidence_N + self.model.item_tower.calibration[0], 1.0)
        if batch.own_column:  # an item is hidden from all pairs of all ranks or from none
            noise = torch.Generator().manual_seed(batch.noise_seed)
            drawn_N = torch.rand(self.model.num_items, generator=noise).to(gate_N)[batch.columns]
        else:
            drawn_N = torch.rand_like(gate_N)
        gate_N = gate_N * (drawn_N >= self.weights.id_dropout)
        return torch.where(self.content_items_A[batch.columns], gate_N, 1.0)

    def alignment(self, batch: TensorBatch, fresh: Mapping[str, Tensor]) -> Tensor:
        """The contrastive loss of sound and picture over at most 1,024 of the batch's columns."""
        noise = torch.Generator().manual_seed(batch.noise_seed)
        chosen = torch.randperm(len(batch.candidate_idx_N), generator=noise)[:MAX_ALIGNED].to(
            batch.candidate_idx_N.device
        )
        items = batch.candidate_idx_N[chosen]
        vectors, both_N = [], torch.ones_like(items, dtype=torch.bool)
        for name in ALIGNED:
            steps = fresh[name][chosen] if name in fresh else self.get_buffer(f"feature_{name}")[items]
            vectors.append(self.model.item_tower.encoders[name](steps).mean(dim=1))
            both_N = both_N & self.get_buffer(f"mask_{name}")[items]
        both_N = both_N & self.content_items_A[items]
        loss_N: Tensor = self.align(*vectors, both_N)
        return loss_N.sum() / both_N.sum().clamp(min=1)

    def training_step(self, batch: TensorBatch, batch_idx: int) -> Tensor:
        """The summed loss. DDP averages gradients over ranks, hence the factor.

        Dropout is drawn from the batch's own seed, so that a resumed run repeats it.
        """
        torch.manual_seed(batch.noise_seed)
        parts = self.losses(batch)
        total = torch.stack(list(parts.values())).sum()
        # What is logged is the mean over this rank's rows: parts are divided by the rows of all ranks.
        scale = batch.global_size / max(len(batch.user_idx_B), 1)
        self.log_dict({f"train/{name}_loss": value.detach() * scale for name, value in parts.items()}, batch_size=1)
        self.log("train/loss", total.detach() * scale, prog_bar=True, batch_size=1)
        return total * self.trainer.world_size

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Rank the catalogue for the validation users; every rank computes the same numbers."""
        metrics = {f"val/{name}": float(value) for name, value in self.validate.value(self.model).items()}
        others = {name: value for name, value in metrics.items() if name != "val/objective"}
        self.log_dict(others, batch_size=1, sync_dist=True)
        self.log("val/objective", metrics["val/objective"], prog_bar=True, batch_size=1, sync_dist=True)

    def setup(self, stage: str) -> None:
        """Refuse what several processes cannot do alike.

        Raises:
            ConfigError: a table is sparse, or the loss contrasts the users of a batch, under more than one process.
        """
        refuse_processes(self.model, self.loss, self.trainer.world_size)

    def configure_optimizers(self) -> Any:
        """One optimiser over the parameter groups, and its warm-up where it has one.

        Raises:
            ConfigError: a table is sparse and the optimiser has no rule for that.
        """
        optimizer = self.make_optimizer(self.model, self.loss)
        if self.weights.id > 0 or self.weights.joint > 0:
            refuse_optimizer(self.model, optimizer)
        warmup = self.make_optimizer.schedule(optimizer)
        return (
            optimizer
            if warmup is None
            else {"optimizer": optimizer, "lr_scheduler": {"scheduler": warmup, "interval": "step"}}
        )


def scores_of(
    batch: TensorBatch, places: Places, user_BD: Tensor, vectors_RD: Tensor, bias_R: Tensor | None = None
) -> Tensor:
    """Inner products of users with the columns, and their biases: (B, N) or (B, 1 + N)."""
    scores_BN = user_BD @ vectors_RD[places.candidate_N].T
    if bias_R is not None:
        scores_BN = scores_BN + bias_R[places.candidate_N]
    if not batch.own_column:
        return scores_BN
    own_B = (user_BD * vectors_RD[places.positive_B]).sum(dim=1)
    return batch.by_column(scores_BN, own_B if bias_R is None else own_B + bias_R[places.positive_B])


def _check(weights: LossWeights, model: TwoTower) -> None:
    if not (weights.id > 0 or weights.uses_content):
        raise ConfigError(f"stage: no loss has a weight above 0 in {weights}. Give id, content or joint one.")
    absent = [name for name in ALIGNED if name not in model.item_tower.modalities]
    if weights.alignment > 0 and absent:
        raise ConfigError(
            f"stage: the weight alignment={weights.alignment} aligns sound and picture, but the model has no {absent}. "
            "Set it to 0, or use data that have both."
        )
    if weights.alignment > 0:
        widths = {name: model.item_tower.encoders[name].output_dim for name in ALIGNED}
        if len(set(widths.values())) > 1:
            raise ConfigError(
                f"stage: the weight alignment={weights.alignment} compares sound with picture, but their tokens have the widths "
                f"{widths}. Give both encoders one dim."
            )
    if weights.uses_content and not model.item_tower.modalities:
        raise ConfigError(
            f"stage: the weights content={weights.content} and joint={weights.joint} train content, but the model has no "
            "modalities. Use ids alone (stages=ids), or data with features (modalities=null takes all of them)."
        )


class Shared:
    """Holds an object that copies of the module (weight averaging makes one) are to share."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shared":
        return self
