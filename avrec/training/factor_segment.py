"""Matrix factorisation beside the trained ids, as more numbers of the same id vectors: after training, not during it.

A softmax over leave-one-out pairs and the squared loss over all blanks err in different ways, so that their sum can be ahead
of both. A user's factors have no closed form that is linear in his history, but nearly are: the map learned by ridge
regression from the pooled history gives the sum the validation score that exact solutions do (Last.fm, .4775 and .4774).
So the two stay one inner product, for users whom the factorisation never saw too.

Axes: B users in a block, U users, N items, D embedding of the ids, F factors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import ConfigError
from avrec.core.query import UserQuery, padded
from avrec.factors.als import ALS
from avrec.factors.artefact import Factors
from avrec.factors.fold_in import ridge_map
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.lending import score
from avrec.training.scorer import TwoTowerScorer

BLOCK = 4096
MEASURED_USERS = 512
COLLAPSED, IDLE = 1e-3, 1e-2  # the longest item's length; a direction's share of the first singular value


@dataclass(frozen=True)
class FactorGrid:
    """What is tried on validation.

    Attributes:
        factorisations: by name; none leaves factors out.
        weights: of the factors' scores against the learned ones, in units that make their spreads over items equal.
        min_gain: share by which the validation score has to grow, since factors make every vector longer.
    """

    factorisations: Mapping[str, ALS] = field(default_factory=dict)
    weights: Sequence[float] = (0.1, 0.25, 0.5)
    min_gain: float = 0.01

    def __post_init__(self) -> None:
        """Refuse weights that weigh nothing.

        Raises:
            ConfigError: a weight is not positive.
        """
        for weight in self.weights:
            if not weight > 0:
                raise ConfigError(
                    f"factors.weights: {weight!r} is not positive. To go without factors set factors=none."
                )


NO_FACTORS = FactorGrid()


@dataclass(frozen=True)
class Beside:
    """One setting that was tried and its validation Recall@20 + NDCG@20 by ids alone; weight 0 is without factors."""

    factorisation: str
    weight: float
    score: float


def lay_beside(
    model: TwoTower,
    catalogue: CatalogueFeatures,
    dataset: Dataset,
    grid: FactorGrid,
    worth: Callable[[], float],
) -> tuple[Beside, ...]:
    """Choose factors by the ids alone, and keep them if the model as it is used gains enough by them.

    Args:
        model: trained and propagated, without factors.
        catalogue: features of all items.
        dataset: its train part is factorised, its validation part is read.
        grid: what to try.
        worth: validation score of the model as it stands.

    Returns:
        What was tried, the setting in force first.
    """
    nothing = no_factors(model)
    model.set_factors(*nothing)
    if not grid.factorisations:
        return ()
    without = Beside("", 0.0, _score_of_ids(model, catalogue, dataset))
    settings = {without: nothing}
    for name, als in grid.factorisations.items():
        item_NF, map_FF = _fitted(model, catalogue, dataset, als.fit(dataset.train, dataset.content_hash))
        for weight in grid.weights if item_NF.shape[1] else ():
            # Items stand on either side of the product, in the history and among the candidates: hence the root.
            setting = (weight**0.5 * item_NF, map_FF)
            model.set_factors(*setting)
            settings[Beside(name, weight, _score_of_ids(model, catalogue, dataset))] = setting
    best = max(settings, key=lambda tried: tried.score)
    if best is not without:
        model.set_factors(*nothing)
        before = worth()
        model.set_factors(*settings[best])
        if worth() < (1 + grid.min_gain) * before:
            best = without
    model.set_factors(*settings[best])
    return (best, *(tried for tried in settings if tried is not best))


def no_factors(model: TwoTower) -> tuple[Tensor, Tensor]:
    """What `TwoTower.set_factors` takes to lay nothing beside the ids."""
    return model.factors_NF.new_zeros(model.num_items, 0), model.factors_NF.new_zeros(0, 0)


def _score_of_ids(model: TwoTower, catalogue: CatalogueFeatures, dataset: Dataset) -> float:
    return score(TwoTowerScorer(model, catalogue, "collaborative"), dataset)


def _fitted(model: TwoTower, catalogue: CatalogueFeatures, dataset: Dataset, factors: Factors) -> tuple[Tensor, Tensor]:
    """Item factors (N, F) as long as the learned vectors, and the map (F, F) that makes the spreads of both scores equal."""
    item, user = _turned(factors)
    if not item.shape[1]:
        return no_factors(model)
    trained_N = torch.from_numpy(~dataset.cold_items)
    learned_WD = model.item_table.output_ND.detach().float().cpu()[trained_N]
    item_NF = torch.from_numpy(item) * float(_length(learned_WD) / _length(torch.from_numpy(item)[trained_N]))
    model.set_factors(item_NF, torch.eye(item_NF.shape[1]))
    users = np.flatnonzero(dataset.train.user_counts)
    pooled_UF = np.concatenate(
        [_pooled(model, dataset, users[start : start + BLOCK]) for start in range(0, len(users), BLOCK)]
    )
    map_FF = torch.from_numpy(ridge_map(pooled_UF, user[users])).T
    some = users[:: max(1, len(users) // MEASURED_USERS)][:MEASURED_USERS]
    user_BD = TwoTowerScorer(model, catalogue).user_tensor(UserQuery.of_users(some, dataset.train)).cpu()
    spread = _spread(user_BD[:, : model.item_table.dim] @ learned_WD.T)
    other = _spread(torch.from_numpy(_pooled(model, dataset, some)) @ map_FF.T @ item_NF[trained_N].T)
    return item_NF, map_FF * (spread / other if other > 0 else 0.0)


def _turned(factors: Factors) -> tuple[Float32, Float32]:
    """Item and user factors in the axes of the items' singular vectors, without those that carry next to nothing.

    Regularised strongly, a factorisation lives in few directions, or in none: the rest would make every vector longer and
    add rounding errors.
    """
    item, user = factors.item.astype(np.float64), factors.user.astype(np.float64)
    if np.linalg.norm(item, axis=1).max(initial=0.0) < COLLAPSED:
        return factors.item[:, :0], factors.user[:, :0]
    _, size_F, axes_FF = np.linalg.svd(item, full_matrices=False)
    axes_FK = axes_FF[size_F > IDLE * size_F[0]].T
    return (item @ axes_FK).astype(np.float32), (user @ axes_FK).astype(np.float32)


def _pooled(model: TwoTower, dataset: Dataset, users: np.ndarray) -> Float32:
    """The factors (B, F) of some users' training events, pooled as the tower pools them."""
    query = UserQuery.of_users(users, dataset.train)
    idx, weight, age, mask = (torch.from_numpy(array) for array in padded(query, model.user_tower.max_history_items))
    history = weight.float(), age.float(), mask
    vectors: Float32 = model.user_tower.factor_pooling.of_rows(model.factors_NF.float().cpu(), idx, *history).numpy()
    return vectors


def _length(vectors_ND: Tensor) -> Tensor:
    """Root mean square length."""
    return vectors_ND.square().sum(dim=1).mean().sqrt()


def _spread(scores_BN: Tensor) -> float:
    return float(scores_BN.std(dim=1).median())
