from dataclasses import replace

import numpy as np
import pytest

from avrec.core.arrays import Float32
from avrec.core.dataset import Dataset
from avrec.core.errors import DataError
from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery
from avrec.core.sparse import SparseRows
from avrec.evaluation import new_users as module
from avrec.evaluation.new_users import last_events, new_users
from avrec.evaluation.protocols import Protocol
from avrec.evaluation.stated_tags import stated_tags
from avrec.retrieval.side_facts import SideFacts
from tests.export.newcomer_world import CALM, LOUD, NUM_ITEMS, NUM_USERS, newcomer_dataset


class Tastes:
    """A scorer that knows the two tastes exactly: the share of calm and of loud in what it is told."""

    def __init__(self) -> None:
        self.item_vectors = np.zeros((NUM_ITEMS, 2), np.float32)
        self.item_vectors[list(CALM), 0] = 1.0
        self.item_vectors[list(LOUD), 1] = 1.0
        self.asked: list[UserQuery] = []

    def user_vectors(self, query: UserQuery) -> Float32:
        self.asked.append(query)
        vectors = np.zeros((len(query), 2))
        np.add.at(vectors, query.row, self.item_vectors[query.item_idx])
        return (vectors / np.maximum(np.diff(query.indptr), 1)[:, None]).astype(np.float32)

    def score(self, query: UserQuery) -> Float32:
        return self.user_vectors(query) @ self.item_vectors.T


@pytest.fixture
def dataset() -> Dataset:
    rows, columns = np.arange(20), (np.arange(20) + 1) % 10 + np.repeat([0, 10], 10)
    return replace(newcomer_dataset(), social=SparseRows.from_entries(rows, columns, NUM_USERS, NUM_USERS))


def test_each_amount_of_knowledge_finds_the_taste(dataset: Dataset) -> None:
    # At test 6 - 1 of 10 items of the taste are masked, the target is one of the other 5: recall@5 is 1, popularity's is not.
    found = new_users(Tastes(), dataset, "test", cutoffs=(5,))
    assert found is not None and found.num_users == 20 and list(found.rows) == ["0", "1", "2", "3", "0-3", "interests"]
    assert [row.recall["recall@5"] for row in found.rows.values()] == [1.0] * 5 + [0.95]  # user 0 states what he is not
    popular = {row.popularity["recall@5"] for row in found.rows.values()}
    assert len(popular) == 1 and popular.pop() < 0.8
    assert [row.answered_by for row in found.rows.values()] == [
        {"friends": 20}, {"history": 20}, {"history": 20}, {"history": 20}, {"friends": 20, "history": 60}, {"interests": 20},
    ]  # fmt: skip
    assert found.metrics["new_users/0-3/recall@5"] == 1.0
    assert found.metrics["new_users/interests/popularity/recall@5"] == found.rows["0"].popularity["recall@5"]


def test_without_friends_fields_answer_then_popularity(dataset: Dataset) -> None:
    fields = new_users(Tastes(), replace(dataset, social=None), "test", cutoffs=(5,))
    assert fields is not None and fields.rows["0"].answered_by == {"fields": 20}
    assert fields.rows["0"].recall["recall@5"] == 1.0
    bare = replace(dataset, social=None, user_fields={}, item_tags=None, user_interests=None)
    nothing = new_users(Tastes(), bare, "test", cutoffs=(5,))
    assert nothing is not None and list(nothing.rows) == ["0", "1", "2", "3", "0-3"]
    row = nothing.rows["0"]
    assert row.answered_by == {"popularity": 20} and row.recall == row.popularity
    mean = np.mean([nothing.rows[str(count)].recall["recall@5"] for count in range(4)])
    assert nothing.rows["0-3"].recall["recall@5"] == pytest.approx(mean)


def test_popularity_is_the_naive_one(dataset: Dataset) -> None:
    found = new_users(Tastes(), dataset, "test", cutoffs=(3,))
    counts, history = dataset.train.item_counts.astype(float), dataset.history("test")
    recalls = []
    for user in range(20):
        seen = history.item_idx[history.indptr[user] : history.indptr[user + 1]]
        (target,) = dataset.test.item_idx[dataset.test.indptr[user] : dataset.test.indptr[user + 1]]
        others = np.setdiff1d(np.arange(NUM_ITEMS), [*seen, target])
        rank = 1 + (counts[others] > counts[target]).sum() + 0.5 * (counts[others] == counts[target]).sum()
        recalls.append(float(rank <= 3))
    assert found is not None and found.rows["0"].popularity["recall@3"] == pytest.approx(np.mean(recalls))


def test_the_scorer_is_told_no_more_than_it_should(dataset: Dataset) -> None:
    scorer = Tastes()
    new_users(scorer, dataset, "test")
    teaching, *told = scorer.asked
    history = dataset.history("test")
    assert len(teaching) == NUM_USERS and [np.diff(query.indptr).tolist() for query in told] == [
        [n] * 20 for n in (1, 2, 3)
    ]
    for query in scorer.asked:
        assert (query.user_idx == -1).all(), "who pretends to be new has no vector of his own"
    for query in told:
        for row in range(20):
            items = query.item_idx[query.indptr[row] : query.indptr[row + 1]]
            known = history.item_idx[history.indptr[row] : history.indptr[row + 1]]
            assert items.tolist() == known[len(known) - len(items) :].tolist()
    assert (told[0].age_days > 0).all(), "asked when the first target happened"


