"""Which operating point a rule chooses among those measured on validation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from avrec.models.item_tower import OperatingPoint

NEVER = -1e4
Rule = Literal["overall", "cold98", "balanced"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class FrontierPoint:
    """One setting and its validation metrics at cut-off 20; `score` is recall + NDCG over all targets."""

    point: OperatingPoint
    recall: float
    ndcg: float
    cold_recall: float
    warm_recall: float

    @property
    def score(self) -> float:
        """Recall@20 + NDCG@20."""
        return self.recall + self.ndcg

    def as_dict(self) -> dict[str, float]:
        """Plain numbers for a results file."""
        values = {"recall@20": self.recall, "ndcg@20": self.ndcg}
        return asdict(self.point) | values | {"cold/recall@20": self.cold_recall, "warm/recall@20": self.warm_recall}


def choose(points: Sequence[FrontierPoint], rule: Rule) -> FrontierPoint:
    """The setting that a rule chooses.

    `overall`: the best score. `cold98`: the best cold recall among settings that keep 98 % of the best score. `balanced`: the
    best harmonic mean of the recall on cold and on warm items, for catalogues that renew themselves: how many targets are
    cold grows with the time since training, so the share that validation has says little of later.

    Of equals in one number the better in the other is taken.
    """
    best = max(points, key=lambda point: (point.score, point.cold_recall))
    if rule == "overall":
        return best
    if rule == "balanced":
        return max(points, key=lambda point: (_harmonic_mean(point.cold_recall, point.warm_recall), point.score))
    near = (point for point in points if point.score >= 0.98 * best.score)
    return max(near, key=lambda point: (point.cold_recall, point.score))


def _harmonic_mean(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one > 0 and other > 0 else 0.0


def pareto(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """The settings that no other beats in both score and cold recall, best score first."""
    kept: list[FrontierPoint] = []
    for point in sorted(points, key=lambda point: (-point.score, -point.cold_recall)):
        if not kept or point.cold_recall > kept[-1].cold_recall:
            kept.append(point)
    return kept
