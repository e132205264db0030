"""Where each target stands among all items: exact ranks in which a tie counts half.

# B users in the batch, N items in the catalogue, T targets of all users in the batch, K length of the lists
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from avrec.core.arrays import Float64, Int64
from avrec.core.errors import AvrecError
from avrec.retrieval.exact import top_of_scores

Csr = tuple[Int64, Int64]  # indptr (B + 1,) and item_idx: the items of user b are item_idx[indptr[b]:indptr[b + 1]]
CHUNK_SCORES = 2**22  # scores that are compared at once where whole rows must be counted


def target_ranks(
    scores_BN: Tensor, targets: Csr, masked: Csr | None = None, columns: Int64 | None = None, cutoff: int | None = None
) -> Float64:
    """The rank of every target: `1 + #{items with a larger score} + 0.5 #{other items with an equal score}`.

    A model that gives thousands of items the same score has said nothing about their order, so it gets the middle place.
    A target is never masked, not even when it is also among its user's masked items; the other targets of a user are
    ordinary items. `scores_BN` is not changed and is compared as float32.

    Args:
        scores_BN: scores of all items for B users, on any device.
        targets: what is to be found; an item at most once a user.
        masked: items that are left out of their user's ranking, such as what he has already consumed.
        columns: (C,) distinct items; the ranking is among these alone and holds every target. All items when None.
        cutoff: ranks above it are reported as infinity, which saves comparing every target with every item.

    Returns:
        (T,) ranks in the order of `targets`.

    Raises:
        AvrecError: a score is not finite, or a target is not among `columns`.
    """
    refuse_non_finite(scores_BN, lambda row, column: f"row {row}, column {column}")
    rows, items = flat(targets, scores_BN.device)
    scores_BN = scores_BN.detach().to(torch.float32, copy=True)
    hide(scores_BN, rows, items, masked)
    if columns is not None:
        scores_BN, items = narrow(scores_BN, items, columns)
    return ranks_among(scores_BN, rows, items, None if cutoff is None else top_values(scores_BN, cutoff))


def flat(csr: Csr, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and item of every entry."""
    indptr, items = csr
    rows = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return torch.from_numpy(rows).to(device), torch.from_numpy(np.ascontiguousarray(items, np.int64)).to(device)


def refuse_non_finite(scores_BN: Tensor, name: Callable[[int, int], str]) -> None:
    """Raise AvrecError when a score is NaN or infinite; `name(row, column)` says whose."""
    if bool(torch.isfinite(scores_BN.sum())):  # a finite sum had only finite terms; the other way round may be overflow
        return
    bad = torch.nonzero(~torch.isfinite(scores_BN))
    if len(bad):
        row, column = (int(index) for index in bad[0])
        raise AvrecError(
            f"the score of {name(row, column)} is {float(scores_BN[row, column])}; expected a finite number "
            f"({len(bad)} such scores among these {scores_BN.shape[0]} users). A NaN has no rank: look for a division by "
            f"zero, an item without any feature, or a learning rate that let the training diverge."
        )


def hide(scores_BN: Tensor, rows: Tensor, items: Tensor, masked: Csr | None) -> int:
    """Set masked scores to -inf in place, but no target's.

    Args:
        scores_BN: finite scores, overwritten.
        rows: (T,) user of each target.
        items: (T,) item of each target.
        masked: what to leave out.

    Returns:
        How many targets were also masked and stay in the ranking.
    """
    if masked is None:
        return 0
    targets = scores_BN[rows, items]
    scores_BN[flat(masked, scores_BN.device)] = -torch.inf
    both = int(torch.isneginf(scores_BN[rows, items]).sum())
    scores_BN[rows, items] = targets
    return both


def narrow(scores_BN: Tensor, items: Tensor, columns: Int64) -> tuple[Tensor, Tensor]:
    """Scores of some columns alone, and where the targets stand among them."""
    position = torch.full((scores_BN.shape[1],), -1, dtype=torch.int64, device=scores_BN.device)
    chosen = torch.from_numpy(columns).to(scores_BN.device)
    position[chosen] = torch.arange(len(columns), device=scores_BN.device)
    places = position[items]
    if bool((places < 0).any()):
        raise AvrecError(f"target item_idx {int(items[places < 0][0])} is not among the {len(columns)} ranked columns.")
    return scores_BN.index_select(1, chosen), places


def top_values(scores_BN: Tensor, k: int) -> Tensor:
    """(B, min(k, N)) largest scores of each row, falling."""
    k = min(k, scores_BN.shape[1])
    if scores_BN.device.type == "cpu":
        return torch.from_numpy(top_of_scores(scores_BN.numpy(), k)[1])
    return torch.topk(scores_BN, k, dim=1).values


def ranks_among(scores_BN: Tensor, rows: Tensor, items: Tensor, top_BK: Tensor | None) -> Float64:
    """Ranks of targets in masked scores.

    Args:
        scores_BN: scores with -inf where an item is left out.
        rows: (T,) user of each target.
        items: (T,) item of each target.
        top_BK: the K largest scores of each row, falling; a rank above K is then infinity. Every rank is counted when None.

    Returns:
        (T,) ranks.
    """
    scores_T = scores_BN[rows, items]
    if top_BK is None:
        greater, equal = _counts(scores_BN, rows, scores_T)
        return _half_ranks(greater, equal)
    last_T = top_BK[rows, -1]
    near = torch.nonzero(scores_T >= last_T).ravel()  # a score below the K-th largest has K items above it
    list_RK, score_R1 = top_BK[rows[near]], scores_T[near, None]
    greater, equal = (list_RK > score_R1).sum(1), (list_RK == score_R1).sum(1)
    # Ties at the K-th place may go on beyond the list: those rows are counted whole.
    edge = torch.nonzero(scores_T[near] == last_T[near]).ravel()
    equal[edge] = _counts(scores_BN, rows[near[edge]], scores_T[near[edge]])[1]
    ranks = np.full(len(items), np.inf)
    ranks[near.cpu().numpy()] = _half_ranks(greater, equal)
    ranks[ranks > top_BK.shape[1]] = np.inf
    return ranks


def _half_ranks(greater: Tensor, equal: Tensor) -> Float64:
    ranks: Float64 = 1 + greater.cpu().numpy() + (equal.cpu().numpy() - 1) / 2
    return ranks


def _counts(scores_BN: Tensor, rows: Tensor, scores_T: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) how many scores of the row are greater than, and equal to, the target's."""
    greater, equal = torch.zeros_like(rows), torch.zeros_like(rows)
    step = max(1, CHUNK_SCORES // max(scores_BN.shape[1], 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        scores_RN = scores_BN[rows[part]]
        greater[part] = (scores_RN > scores_T[part, None]).sum(1)
        equal[part] = (scores_RN == scores_T[part, None]).sum(1)
    return greater, equal
