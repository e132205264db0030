"""The whole training of one model: stages, propagation, factors, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from avrec.core.arrays import Bool
from avrec.core.dataset import Dataset
from avrec.models.item_tower import OperatingPoint
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.calibration import CalibrationGrid, frontier
from avrec.training.factor_segment import NO_FACTORS, Beside, FactorGrid, lay_beside, no_factors
from avrec.training.lending import Lent, lend, score
from avrec.training.media_store import media_encoders
from avrec.training.operating_rules import NEVER, RULES, FrontierPoint, choose, pareto
from avrec.training.propagation import Mix, Neighbourhoods, apply_mix
from avrec.training.ranks import own_ranks
from avrec.training.scorer import TwoTowerScorer, comparable_content
from avrec.training.stages import Stage, StageContext, run_stage


@dataclass(frozen=True)
class Calibrated:
    """What was chosen on validation after training.

    Attributes:
        operating_points: {rule: setting}.
        frontier: the settings that no other beats in both score and cold recall.
        mix: the propagation in force.
        objective: validation Recall@20 + NDCG@20 at `overall`.
        beside: factorisations tried beside the ids, the setting in force first; empty where none was to be tried.
        lent: how much users take on from their friends, the chosen setting first; empty without friends.
    """

    operating_points: dict[str, OperatingPoint]
    frontier: list[FrontierPoint]
    mix: Mix
    objective: float
    beside: tuple[Beside, ...] = ()
    lent: tuple[Lent, ...] = ()

    def __str__(self) -> str:
        """What was chosen, in a line."""
        parts = {"p3": self.mix.p3, "jaccard": self.mix.jaccard, "content": self.mix.content}
        mixed = ", ".join(f"{name} {weight:g}" for name, weight in parts.items() if weight)
        said = [f"propagation {mixed + f' over {self.mix.hops} hops' if mixed else 'none'}"]
        if self.beside:
            best, without = self.beside[0], next(tried for tried in self.beside if not tried.weight)
            gain = f" (ids alone {without.score:.4f} -> {best.score:.4f})" if best.weight else ""
            said.append(f"factors {f'{best.factorisation} at {best.weight:g}{gain}' if best.weight else 'none'}")
        if self.lent:
            strength, kappa = self.lent[0].strength, self.lent[0].kappa
            said.append(f"friends {f'{strength:g}' + (f', kappa {kappa:g}' if kappa else '') if strength else 'none'}")
        return f"chosen on validation: {'; '.join(said)}; Recall@20 + NDCG@20 {self.objective:.4f}"


def train(model: TwoTower, stages: Sequence[Stage], context: StageContext) -> list[dict[str, Any]]:
    """Run every stage; the best weights of each, by validation, are where the next starts."""
    summaries = []
    with own_ranks():
        for index, stage in enumerate(stages):
            heading = f"stage {index + 1}/{len(stages)}: {stage.name}"
            if stage.encoders is not None and not any(
                stage.encoders.blocks.get(name, 0) for name in media_encoders(model)
            ):
                rank_zero_only(print)(f"{heading}: left out, the model has none of its encoders", flush=True)
                continue
            rank_zero_only(print)(heading, flush=True)
            summaries.append(run_stage(model, stage, index, context))
    return summaries


def calibrate(
    model: TwoTower,
    catalogue: CatalogueFeatures,
    dataset: Dataset,
    mixes: Sequence[Mix],
    grid: CalibrationGrid,
    pseudo_cold: Bool | None = None,
    factors: FactorGrid = NO_FACTORS,
) -> Calibrated:
    """Choose propagation, factors beside the ids, what friends lend and operating points; leave the model at `overall`.

    Args:
        model: trained; its tables are replaced by the propagated ones.
        catalogue: features of all items.
        dataset: its train and validation parts are read.
        mixes: propagations to try; the first should be none.
        grid: operating points to try.
        pseudo_cold: (N,) trained items that count as cold here, see `pseudo_cold_items`.
        factors: factorisations to try beside the trained ids; none by default.
    """
    start = {name: value.clone() for name, value in model.item_table.state_dict().items()}
    model.set_factors(*no_factors(model))
    content = comparable_content(model, catalogue) if model.item_tower.modalities else None
    whole = Neighbourhoods(dataset.train, content, ~dataset.cold_items)
    cold = dataset.cold_items if pseudo_cold is None else dataset.cold_items | pseudo_cold
    known = whole if pseudo_cold is None else Neighbourhoods(dataset.train, content, ~cold)

    def settings(grid: CalibrationGrid) -> list[FrontierPoint]:
        known.lend_stand_ins(model)
        return frontier(model, catalogue, dataset, cold, grid)

    def worth() -> float:
        """Of what is reported, at a rough operating point: what is chosen is chosen as it is used, beside content."""
        if content is not None:
            return max(point.score for point in settings(_rough(grid)))
        return score(TwoTowerScorer(model, catalogue, "collaborative"), dataset)

    def worth_of(mix: Mix) -> float:
        apply_mix(model, start, whole, mix)
        return worth()

    mix = max(mixes, key=worth_of) if len(mixes) > 1 else mixes[0]
    apply_mix(model, start, whole, mix)
    beside = lay_beside(model, catalogue, dataset, factors, worth)
    whole.lend_stand_ins(model)
    lent = lend(model, catalogue, dataset, grid.friend_strengths, grid.friend_kappas)
    if content is None:
        point = OperatingPoint(content_scale=0.0, cold_offset=NEVER)
        model.set_operating_point(point)
        objective = score(TwoTowerScorer(model, catalogue), dataset)
        return Calibrated(dict.fromkeys(RULES, point), [], mix, objective, beside, lent)

    points = settings(grid)
    whole.lend_stand_ins(model)
    chosen = {rule: choose(points, rule) for rule in RULES}
    model.set_operating_point(chosen["overall"].point)
    points_by_rule: dict[str, OperatingPoint] = {rule: found.point for rule, found in chosen.items()}
    return Calibrated(points_by_rule, pareto(points), mix, chosen["overall"].score, beside, lent)


def _rough(grid: CalibrationGrid) -> CalibrationGrid:
    """Every other value and every fourth offset: enough to compare propagations by, at a small part of the cost."""
    return replace(
        grid,
        kappas=grid.kappas[::2],
        scales=grid.scales[::2],
        neighbour_weights=grid.neighbour_weights[::2],
        smoothings=grid.smoothings[::2],
        offsets=grid.offsets[::4],
    )
