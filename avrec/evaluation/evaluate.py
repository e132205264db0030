"""One evaluation of one recommender: all items ranked, metrics by user, slices beside the overall number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from avrec.core.arrays import Bool, Float64, Int64
from avrec.core.dataset import Dataset, HeldOut, tie_order
from avrec.core.query import Scorer
from avrec.evaluation.blocks import ScoreBlock, score_blocks
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.metrics import MRR, NDCG, AveragePrecision, HitRate, Metric, Recall
from avrec.evaluation.protocols import HONEST, Protocol
from avrec.evaluation.question import Question
from avrec.evaluation.ranking import flat, hide, ranks_among, top_values
from avrec.evaluation.slices import target_slices
from avrec.evaluation.top_lists import ListCollector, TopLists
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
        metrics: the mean over the users who have such a target, and `coverage@k`; with `measures` also `gini@k`.
        counts: users, targets and items, of the whole and of each slice.
        protocol_name: one of `PROTOCOLS`.
        diversity_by: the vectors that diversity is measured by; None where lists were not measured.
        top: what every user was shown, where it was to be kept.
    """

    part: HeldOut
    protocol: str
    user_idx: Int64
    per_user: Mapping[str, Float64]
    metrics: Mapping[str, float]
    counts: Mapping[str, int]
    protocol_name: str = HONEST.name
    diversity_by: str | None = None
    top: TopLists | None = None


@dataclass(frozen=True)
class Ranked:
    """Where the targets of a question stand.

    Attributes:
        ranks: (T,) among all items, infinite above the largest cutoff.
        cold_ranks: (T,) among the never-trained items alone, NaN for a target that is not one of them.
        targets_in_history: targets that their user's history holds too; they are ranked, not masked.
    """

    ranks: Float64
    cold_ranks: Float64
    targets_in_history: int


def evaluate(
    scorer: Scorer,
    dataset: Dataset,
    part: HeldOut,
    cutoffs: Sequence[int] = (10, 20, 50),
    protocol: Protocol = HONEST,
    block_bytes: int = 256 * 2**20,
    measures: ListMeasures | None = None,
    keep: int = 0,
) -> Evaluation:
    """Rank the whole catalogue for every user of a held-out part and average over users.

    Recall, NDCG, MRR and coverage at each cutoff, for all targets and for the slices `cold/` (never trained), `warm/` (the
    others), `tail/` (see `tail_items`), `new_users/` (no training event) and `missing_<modality>/`: their ranks are among
    all items. `cold_only/` ranks cold targets among cold items alone, so that no constant added to all cold scores moves it.
    With `measures` also MAP and hit rate, and of the lists Gini, novelty, diversity and popularity calibration.

    Args:
        scorer: what is measured; a `VectorScorer` is multiplied out here, which is faster.
        dataset: the prepared data set.
        part: "validation" or "test".
        cutoffs: lengths of the list.
        protocol: what the scorer is told and what is left out of the ranking.
        block_bytes: memory for a block of scores with its working copies.
        measures: of the lists; the metrics of every day alone when None, which choose and calibrate.
        keep: how many items of each user's list are kept in `top`.

    Raises:
        DataError: the part is empty.
        AvrecError: a score is not finite.
    """
    question = protocol.question(dataset, part)
    cutoffs = sorted(set(cutoffs))
    collector = ListCollector(cutoffs, dataset.num_items, measures, keep, question.alive_N)
    ranked = rank_targets(scorer, question, max(cutoffs), collector, block_bytes)
    per_user: dict[str, Float64] = {}
    counts = _counts(question, ranked)
    for prefix, ranks, indptr in _slices(question, ranked):
        counts[f"{prefix}users"] = int(np.count_nonzero(np.diff(indptr)))
        counts[f"{prefix}targets"] = len(ranks)
        if len(ranks):
            more = measures is not None and prefix == ""
            per_user |= {prefix + metric.name: metric(ranks, indptr) for metric in _metrics(cutoffs, more)}
    per_user |= collector.per_user
    metrics = {name: float(np.nanmean(values)) for name, values in per_user.items()}
    metrics |= collector.of_catalogue
    space = None if measures is None else measures.space.name
    words = _protocol(question, counts)
    return Evaluation(part, words, question.users, per_user, metrics, counts, protocol.name, space, collector.kept)


def rank_targets(
    scorer: Scorer, question: Question, cutoff: int, collector: ListCollector, block_bytes: int = 256 * 2**20
) -> Ranked:
    """Rank every target of a question in one pass over the users.

    Args:
        scorer: what is measured.
        question: whom to ask about.
        cutoff: ranks above it are reported as infinity.
        collector: takes up the lists.
        block_bytes: memory for a block of scores with its working copies.
    """
    dataset = question.dataset
    order, cold = tie_order(dataset.items), dataset.cold_items
    ranks, cold_ranks, in_history = [], [], 0
    for block in score_blocks(scorer, question, block_bytes):
        rows, items = flat(block.targets, block.scores.device)
        in_history += hide(block.scores, rows, items, block.masked)
        lists, values = top_of_scores(block.scores.numpy(), collector.length, order)
        collector.add(lists, values, block.targets, block.masked)
        ranks.append(ranks_among(block.scores, rows, items, torch.from_numpy(values[:, :cutoff])))
        cold_ranks.append(_cold_ranks(block, np.flatnonzero(cold), cold[block.targets[1]], cutoff))
    return Ranked(np.concatenate(ranks), np.concatenate(cold_ranks), in_history)


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


def _metrics(cutoffs: Sequence[int], more: bool) -> list[Metric]:
    kinds: list[Callable[[int], Metric]] = [Recall, NDCG, MRR]
    if more:
        kinds += [AveragePrecision, HitRate]
    return [kind(cutoff) for cutoff in cutoffs for kind in kinds]


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
    ranked_items = np.ones(dataset.num_items, np.bool_) if question.alive_N is None else question.alive_N
    return {
        "items": int(ranked_items.sum()),
        "cold_items": int((dataset.cold_items & ranked_items).sum()),
        "users_without_target": dataset.num_users - len(question.users),
        "masked_events": int(question.history.user_counts[question.users].sum()),
        "targets_in_history": ranked.targets_in_history,
    }


def _protocol(question: Question, counts: Mapping[str, int]) -> str:
    masked = "train and validation" if question.mask == "history" and question.part == "test" else "train"
    candidates = "items" if question.alive_N is None else "items alive in its window"
    words = [
        f"{question.part}: mean over {counts['users']} users with {counts['targets']} targets",
        f"all {counts['items']} {candidates} ranked, {counts['cold_items']} of them never trained",
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
