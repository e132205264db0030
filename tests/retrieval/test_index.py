"""The contract of every index; a new one plugs in by a line in `MAKERS`."""

import numpy as np
import pytest

from avrec.core.errors import AvrecError
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.live import LiveIndex
from avrec.retrieval.sharded import ShardedIndex
from tests.retrieval.world import catalogue, naive_search, share_found


def sharded(items, queries, ties):
    parts = [(0, 700), (700, 2200), (2200, len(items))]
    shards = [ExactIndex(items[start:stop], None if ties is None else ties[start:stop]) for start, stop in parts]
    start, stop = parts[1]
    shards[1] = IVFIndex.build(items[start:stop], queries, None if ties is None else ties[start:stop]).probing(40)
    return ShardedIndex(shards, items.shape[1])


def live(items, queries, ties):
    """The last 40 items arrive late, 30 others change, and two that were removed come back."""
    rng = np.random.default_rng(1)
    stale, num = items.copy(), len(items) - 40
    changed = rng.choice(num, 30, replace=False)
    stale[changed] = rng.standard_normal((30, items.shape[1]))
    index = LiveIndex(
        IVFIndex.build(stale[:num], queries, None if ties is None else ties[:num]).probing(40), stale[:num]
    )
    index.remove(np.array([3, 5]))
    given = np.concatenate([changed, [5, 3], np.arange(num, len(items))])
    index.upsert(given, items[given], None if ties is None else ties[num:])
    return index


MAKERS = {
    "exact": lambda items, queries, ties: ExactIndex(items, ties),
    "ivf": lambda items, queries, ties: IVFIndex.build(items, queries, ties).probing(40),
    "sharded": sharded,
    "live": live,
}


@pytest.fixture(scope="module")
def world():
    items, queries = catalogue()
    items[2000:2040] = items[100:140]  # twins: equal scores
    return items, queries[:200], queries[200:], np.random.default_rng(3).permutation(len(items))


@pytest.fixture(scope="module", params=MAKERS)
def index(request, world):
    items, training, _, ties = world
    return MAKERS[request.param](items, training, ties)


def check(found, scores, world, k, seen=None, allowed=None):
    """Whatever was found: no padding but at the end, nothing twice, true scores in falling order, nothing hidden."""
    items, _, queries, ties = world
    assert found.shape == scores.shape == (len(queries), k)
    assert found.dtype == np.int64
    assert scores.dtype == np.float32
    for row, (list_, values) in enumerate(zip(found, scores, strict=True)):
        shown = list_[list_ >= 0]
        hidden = set() if seen is None else set(seen[1][seen[0][row] : seen[0][row + 1]].tolist())
        may = len(items) if allowed is None else int(allowed.sum())
        may -= len([item for item in hidden if allowed is None or allowed[item]])
        assert len(shown) == min(k, may)
        assert (list_[len(shown) :] == -1).all() and np.isneginf(values[len(shown) :]).all()
        assert len(set(shown.tolist())) == len(shown)
        assert not hidden & set(shown.tolist())
        assert allowed is None or allowed[shown].all()
        np.testing.assert_allclose(values[: len(shown)], items[shown] @ queries[row], rtol=1e-4, atol=1e-4)
        pairs = zip(values[:-1], values[1:], list_[:-1], list_[1:], strict=True)
        assert all(left > right or (left == right and (b < 0 or ties[a] < ties[b])) for left, right, a, b in pairs)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_finds_nearly_all_of_the_best(index, world, k):
    items, _, queries, ties = world
    found, scores = index.search(queries, k)
    check(found, scores, world, k)
    assert share_found(found, naive_search(queries, items, k, tie_order=ties)) >= 0.97


@pytest.mark.parametrize("share", [0.5, 0.05, 0.001])
def test_filters_act_inside_the_search(index, world, share):
    items, _, queries, ties = world
    allowed = np.random.default_rng(2).random(len(items)) < share
    found, scores = index.search(queries, 20, None, allowed)
    check(found, scores, world, 20, allowed=allowed)
    assert share_found(found, naive_search(queries, items, 20, None, allowed, ties)) >= 0.97


def test_a_filter_that_leaves_what_nobody_likes_still_finds_the_best_of_it(index, world):
    items, _, queries, ties = world
    allowed = items @ queries.mean(axis=0) < 0
    found, scores = index.search(queries, 20, None, allowed)
    check(found, scores, world, 20, allowed=allowed)
    assert share_found(found, naive_search(queries, items, 20, None, allowed, ties)) >= 0.95


def test_what_each_user_saw_is_left_out_whatever_its_length(index, world):
    """Users saw none, few or most of their own best: a list of candidates that does not reckon with it would be empty."""
    items, _, queries, ties = world
    lengths = np.random.default_rng(4).choice([0, 1, 15, 16, 17, 70, 900, 2990], len(queries))
    best = naive_search(queries, items, 2990, tie_order=ties)
    seen = (
        np.concatenate([[0], np.cumsum(lengths)]),
        np.concatenate([row[:n] for row, n in zip(best, lengths, strict=True)]),
    )
    found, scores = index.search(queries, 20, seen)
    check(found, scores, world, 20, seen)
    assert share_found(found, naive_search(queries, items, 20, seen, None, ties)) >= 0.97
    allowed = np.arange(len(items)) % 2 == 0
    found, scores = index.search(queries, 20, seen, allowed)
    check(found, scores, world, 20, seen, allowed)


def test_nothing_allowed_gives_empty_lists(index, world):
    found, scores = index.search(world[2], 5, None, np.zeros(len(world[0]), bool))
    assert (found == -1).all()
    assert np.isneginf(scores).all()


def test_more_than_the_catalogue_is_the_whole_catalogue(index, world):
    items, _, queries, _ = world
    found, _ = index.search(queries[:3], len(items) + 5)
    assert (np.sort(found, axis=1) == [-1] * 5 + list(range(len(items)))).all()


def test_no_queries_give_no_lists(index, world):
    found, scores = index.search(world[2][:0], 5)
    assert found.shape == scores.shape == (0, 5)


def test_the_same_question_has_the_same_answer_alone_and_in_a_batch(index, world):
    _, _, queries, _ = world
    together, _ = index.search(queries, 20)
    alone = np.vstack([index.search(queries[row : row + 1], 20)[0] for row in range(20)])
    np.testing.assert_array_equal(alone, together[:20])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"k": 0}, "k is 0; expected at least 1"),
        ({"queries_BD": np.ones((2, 3), np.float32)}, r"queries of shape \(2, 3\); expected \(B, 20\)"),
        ({"allowed_N": np.ones(7, bool)}, r"allowed is bool \(7,\); expected bool \(3000,\)"),
        ({"allowed_N": np.ones(3000)}, "allowed is float64"),
        ({"seen": (np.array([0, 1]), np.array([4]))}, "seen has 1 rows .* for each of 2 queries"),
        ({"seen": (np.array([0, 1, 3]), np.array([4]))}, "ending at 3 of 1 items"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(index, world, change, text):
    request = {"queries_BD": world[2][:2], "k": 5} | change
    with pytest.raises(AvrecError, match=text):
        index.search(**request)


def test_a_query_that_is_not_finite_is_refused(index, world):
    queries = world[2][:3].copy()
    queries[1, 0] = np.nan
    with pytest.raises(AvrecError, match="finite"):
        index.search(queries, 5)
