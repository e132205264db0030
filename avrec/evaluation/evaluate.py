"""One evaluation of one recommender: all items ranked, metrics by user, slices beside the overall number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avrec.core.arrays import Bool, Float64, Int64
from avrec.core.dataset import Dataset, HeldOut, tie_order
from avrec.core.query import Scorer
from avrec.evaluation.blocks import ScoreBlock, score_blocks
from avrec.evaluation.metrics import MRR, NDCG, Metric, Recall, coverage
from avrec.evaluation.question import Mask, Question
from avrec.evaluation.ranking import flat, hide, ranks_among, top_values
from avrec.evaluation.slices import target_slices
from avrec.retrieval.exact import top_of_scores


@dataclass(frozen=True)
class Evaluation:
    """What was measured, for whom and how.

    Attributes:
        part: the held-out part.
        protocol: in words: what was ranked, what was masked, how ties count.
        user_idx: (U,) the users with at least one target.
        per_user: metric by name, (U,) float64, NaN where a user has no such target. Names are `recall@20`,
            `cold/recall@20` and so on; a slice to which no target belongs has no entry.
        metrics: the mean over the users who have such a target, and `coverage@k`.
        counts: users, targets and items, of the whole and of each slice.
    """

    part: HeldOut
    protocol: str
    user_idx: Int64
    per_user: Mapping[str, Float64]
    metrics: Mapping[str, float]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Ranked:
    """Where the targets of a question stand.

    Attributes:
        ranks: (T,) among all items, infinite above the largest cutoff.
        cold_ranks: (T,) among the never-trained items alone, NaN for a target that is not one of them.
        shown: for each cutoff the items (N,) that are in anybody's list.
        targets_in_history: targets that their user's history holds too; they are ranked, not masked.
    """

    ranks: Float64
    cold_ranks: Float64
    shown: Mapping[int, Bool]
    targets_in_history: int


def evaluate(
    scorer: Scorer,
    dataset: Dataset,
    part: HeldOut,
    cutoffs: Sequence[int] = (10, 20, 50),
    mask: Mask = "history",
    block_bytes: int = 256 * 2**20,
) -> Evaluation:
    """Rank the whole catalogue for every user of a held-out part and average over users.

    Recall, NDCG, MRR and coverage at each cutoff, for all targets and for the slices `cold/` (never trained), `warm/` (the
    others), `tail/` (see `tail_items`), `new_users/` (no training event) and `missing_<modality>/`: their ranks are among
    all items. `cold_only/` ranks cold targets among cold items alone, so that no constant added to all cold scores moves it.

    Args:
        scorer: what is measured; a `VectorScorer` is multiplied out here, which is faster.
        dataset: the prepared data set.
        part: "validation" or "test".
        cutoffs: lengths of the list.
        mask: what the scorer is told and what is left out of the ranking, see `Question.of`.
        block_bytes: memory for a block of scores with its working copies.

    Raises:
        DataError: the part is empty.
        AvrecError: a score is not finite.
    """
    question = Question.of(dataset, part, mask)
    cutoffs = sorted(set(cutoffs))
    ranked = rank_targets(scorer, question, cutoffs, block_bytes)
    per_user: dict[str, Float64] = {}
    counts = _counts(question, ranked)
    for prefix, ranks, indptr in _slices(question, ranked):
        counts[f"{prefix}users"] = int(np.count_nonzero(np.diff(indptr)))
        counts[f"{prefix}targets"] = len(ranks)
        if len(ranks):
            per_user |= {prefix + metric.name: metric(ranks, indptr) for metric in _metrics(cutoffs)}
    metrics = {name: float(np.nanmean(values)) for name, values in per_user.items()}
    metrics |= {f"coverage@{cutoff}": coverage(shown) for cutoff, shown in ranked.shown.items()}
    return Evaluation(part, _protocol(question, counts), question.users, per_user, metrics, counts)


def rank_targets(scorer: Scorer, question: Question, cutoffs: Sequence[int], block_bytes: int = 256 * 2**20) -> Ranked:
    """Rank every target of a question in one pass over the users."""
    dataset = question.dataset
    order, cold = tie_order(dataset.items), dataset.cold_items
    shown = {cutoff: np.zeros(dataset.num_items, np.bool_) for cutoff in cutoffs}
    ranks, cold_ranks, in_history = [], [], 0
    for block in score_blocks(scorer, question, block_bytes):
        rows, items = flat(block.targets, block.scores.device)
        in_history += hide(block.scores, rows, items, block.masked)
        lists, values = top_of_scores(block.scores.numpy(), max(cutoffs), order)
        for cutoff, seen in shown.items():
            seen[lists[:, :cutoff][lists[:, :cutoff] >= 0]] = True
        ranks.append(ranks_among(block.scores, rows, items, torch.from_numpy(values)))
        cold_ranks.append(_cold_ranks(block, np.flatnonzero(cold), cold[block.targets[1]], max(cutoffs)))
    return Ranked(np.concatenate(ranks), np.concatenate(cold_ranks), shown, in_history)


def _cold_ranks(block: ScoreBlock, cold_items: Int64, is_cold: Bool, cutoff: int) -> Float64:
    """Ranks among cold items alone; the scores are already masked."""
    ranks = np.full(len(is_cold), np.nan)
    if is_cold.any():
        rows, items = flat(block.targets, block.scores.device)
        chosen = torch.from_numpy(is_cold)
        users, row = torch.unique(rows[chosen], return_inverse=True)
        scores = block.scores[users[:, None], torch.from_numpy(cold_items)]
        position = torch.from_numpy(np.searchsorted(cold_items, items[chosen].numpy()))
        ranks[is_cold] = ranks_among(scores, row, position, top_values(scores, cutoff))
    return ranks


def _metrics(cutoffs: Sequence[int]) -> list[Metric]:
    return [metric for cutoff in cutoffs for metric in (Recall(cutoff), NDCG(cutoff), MRR(cutoff))]


def _slices(question: Question, ranked: Ranked) -> Iterator[tuple[str, Float64, Int64]]:
    """Name, ranks and indptr of the whole, of each slice, and of the cold targets ranked among cold items alone."""
    indptr, item_idx = question.targets
    row = np.repeat(np.arange(len(question.users)), np.diff(indptr))
    slices = target_slices(question.dataset, question.users[row], item_idx)
    yield "", ranked.ranks, indptr
    for name, belongs in slices.items():
        yield f"{name}/", ranked.ranks[belongs], _indptr(row[belongs], len(question.users))
    yield "cold_only/", ranked.cold_ranks[slices["cold"]], _indptr(row[slices["cold"]], len(question.users))


def _indptr(row: Int64, num_rows: int) -> Int64:
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=num_rows), out=indptr[1:])
    return indptr


def _counts(question: Question, ranked: Ranked) -> dict[str, int]:
    dataset = question.dataset
    return {
        "items": dataset.num_items,
        "cold_items": int(dataset.cold_items.sum()),
        "users_without_target": dataset.num_users - len(question.users),
        "masked_events": int(question.history.user_counts[question.users].sum()),
        "targets_in_history": ranked.targets_in_history,
    }


def _protocol(question: Question, counts: Mapping[str, int]) -> str:
    masked = "train and validation" if question.mask == "history" and question.part == "test" else "train"
    words = [
        f"{question.part}: mean over {counts['users']} users with {counts['targets']} targets",
        f"all {counts['items']} items ranked, {counts['cold_items']} of them never trained",
        f"each user's {masked} items masked",
        "a tie counts half in a rank, lists break ties by a hash of the item id",
    ]
    if question.mask == "train" and question.part == "test":
        words.append("validation items unknown to the recommender and not masked")
    if counts["targets_in_history"]:
        words.append(f"{counts['targets_in_history']} targets stand in their user's history too and were ranked")
    if counts["users"] == counts["targets"]:
        words.append("one target a user, so recall is hit rate")
    return "; ".join(words)