def test_nobody_teaches_the_vector_that_answers_him(dataset: Dataset) -> None:
    # A tag that user 0 alone has: with his own vector in it, the answer would be his whole history.
    class Named(Tastes):
        def user_vectors(self, query: UserQuery) -> Float32:
            vectors = super().user_vectors(query)
            if len(query) == NUM_USERS:
                vectors[0] = [0.0, 9.0]  # what only his own history says
            return vectors

    names = dataset.item_tags.names
    only_his = SparseRows.from_entries(np.arange(10), np.zeros(10, np.int64), NUM_ITEMS, len(names))
    alone = replace(dataset, item_tags=replace(dataset.item_tags, rows=only_his), user_interests=None)
    keep = np.isin(alone.train.user_idx, np.arange(1, 10), invert=True)
    alone = replace(
        alone, train=alone.train.select(keep), validation=alone.validation.select(alone.validation.user_idx > 9)
    )
    found = new_users(Named(), alone, "test")
    assert found is not None and found.rows["interests"].answered_by == {"popularity": 11}


def test_stated_tags_are_the_heaviest_that_enough_items_carry(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = SideFacts.of(dataset, dataset.train)
    found = stated_tags(facts)
    assert found.column.tolist() == [1] + [0] * 9 + [1] * 10 + [0]  # user 0 stated `loud` himself, 20 `calm`
    assert found.row.tolist() == list(range(21)) and set(found.weight.tolist()) == {1.0}
    monkeypatch.setattr("avrec.evaluation.stated_tags.MIN_TAG_ITEMS", 11)
    assert stated_tags(facts).row.tolist() == [*range(10), 20]  # 11 items are calm, 10 loud: of 0 the profile speaks
    profile = np.array([[0.2, 0.5, 0.3], [0.0, 0.9, 0.1]], np.float32)
    row, column = np.nonzero(profile)
    made = replace(
        facts,
        profiles=SparseRows.from_entries(row, column, 2, 3, profile[row, column]),
        told=facts.told.taken(np.array([-1, -1])),
        item_tags=SparseRows.from_entries(np.arange(33) % 11, np.arange(33) // 11, 26, 3),
    )
    monkeypatch.setattr("avrec.evaluation.stated_tags.NUM_STATED", 2)
    # idf: log 3 for the first tag, log 2 for the others: .2 log 3 = .22, .5 log 2 = .35, .3 log 2 = .21
    assert stated_tags(made).dense().tolist() == [[1, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("timed", [True, False])
def test_the_last_events_or_drawn_ones(timed: bool) -> None:
    draw = np.random.default_rng(1)
    user = np.repeat(np.arange(40), draw.integers(0, 9, 40))
    item = np.concatenate([draw.permutation(50)[:count] for count in np.bincount(user, minlength=40)]).astype(np.int64)
    time = draw.integers(0, 10**6, len(user)) if timed else None
    history = Interactions.from_events(user, item, 40, 50, timestamp=time)
    smaller: list[set[int]] = [set()] * 40
    for count in (0, 1, 3, 20):
        found = last_events(history, count)
        for one in range(40):
            known = history.item_idx[history.indptr[one] : history.indptr[one + 1]].tolist()
            kept = found.item_idx[found.indptr[one] : found.indptr[one + 1]].tolist()
            assert len(kept) == min(count, len(known)) and set(kept) <= set(known) and smaller[one] <= set(kept)
            assert not timed or kept == known[len(known) - len(kept) :]
            smaller[one] = set(kept)
    if not timed:  # drawn, not the largest indices
        firsts = [
            last_events(history, 1).item_idx,
            np.array([history.item_idx[end - 1] for end in history.indptr[1:] if end]),
        ]
        assert firsts[0].mean() < firsts[1].mean()


def test_few_users_few_events_and_no_part(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_USERS", 7)
    some = new_users(Tastes(), dataset, "test")
    assert some is not None and some.num_users == 7 and sum(some.rows["0"].answered_by.values()) == 7
    short = replace(dataset, train=last_events(dataset.train, 2))
    assert new_users(Tastes(), short, "validation") is None
    empty = dataset.validation.select(np.zeros(len(dataset.validation), np.bool_))
    with pytest.raises(DataError, match="the validation part has no events"):
        new_users(Tastes(), replace(dataset, validation=empty), "validation")


def test_the_protocol_decides_what_is_known(dataset: Dataset) -> None:
    scorer = Tastes()
    new_users(scorer, dataset, "test", Protocol("train only", "train", lambda split, data: None))
    teaching = scorer.asked[0]
    assert np.diff(teaching.indptr).tolist() == dataset.train.user_counts.tolist()
