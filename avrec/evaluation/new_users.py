"""New users: the users of a held-out part, of whom the recommender is told only a few events, or their interests alone.

Everything they are known to have consumed stays masked, and they were in training, so this asks how much a recommender needs
to be told, not what it would do without them. Their own history teaches no vector that answers them: tags and groups are
averaged over the users of the other folds, and friends are served from their own histories alone.

Axes: B users in the batch, U users, N items, W width of a user's vector.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from avrec.core.arrays import Bool, Float32, Float64, Int64
from avrec.core.dataset import Dataset, HeldOut
from avrec.core.interactions import Interactions
from avrec.core.order import generator
from avrec.core.query import UserQuery, held_out_query
from avrec.evaluation.blocks import VectorScorer
from avrec.evaluation.evaluate import rank_targets
from avrec.evaluation.metrics import Recall
from avrec.evaluation.protocols import HONEST, Protocol
from avrec.evaluation.question import Question
from avrec.evaluation.stated_tags import stated_tags
from avrec.evaluation.top_lists import ListCollector
from avrec.retrieval.newcomers import How, Newcomers, NewcomerVectors
from avrec.retrieval.side_facts import SideFacts
from avrec.retrieval.told import Told, empty

MAX_EVENTS = 3
MAX_USERS = 2000
NUM_FOLDS = 5
BLOCK_USERS = 1024
FEW, INTERESTS = f"0-{MAX_EVENTS}", "interests"


@dataclass(frozen=True)
class NewUserRow:
    """One amount of knowledge.

    Attributes:
        recall: by name, such as `recall@20`.
        popularity: of the same users, shown what most people met.
        answered_by: users by what they were answered from; in `0-3` summed over its rows, so each counts four times.
    """

    recall: Mapping[str, float]
    popularity: Mapping[str, float]
    answered_by: Mapping[How, int]


@dataclass(frozen=True)
class NewUsers:
    """What was measured.

    Attributes:
        part: the held-out part.
        num_users: users of every row.
        rows: by what was told: `0`, `1` ... events; `0-3`, the mean of these; `interests`, where there are tags.
    """

    part: HeldOut
    num_users: int
    rows: Mapping[str, NewUserRow]

    @property
    def metrics(self) -> dict[str, float]:
        """Keys such as `new_users/0-3/recall@20` and `new_users/0-3/popularity/recall@20`."""
        found: dict[str, float] = {}
        for name, row in self.rows.items():
            found |= {f"new_users/{name}/{metric}": value for metric, value in row.recall.items()}
            found |= {f"new_users/{name}/popularity/{metric}": value for metric, value in row.popularity.items()}
        return found


def new_users(
    scorer: VectorScorer,
    dataset: Dataset,
    part: HeldOut,
    protocol: Protocol = HONEST,
    cutoffs: Sequence[int] = (10, 20),
) -> NewUsers | None:
    """Measure a scorer on users of whom it is told little.

    At most `MAX_USERS` users with a target and at least `MAX_EVENTS` known events, the same for every row. A history is the
    last events; where there is no time, events that are drawn. Who has none is answered from friends, fields or popularity,
    as far as the data set knows them.

    Args:
        scorer: whose user vectors live in one space.
        dataset: the prepared data set.
        part: "validation" or "test".
        protocol: what is known and masked.
        cutoffs: lengths of the list.

    Returns:
        None where no user has that many events.

    Raises:
        DataError: the part is empty.
    """
    question = protocol.question(dataset, part)
    users = question.users[question.history.user_counts[question.users] >= MAX_EVENTS]
    if not len(users):
        return None
    users = users[np.unique(np.linspace(0, len(users) - 1, min(MAX_USERS, len(users))).astype(np.int64))]
    ruler = _Ruler(scorer, replace(question, users=users), cutoffs)
    answers = _Answers(scorer, question.history, SideFacts.of(dataset, question.history), users)
    rows = {"0": ruler.row(answers.without_history())}
    for count in range(1, MAX_EVENTS + 1):
        query = held_out_query(dataset, part, users, last_events(question.history, count))
        vectors, how = scorer.user_vectors(query.as_strangers()), tuple[How, ...](["history"] * len(users))
        rows[str(count)] = ruler.row(NewcomerVectors(vectors, how))
    rows[FEW] = _mean(list(rows.values()))
    if answers.facts.item_tags.num_columns:
        rows[INTERESTS] = ruler.row(answers.from_interests())
    return NewUsers(part, len(users), rows)


def last_events(history: Interactions, count: int) -> Interactions:
    """The last events of each user; where there is no time, events that are drawn, more of them being the same and others."""
    if history.timestamp is None:
        drawn = generator(0, 0, "new users").random(len(history))
        order = np.lexsort((drawn, history.user_idx))
    else:
        order = np.arange(len(history))[::-1]
        order = order[np.argsort(history.user_idx[order], kind="stable")]
    place = np.empty(len(history), np.int64)
    place[order] = np.arange(len(history)) - np.repeat(history.indptr[:-1], history.user_counts)
    return history.select(place < count)


class _Answers:
    """Vectors for users who pretend to be new."""

    def __init__(self, scorer: VectorScorer, history: Interactions, facts: SideFacts, users: Int64) -> None:
        self.facts = facts
        self._users = users
        self._taught_U: Bool = history.user_counts > 0
        self._vectors_UW = np.concatenate(
            [
                scorer.user_vectors(UserQuery.of_users(block, history).as_strangers())
                for block in np.array_split(np.arange(history.num_users), -(-history.num_users // BLOCK_USERS))
            ]
        )

    def without_history(self) -> NewcomerVectors:
        """From friends and fields; interests are left out, since they may come from what was consumed."""
        told = self.facts.told.taken(self._users)
        return self._answered(replace(told, interests=empty(len(told), told.interests.num_columns)))

    def from_interests(self) -> NewcomerVectors:
        """From stated tags alone."""
        nothing = self.facts.told.taken(np.full(len(self._users), -1))
        return self._answered(replace(nothing, interests=stated_tags(self.facts).taken(self._users)))

    def _answered(self, told: Told) -> NewcomerVectors:
        """Each fold is answered by what the users of the others teach."""
        vectors = np.zeros((len(self._users), self._vectors_UW.shape[1]), np.float32)
        how: list[How] = ["popularity"] * len(self._users)
        for fold in range(NUM_FOLDS):
            teachers_U = self._taught_U & (np.arange(len(self._taught_U)) % NUM_FOLDS != fold)
            newcomers = Newcomers.of(self._vectors_UW, teachers_U, self.facts.profiles, self.facts.told.groups)
            rows = np.flatnonzero(self._users % NUM_FOLDS == fold)
            nothing = np.zeros((len(rows), vectors.shape[1]), np.float32)
            found = newcomers.answer(told.taken(rows), nothing, np.zeros(len(rows), np.int64), self._vectors_of)
            vectors[rows] = found.vectors
            for row, way in zip(rows.tolist(), found.how, strict=True):
                how[row] = way
        return NewcomerVectors(vectors, tuple(how))

    def _vectors_of(self, users: Int64) -> tuple[Float32, Bool]:
        return self._vectors_UW[users], self._taught_U[users]


class _Ruler:
    """Recall of vectors, and of popularity, for the users of one question."""

    def __init__(self, scorer: VectorScorer, question: Question, cutoffs: Sequence[int]) -> None:
        self._question = question
        self._metrics = [Recall(cutoff) for cutoff in cutoffs]
        self._item_vectors = scorer.item_vectors
        counts = question.dataset.train.item_counts.astype(np.float32)
        self._popular = self._measured(_Given(counts[:, None], np.ones((len(question.users), 1), np.float32), question))

    def row(self, answered: NewcomerVectors) -> NewUserRow:
        """What users get who are answered like this."""
        found = self._measured(_Given(self._item_vectors, answered.vectors, self._question))
        is_popular = np.array(answered.how) == "popularity"
        recall = {name: np.where(is_popular, self._popular[name], values).mean() for name, values in found.items()}
        popularity = {name: values.mean() for name, values in self._popular.items()}
        return NewUserRow(_plain(recall), _plain(popularity), dict(Counter(answered.how)))

    def _measured(self, scorer: "_Given") -> dict[str, Float64]:
        """(B,) of every user, by metric."""
        cutoffs = [metric.cutoff for metric in self._metrics]
        collector = ListCollector(cutoffs, self._question.dataset.num_items, None, 0)
        ranks = rank_targets(scorer, self._question, max(cutoffs), collector).ranks
        return {metric.name: metric(ranks, self._question.targets[0]) for metric in self._metrics}


@dataclass(frozen=True)
class _Given:
    """A scorer of vectors that stand already: (N, W) of items, and (B, W) of a question's users."""

    item_vectors: Float32
    vectors: Float32
    question: Question

    def user_vectors(self, query: UserQuery) -> Float32:
        """(B, W)."""
        return self.vectors[np.searchsorted(self.question.users, query.user_idx)]

    def score(self, query: UserQuery) -> Float32:
        """(B, N)."""
        scores: Float32 = self.user_vectors(query) @ self.item_vectors.T
        return scores


def _mean(rows: Sequence[NewUserRow]) -> NewUserRow:
    recall = {name: np.mean([row.recall[name] for row in rows]) for name in rows[0].recall}
    popularity = {name: np.mean([row.popularity[name] for row in rows]) for name in rows[0].popularity}
    answered_by = sum((Counter(row.answered_by) for row in rows), Counter[How]())
    return NewUserRow(_plain(recall), _plain(popularity), dict(answered_by))


def _plain(values: Mapping[str, np.floating]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
