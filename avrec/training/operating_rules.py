"""Which operating point a rule chooses among those measured on validation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from statistics import fmean
from typing import Literal, get_args

from avrec.models.item_tower import OperatingPoint

NEVER = -1e4
NEIGHBOURS_SHARE = 0.09  # of the offsets, to either side: one spread of id scores on the default grid
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

    The highest cold recall of thousands of settings owes part of it to the very users who chose it. So `cold98` finds the best
    offset of every setting by what it has there, and compares the settings by their means around it. Chosen by one half of
    TikTok's validation users and measured on the other, it finds .083 of the cold targets this way and .076 without the
    means, at no cost (5 seeds, 10 halvings each); the other two rules gain nothing by them.

    Of equals in one number the better in the other is taken.

    Args:
        points: those of one setting but for the offset stand together, by ascending offset.
        rule: which rule.
    """
    best = max(points, key=lambda point: (point.score, point.cold_recall))
    if rule == "overall":
        return best
    if rule == "balanced":
        return max(points, key=lambda point: (_harmonic_mean(point.cold_recall, point.warm_recall), point.score))
    found: list[tuple[float, FrontierPoint]] = []
    for _, group in groupby(points, key=_all_but_the_offset):
        block = list(group)
        near = [place for place, point in enumerate(block) if point.score >= 0.98 * best.score]
        if near:
            place = max(near, key=lambda place: (block[place].cold_recall, block[place].score))
            found.append((_mean_cold_recall(block, place), block[place]))
    return max(found, key=lambda pair: (pair[0], pair[1].cold_recall, pair[1].score))[1]


def _mean_cold_recall(block: Sequence[FrontierPoint], place: int) -> float:
    """Of a point and its neighbours along the offset."""
    reach = round(NEIGHBOURS_SHARE * len(block))
    return fmean(point.cold_recall for point in block[max(place - reach, 0) : place + reach + 1])


def _all_but_the_offset(found: FrontierPoint) -> tuple[OperatingPoint, bool]:
    return replace(found.point, cold_offset=0.0), found.point.cold_offset <= NEVER


def _harmonic_mean(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one > 0 and other > 0 else 0.0


def pareto(points: Sequence[FrontierPoint]) -> list[FrontierPoint]:
    """The settings that no other beats in both score and cold recall, best score first."""
    kept: list[FrontierPoint] = []
    for point in sorted(points, key=lambda point: (-point.score, -point.cold_recall)):
        if not kept or point.cold_recall > kept[-1].cold_recall:
            kept.append(point)
    return kept
