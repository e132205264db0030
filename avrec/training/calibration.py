"""Calibration on validation: how much content weighs against ids, and where cold items stand among warm ones.

Axes: B users in a block, N items, W warm items, K cold items, T targets of the block, O offsets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Self

import numpy as np
import torch
from torch import Tensor

from avrec.core.arrays import Bool
from avrec.core.dataset import Dataset
from avrec.core.query import held_out_query
from avrec.evaluation.question import Question
from avrec.models.item_tower import OperatingPoint
from avrec.models.two_tower import CatalogueFeatures, TwoTower
from avrec.training.operating_rules import NEVER, FrontierPoint
from avrec.training.scorer import TwoTowerScorer, content_table

CUTOFF = 20
LIST = 64
TARGETS = 512


@dataclass(frozen=True)
class CalibrationGrid:
    """What is tried on validation.

    Attributes:
        kappas: of the evidence gate, in training events.
        scales: content scale in units that make the spread of content scores equal that of id scores.
        neighbour_weights: share of the content neighbours' id vectors.
        smoothings: weight of the neighbours' content in a history.
        offsets: offset of cold items, in spreads of id scores, relative to the median 20th score among warm items.
        friend_strengths: weight of what friends lend a user, see `avrec.training.lending`; only 0 to leave friends out.
        friend_kappas: training events at which that weight is half; None where it is the same for everybody.
    """

    kappas: Sequence[float] = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    neighbour_weights: Sequence[float] = (0.0, 0.15, 0.3)
    smoothings: Sequence[float] = (0.0, 0.3, 0.6)
    offsets: Sequence[float] = tuple(np.linspace(-10.0, 1.0, 133).tolist())
    friend_strengths: Sequence[float] = (0.0, 0.1, 0.3, 1.0, 2.0)
    friend_kappas: Sequence[float | None] = (5.0, None)


@dataclass
class _Sums:
    """Sums over users of one (kappa, scale, neighbour weight) setting; each array is (O,)."""

    recall: Tensor
    ndcg: Tensor
    cold: Tensor
    warm: Tensor
    users: int = 0
    cold_users: int = 0
    warm_users: int = 0

    @classmethod
    def zeros(cls, size: int) -> Self:
        """Nothing added yet."""
        return cls(torch.zeros(size), torch.zeros(size), torch.zeros(size), torch.zeros(size))


@dataclass
class _Block:
    """One block of validation users: score parts (B, N) and targets."""

    ids_BN: Tensor
    borrowed_BN: Tensor
    content_BN: Tensor
    seen: tuple[Tensor, Tensor]
    row_T: Tensor
    item_T: Tensor
    targets_of_row_B: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.targets_of_row_B = torch.bincount(self.row_T, minlength=len(self.ids_BN))


def frontier(
    model: TwoTower,
    catalogue: CatalogueFeatures,
    dataset: Dataset,
    cold_N: Bool,
    grid: CalibrationGrid,
    block: int = 512,
) -> list[FrontierPoint]:
    """Validation metrics of every setting of the grid.

    Args:
        model: trained; its operating point is left as it was.
        catalogue: features of all items.
        dataset: only `train` and `validation` are read.
        cold_N: items that count as cold: never trained, or pseudo-cold.
        grid: what to try.
        block: validation users at a time; memory grows with `block * N`.
    """
    before = model.item_tower.operating_point
    cold = torch.from_numpy(np.array(cold_N))
    evidence = torch.where(cold, torch.zeros(()), model.item_evidence_N.float().cpu())
    bias = torch.where(cold, torch.zeros(()), model.item_table.bias_N.detach().float().cpu())
    points = []
    try:
        model.set_operating_point(OperatingPoint())
        spread, content_spread, level = _levels(next(_blocks(model, catalogue, dataset, block)), cold, bias)
        scales = [value * spread / content_spread for value in grid.scales]
        offsets_O = level + spread * torch.tensor(list(grid.offsets), dtype=torch.float32)
        alive_N = Question.of(dataset, "validation").alive_N
        if alive_N is not None:
            bias = torch.where(torch.from_numpy(alive_N), bias, -torch.inf)  # no candidates, so below all others
        # Last, cold items below all others: where content is of no use, no offset of the grid may be low enough.
        offsets_O = torch.cat([offsets_O, torch.tensor([NEVER])])
        for neighbour_weight, smoothing in product(grid.neighbour_weights, grid.smoothings):
            # A cold item of a history is what it borrows, and smoothing mixes its content: both move the users' vectors.
            model.set_operating_point(OperatingPoint(neighbour_weight=neighbour_weight, history_smoothing=smoothing))
            settings = list(product(grid.kappas, scales))
            sums = [_Sums.zeros(len(offsets_O)) for _ in settings]
            for part in _blocks(model, catalogue, dataset, block):
                content_BN = part.content_BN + neighbour_weight * part.borrowed_BN
                for (kappa, scale), total in zip(settings, sums, strict=True):
                    gate_N = evidence / torch.where(evidence > 0, evidence + kappa, 1.0)
                    scores_BN = gate_N * part.ids_BN + bias + (1 - gate_N) * scale * content_BN
                    rank_TO = ranks_by_offset(scores_BN, part.seen, part.row_T, part.item_T, cold, offsets_O)
                    _add(total, rank_TO, part, cold)
            for (kappa, scale), total in zip(settings, sums, strict=True):
                points += _points(total, OperatingPoint(kappa, scale, 0.0, neighbour_weight, smoothing), offsets_O)
    finally:
        model.set_operating_point(before)
    return points


def _blocks(model: TwoTower, catalogue: CatalogueFeatures, dataset: Dataset, size: int) -> Iterator[_Block]:
    """The validation users block by block, at the operating point in force."""
    scorer = TwoTowerScorer(model, catalogue)
    dim = model.item_tower.id_dim
    table_ND = model.id_vectors().float()
    content_NC = torch.from_numpy(content_table(model, catalogue)).to(scorer.device)
    target, history = dataset.validation, dataset.history("validation")
    users = np.flatnonzero(target.user_counts)
    for start in range(0, len(users), size):
        chosen = users[start : start + size]
        user = scorer.user_tensor(held_out_query(dataset, "validation", chosen, history))
        seen_indptr, seen_position = history.positions(chosen)
        indptr, position = target.positions(chosen)
        yield _Block(
            (user[:, :dim] @ table_ND.T).cpu(),
            (user[:, :dim] @ model.neighbour_vector_ND.float().T).cpu(),
            (user[:, dim + 1 :] @ content_NC.T).cpu(),
            (_rows(seen_indptr), torch.from_numpy(history.item_idx[seen_position])),
            _rows(indptr),
            torch.from_numpy(target.item_idx[position]),
        )


def _rows(indptr: np.ndarray) -> Tensor:
    return torch.from_numpy(np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)))


def _levels(part: _Block, cold: Tensor, bias: Tensor) -> tuple[float, float, float]:
    """Spread of id scores and of content scores over items, and the median 20th score among warm items."""
    warm_BW = (part.ids_BN + bias)[:, ~cold]
    spread = float(warm_BW.std(dim=1).median())
    content = float(part.content_BN.std(dim=1).median()) if part.content_BN.abs().sum() > 0 else 1.0
    level = float(warm_BW.topk(min(CUTOFF, warm_BW.shape[1]), dim=1).values[:, -1].median())
    return max(spread, 1e-6), max(content, 1e-6), level


def ranks_by_offset(
    scores_BN: Tensor, seen: tuple[Tensor, Tensor], row_T: Tensor, item_T: Tensor, cold: Tensor, offsets_O: Tensor
) -> Tensor:
    """Ranks (T, O) of targets when each offset is added to the cold items, ties counting half.

    Ranks beyond the cut-off may be too small, never below it: only the best `LIST` of the other side are looked at.
    """
    masked_BN = scores_BN.clone()
    masked_BN[seen] = float("-inf")
    masked_BN[row_T, item_T] = scores_BN[row_T, item_T]
    rank_TO = torch.empty(len(row_T), len(offsets_O))
    sides = [masked_BN.index_select(1, torch.nonzero(side).flatten()) for side in (cold, ~cold)]
    for own, (own_BK, other_BK), sign in ((cold, sides, 1.0), (~cold, sides[::-1], -1.0)):
        mine_T = own[item_T]
        row, score_T1 = row_T[mine_T], scores_BN[row_T, item_T][mine_T].unsqueeze(1)
        # Only the best of the other side matter, and only for users who have a target on this one.
        users, place = torch.unique(row, return_inverse=True)
        best_TK = other_BK[users].topk(min(LIST, other_BK.shape[1]), dim=1).values.flip(1)[place].contiguous()
        wanted_TO = score_T1 + sign * offsets_O
        below = torch.searchsorted(best_TK, wanted_TO, side="left") + torch.searchsorted(
            best_TK, wanted_TO, side="right"
        )
        rank_TO[mine_T] = _rank_of(score_T1, own_BK, row).unsqueeze(1) + best_TK.shape[1] - below / 2
    return rank_TO


def _rank_of(score_T1: Tensor, rivals_BK: Tensor, row_T: Tensor) -> Tensor:
    """Ranks (T,) among the row's rivals, the target itself one of them, ties counting half.

    numpy counts several times faster; some targets at a time, so that memory does not grow with the targets of a user.
    """
    score, rivals, row = score_T1.numpy(), rivals_BK.numpy(), row_T.numpy()
    rank = np.empty(len(score), np.float32)
    for start in range(0, len(score), TARGETS):
        part = slice(start, start + TARGETS)
        own = rivals[row[part]]
        equal = np.count_nonzero(own == score[part], axis=1)
        rank[part] = 1 + np.count_nonzero(own > score[part], axis=1) + (equal - 1) / 2
    return torch.from_numpy(rank)


def _add(sums: _Sums, rank_TO: Tensor, part: _Block, cold: Tensor) -> None:
    """Add a block's per-user recall and NDCG at the cut-off."""
    hit_TO = rank_TO <= CUTOFF
    count_B = part.targets_of_row_B
    discount = 1 / torch.log2(torch.arange(2, CUTOFF + 2))
    ideal_T = discount.cumsum(0)[count_B.clamp(max=CUTOFF) - 1][part.row_T]
    sums.recall += (hit_TO / count_B[part.row_T][:, None]).sum(dim=0)
    sums.ndcg += (hit_TO / torch.log2(1 + rank_TO) / ideal_T[:, None]).sum(dim=0)
    sums.users += int((count_B > 0).sum())
    for name, chosen_T in (("cold", cold[part.item_T]), ("warm", ~cold[part.item_T])):
        own_B = torch.bincount(part.row_T[chosen_T], minlength=len(count_B))
        share = (hit_TO[chosen_T] / own_B[part.row_T[chosen_T]][:, None]).sum(dim=0)
        setattr(sums, name, getattr(sums, name) + share)
        setattr(sums, f"{name}_users", getattr(sums, f"{name}_users") + int((own_B > 0).sum()))


def _points(sums: _Sums, setting: OperatingPoint, offsets_O: Tensor) -> list[FrontierPoint]:
    recall, ndcg = sums.recall / max(sums.users, 1), sums.ndcg / max(sums.users, 1)
    cold, warm = sums.cold / max(sums.cold_users, 1), sums.warm / max(sums.warm_users, 1)
    return [
        FrontierPoint(
            replace(setting, cold_offset=float(offsets_O[index])),
            *(float(values[index]) for values in (recall, ndcg, cold, warm)),
        )
        for index in range(len(offsets_O))
    ]
