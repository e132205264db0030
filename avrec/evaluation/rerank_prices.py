"""What re-ranking costs: the same lists in several orders, judged by what they find and by what they are like.

# B users in the block, C candidates of each, N items, U users, W width of the vectors, k length of the lists
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.dataset import Dataset, HeldOut, tie_order
from avrec.core.errors import ConfigError
from avrec.core.order import generator
from avrec.core.query import Scorer
from avrec.core.side import NumericField
from avrec.evaluation.blocks import ScoreBlock, score_blocks
from avrec.evaluation.lists import ListMeasures
from avrec.evaluation.metrics import NDCG, Recall
from avrec.evaluation.protocols import HONEST, Protocol
from avrec.evaluation.question import Question
from avrec.evaluation.ranking import Csr, flat, hide
from avrec.evaluation.top_lists import ListCollector
from avrec.retrieval.exact import top_of_scores
from avrec.retrieval.rerank import Reranking, age_days


@dataclass(frozen=True)
class RerankTrials:
    """Which ways of re-ranking are priced, and on whom.

    Attributes:
        part: the held-out part, `validation` or `test`.
        mmr_lambda: each by itself, without freshness.
        fresh_weight: each by itself, without diversity; none of them where the log has no time.
        half_life_days: see `Reranking`.
        pool: see `Reranking`.
        by: see `Reranking`.
        released: a column of the items table with the second since 1970 in which each item came out; when None, an item is
            as old as its first event in the history, and new while it has none.
        max_users: more are drawn at random from the seed 0.

    Raises:
        ConfigError: a value is out of its range.
    """

    part: HeldOut = "validation"
    mmr_lambda: Sequence[float] = (0.9, 0.7, 0.5, 0.3, 0.0)
    fresh_weight: Sequence[float] = (0.1, 0.3)
    half_life_days: float = 30.0
    pool: int = 100
    by: str | None = None
    released: str | None = None
    max_users: int = 10_000

    def __post_init__(self) -> None:
        if self.part not in ("validation", "test"):
            raise ConfigError(f"rerank: part is {self.part!r}; expected validation or test.")
        if self.max_users < 1:
            raise ConfigError(f"rerank: max_users is {self.max_users!r}; expected at least 1.")
        for weight in self.mmr_lambda:
            self._reranking(mmr_lambda=weight)
        for weight in self.fresh_weight:
            self._reranking(fresh_weight=weight)

    def check(self, dataset: Dataset, reads_content: bool) -> None:
        """Refuse, before anything is paid for, what a model or a data set cannot be asked.

        Raises:
            ConfigError: the model reads no content, or the items table has no such column of seconds.
        """
        if self.by == "content" and not reads_content:
            raise ConfigError("rerank.by is content, but this model reads none; use rerank.by=taste.")
        if self.released is not None and dataset.target(self.part).timestamp is not None:
            _release_times(dataset, self.released)

    def rerankings(self, with_time: bool) -> dict[str, Reranking]:
        """By name, the unchanged order first."""
        found = {"as ranked": self._reranking()}
        found |= {f"MMR, lambda {weight:g}": self._reranking(mmr_lambda=weight) for weight in self.mmr_lambda}
        if with_time:
            found |= {f"fresh, weight {weight:g}": self._reranking(fresh_weight=weight) for weight in self.fresh_weight}
        return found

    def _reranking(self, mmr_lambda: float = 1.0, fresh_weight: float = 0.0) -> Reranking:
        return Reranking(mmr_lambda, fresh_weight, self.half_life_days, self.pool, self.by)


SEEN_SHOWN = "seen items not hidden"


@dataclass(frozen=True)
class Prices:
    """What was found.

    Attributes:
        part: the held-out part.
        num_users: how many of them were asked.
        of_all: how many there are.
        cutoff: length of the lists.
        rows: by name, `recall@k`, `ndcg@k`, `diversity@k`, `novelty@k`, `coverage@k` and `mean_age_days@k`, as far as defined.
        alike_by: the vectors that re-ranking compared items by.
        diversity_by: the vectors that diversity is measured by, which are not those.
    """

    part: HeldOut
    num_users: int
    of_all: int
    cutoff: int
    rows: Mapping[str, Mapping[str, float]]
    alike_by: str
    diversity_by: str


def rerank_prices(
    scorer: Scorer,
    dataset: Dataset,
    trials: RerankTrials,
    alike: tuple[str, Float32],
    measures: ListMeasures,
    cutoff: int = 20,
    block_bytes: int = 256 * 2**20,
    protocol: Protocol = HONEST,
) -> Prices:
    """Make every user's list in every order, and once without hiding what he has seen.

    Recall and NDCG are those of the shown list, whose ties follow the fixed order; those of an evaluation count a tie as half.

    Args:
        scorer: what is re-ranked.
        dataset: the prepared data set.
        trials: the orders.
        alike: the name of the vectors that items are compared by, and these (N, W), of unit length or zero.
        measures: of the lists.
        cutoff: length of the lists.
        block_bytes: memory for a block of scores with its working copies.
        protocol: how the part is read.

    Raises:
        DataError: nobody has an event in the part.
        ConfigError: the items table has no such column, or it holds no numbers.
    """
    whole = protocol.question(dataset, trials.part)
    question = replace(whole, users=_sample(whole.users, trials.max_users))
    clock = _Clock.of(question, trials.released)
    rerankings = trials.rerankings(clock is not None)
    judges = {name: _Judge(cutoff, question, measures, clock) for name in [*rerankings, SEEN_SHOWN]}
    order = tie_order(dataset.items)
    width = max(trials.pool, cutoff)
    for block in score_blocks(scorer, question, block_bytes):
        judges[SEEN_SHOWN].add(block, *top_of_scores(block.scores.numpy(), cutoff, order))
        rows, items = flat(block.targets, block.scores.device)
        hide(block.scores, rows, items, block.masked)
        item_idx, scores = top_of_scores(block.scores.numpy(), width, order)
        ages = None if clock is None else clock.age_days(block.users, item_idx)
        for name, reranking in rerankings.items():
            judges[name].add(block, *reranking(item_idx, scores, cutoff, alike[1], ages))
    found = {name: judge.metrics() for name, judge in judges.items()}
    return Prices(
        trials.part, len(question.users), len(whole.users), cutoff, found, alike[0], judges[SEEN_SHOWN].space_name
    )


def _sample(users: Int64, max_users: int) -> Int64:
    if len(users) <= max_users:
        return users
    drawn: Int64 = np.sort(generator(0, 0, "rerank prices").choice(users, max_users, replace=False))
    return drawn


@dataclass(frozen=True)
class _Clock:
    """When items were first there, and when users are asked.

    Attributes:
        since_sec_N: infinite for an item that nobody had met.
        ahead_days: see `age_days`.
        now_sec_U: of every user of the data set.
    """

    since_sec_N: Float64
    ahead_days: float
    now_sec_U: Float64

    @classmethod
    def of(cls, question: Question, released: str | None) -> "_Clock | None":
        """None where the log has no time."""
        target = question.dataset.target(question.part)
        if target.timestamp is None or question.history.timestamp is None:
            return None
        now_sec_U = np.zeros(target.num_users)
        now_sec_U[question.users] = target.timestamp[target.indptr[question.users]]
        if released is not None:
            return cls(_release_times(question.dataset, released), np.inf, now_sec_U)
        first = question.history.first_timestamps
        return cls(np.where(first == np.iinfo(np.int64).max, np.inf, first), 0.0, now_sec_U)

    def age_days(self, users: Int64, item_idx_BC: Int64) -> Float64:
        """(B, C)."""
        return age_days(self.since_sec_N, item_idx_BC, self.now_sec_U[users], self.ahead_days)


def _release_times(dataset: Dataset, released: str) -> Float64:
    numeric = {name: field for name, field in dataset.item_fields.items() if isinstance(field, NumericField)}
    if released not in numeric:
        raise ConfigError(
            f"rerank.released: {released!r} is no column of numbers of the items table; {sorted(numeric)} are."
        )
    return np.where(numeric[released].present, numeric[released].values, np.inf)


class _Judge:
    """Takes up the lists of one order."""

    def __init__(self, cutoff: int, question: Question, measures: ListMeasures, clock: _Clock | None) -> None:
        self.space_name = measures.space.name
        self._cutoff = cutoff
        self._clock = clock
        self._lists = ListCollector([cutoff], question.dataset.num_items, measures, 0, question.alive_N)
        self._of_users: dict[str, list[Float64]] = {}

    def add(self, block: ScoreBlock, lists_Bk: Int64, scores_Bk: Float32) -> None:
        """Take up the lists of a block of users."""
        self._lists.add(lists_Bk, scores_Bk, block.targets, block.masked)
        ranks, indptr = _ranks(lists_Bk, block.targets), block.targets[0]
        for metric in (Recall(self._cutoff), NDCG(self._cutoff)):
            self._of_users.setdefault(metric.name, []).append(metric(ranks, indptr))
        if self._clock is not None:
            ages = self._clock.age_days(block.users, lists_Bk)
            known: Bool = (lists_Bk >= 0) & np.isfinite(ages)
            sums, counts = np.where(known, ages, 0.0).sum(axis=1), known.sum(axis=1)
            mean = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
            self._of_users.setdefault(f"mean_age_days@{self._cutoff}", []).append(mean)

    def metrics(self) -> dict[str, float]:
        """By name, over all users so far."""
        of_users = {name: np.concatenate(blocks) for name, blocks in self._of_users.items()} | self._lists.per_user
        means = {name: float(np.nanmean(values)) for name, values in of_users.items() if not np.isnan(values).all()}
        return means | dict(self._lists.of_catalogue)


def _ranks(lists_Bk: Int64, targets: Csr) -> Float64:
    """(T,) where each target stands in its user's list, infinite where it does not."""
    indptr, items = targets
    row = np.repeat(np.arange(len(lists_Bk)), np.diff(indptr))
    found = lists_Bk[row] == items[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)
