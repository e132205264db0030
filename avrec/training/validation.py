"""What selects: ranking the whole catalogue for the validation users, ids and content each by themselves."""

import numpy as np

from avrec.core.arrays import Bool
from avrec.core.dataset import Dataset
from avrec.core.order import generator
from avrec.evaluation.evaluate import evaluate
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.module import LossWeights
from avrec.training.scorer import TwoTowerScorer, View

CUTOFF = 20
MIN_COLD_TARGETS = 50


class Validator:
    """Validation metrics of a model while it trains; never reads the test part.

    The objective is Recall@20 + NDCG@20 of what is trained: of ids alone (cold items last), of content alone, or the sum
    of both. Content is judged by targets that were never trained, where there are 50 or more: for others it can learn each
    item by heart, and ids do that better. How the parts are weighed against each other is calibrated after training.

    Args:
        dataset: its train and validation parts are read.
        catalogue: features of all items.
    """

    def __init__(self, dataset: Dataset, catalogue: CatalogueFeatures) -> None:
        self.dataset = dataset
        self.catalogue = catalogue
        self.enough_cold = _cold_targets(dataset) >= MIN_COLD_TARGETS

    def __call__(self, model: TwoTower, weights: LossWeights) -> dict[str, float]:
        """Metrics such as `recall@20` and `content/recall@20`, and `objective`."""
        views: list[tuple[str, View]] = []
        if weights.id > 0 or weights.joint > 0:
            views.append(("", "collaborative"))
        if weights.uses_content:
            views.append(("content/", "content"))
        found = {"objective": 0.0}
        for prefix, view in views:
            metrics = evaluate(
                TwoTowerScorer(model, self.catalogue, view), self.dataset, "validation", (CUTOFF,)
            ).metrics
            judged = "cold/" if view == "content" and self.enough_cold else ""
            for name in (f"recall@{CUTOFF}", f"ndcg@{CUTOFF}"):
                found[prefix + name] = metrics[name]
                found[prefix + judged + name] = metrics[judged + name]
                found["objective"] += metrics[judged + name]
        return found


def pseudo_cold_items(dataset: Dataset, share: float, seed: int) -> Bool | None:
    """Items to be treated as cold in the calibration where validation has too few real ones; None where it has enough.

    They are trained items with a validation target, drawn at random; the content loss never sees them, so that content has
    to work for them as it does for an item nobody has seen.

    Args:
        dataset: its train and validation parts are read.
        share: of the items with a validation target.
        seed: of the run.
    """
    target = dataset.validation.item_counts
    cold = dataset.cold_items
    if _cold_targets(dataset) >= MIN_COLD_TARGETS or not dataset.features or share <= 0:
        return None
    usable = np.flatnonzero((target > 0) & ~cold)
    drawn = generator(seed, 0, "pseudo cold").permutation(usable)[: max(1, round(share * len(usable)))]
    chosen = np.zeros(dataset.num_items, np.bool_)
    chosen[drawn] = True
    return chosen


def _cold_targets(dataset: Dataset) -> int:
    return int(dataset.validation.item_counts[dataset.cold_items].sum())
