"""A content space that shrinks to a point ends a run with a sentence, not with a bad model.

Axes: N items, C content width.
"""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn import functional

from avrec.core.errors import TrainingError
from avrec.models.two_tower import CatalogueFeatures
from avrec.training.module import TwoTowerModule
from avrec.training.scorer import content_table

MAX_ITEMS = 2048


class CollapseError(TrainingError):
    """Training made all items look alike."""


def mean_cosine(content_NC: Tensor) -> float:
    """Mean cosine of two different rows: 1 when all point one way."""
    unit = functional.normalize(content_NC.double(), dim=1)
    count = len(unit)
    return float((unit.sum(dim=0).square().sum() - count) / max(count * (count - 1), 1))


def effective_rank(content_NC: Tensor) -> float:
    """The exponential of the entropy of the normalised singular values of the centred rows (Roy and Vetterli 2007)."""
    content = content_NC.double()
    values = torch.linalg.svdvals(content - content.mean(dim=0))
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


class CollapseMonitor(Callback):
    """After each validation: the mean cosine and the effective rank of the content of up to 2,048 trained items.

    A common direction by itself does no harm, since it adds the same to all of a user's scores; together with an objective
    that has fallen by half it is a collapse. The best objective so far belongs to the state of a broken run.

    Args:
        stage: its name, for the sentence.
        start: the validation objective at the start of the stage, where it is known.
        max_cosine: a mean cosine above it is a collapse when the objective is below half of its best so far.
        point_cosine: a mean cosine above it always is one.
        min_rank: so is an effective rank below it; at 1 all items lie on a line.
    """

    def __init__(
        self,
        stage: str,
        start: float | None = None,
        max_cosine: float = 0.95,
        point_cosine: float = 0.9995,
        min_rank: float = 1.5,
    ) -> None:
        self.stage = stage
        self.best = start or 0.0
        self.max_cosine = max_cosine
        self.point_cosine = point_cosine
        self.min_rank = min_rank

    @property
    def state_key(self) -> str:
        """Of one stage: a fit may have another monitor beside it."""
        return self._generate_state_key(stage=self.stage)

    def state_dict(self) -> dict[str, float]:
        """What later validations are compared with."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Compare with what the broken run had reached."""
        self.best = float(state_dict["best"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure, and stop a collapsed run.

        Raises:
            CollapseError: the content has collapsed.
        """
        assert isinstance(pl_module, TwoTowerModule)
        model, catalogue = pl_module.model, pl_module.catalogue.value
        rows = torch.nonzero(model.item_evidence_N > 0).flatten().cpu()[:MAX_ITEMS]
        if trainer.sanity_checking or len(rows) < 3:
            return
        values, masks = (
            {name: part[rows] for name, part in parts.items()} for parts in (catalogue.values, catalogue.masks)
        )
        content = torch.from_numpy(content_table(model, CatalogueFeatures(values, masks)))
        cosine, rank = mean_cosine(content), effective_rank(content)
        objective = float(trainer.callback_metrics.get("val/objective", torch.tensor(float("nan"))))
        fallen = objective < 0.5 * self.best
        self.best = max(self.best, objective)
        if cosine <= self.point_cosine and rank >= self.min_rank and not (fallen and cosine > self.max_cosine):
            return
        raise CollapseError(
            f"stage {self.stage}, epoch {trainer.current_epoch + 1}: the content of the items has collapsed (mean cosine of two "
            f"items {cosine:.4f}, effective rank {rank:.1f}, validation objective {objective:.4f} after {self.best:.4f} at best). "
            "Nothing of this epoch is kept. Lower the stage's learning rate, train fewer blocks, or take more items a batch; the "
            "same command in another run_dir starts anew."
        )
