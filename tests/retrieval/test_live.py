import numpy as np
import pytest

from avrec.core.errors import AvrecError
from avrec.retrieval.index import ExactIndex
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.live import LiveIndex
from avrec.retrieval.sharded import ShardedIndex
from tests.retrieval.world import catalogue, naive_search, share_found


def rebuild(table, changed, ties):
    return ExactIndex(table, ties)


def test_a_worked_example():
    items = np.array([[1.0], [2.0], [3.0]], np.float32)
    live = LiveIndex(ExactIndex(items), items)
    one = np.ones((1, 1), np.float32)
    live.upsert(np.array([3, 0]), np.array([[2.5], [9.0]], np.float32))  # one new, one changed
    assert live.search(one, 5)[0].tolist() == [[0, 2, 3, 1, -1]]
    live.remove(np.array([2, 0]))  # one of the base, one that was edited
    assert live.search(one, 5)[0].tolist() == [[3, 1, -1, -1, -1]]
    assert (live.num_items, live.num_edits) == (4, 1)
    live.compact(rebuild)
    assert (live.num_items, live.num_edits) == (4, 0)
    assert live.search(one, 5)[0].tolist() == [[3, 1, -1, -1, -1]]
    live.upsert(np.array([2]), np.array([[0.5]], np.float32))  # back again, with another vector
    assert live.search(one, 5)[0].tolist() == [[3, 1, 2, -1, -1]]
    assert items.tolist() == [[1.0], [2.0], [3.0]]  # what was given is not written to


@pytest.mark.parametrize("approximate", [False, True])
@pytest.mark.parametrize("with_ties", [False, True])
def test_any_sequence_of_edits_answers_like_a_table_made_anew(approximate, with_ties):
    items, queries = catalogue(600, 40)
    rng = np.random.default_rng(5)
    ties = rng.permutation(900)
    table, alive = items[:500].copy(), np.ones(500, bool)
    own = ties[:500] if with_ties else None
    base = IVFIndex.build(table, queries, own) if approximate else ExactIndex(table, own)
    live = LiveIndex(base, table)

    def build(new, changed, order):
        return live._state.base.extended(new, changed, order) if approximate else ExactIndex(new, order)

    for step in range(12):
        num_new = int(rng.integers(0, 5))
        given = np.concatenate([rng.choice(len(table), 8, replace=False), len(table) + np.arange(num_new)])
        rng.shuffle(given)
        vectors = items[rng.integers(0, 600, len(given))]
        fresh = ties[len(table) : len(table) + num_new] if with_ties else None
        live.upsert(given, vectors, fresh)
        table = np.vstack([table, np.zeros((num_new, items.shape[1]), np.float32)])
        alive = np.concatenate([alive, np.ones(num_new, bool)])
        table[given], alive[given] = vectors, True
        gone = rng.choice(len(table), 10, replace=False)
        live.remove(gone)
        alive[gone] = False
        if step % 4 == 3:
            live.compact(build)
            assert live.num_edits == 0
        allowed = rng.random(len(table)) < 0.7
        seen = np.arange(41) * 5, rng.integers(0, len(table), 200)
        order = ties[: len(table)] if with_ties else None
        true = naive_search(queries, table, 12, seen, allowed & alive, order)
        found, _ = live.search(queries, 12, seen, allowed)
        if approximate:
            assert share_found(found, true) > 0.98
            assert (found >= 0).all()
        else:
            np.testing.assert_array_equal(found, true)
    assert live.num_items == len(table)


def test_an_extended_index_learns_nothing_anew_and_finds_the_new_items():
    items, queries = catalogue()
    index = IVFIndex.build(items[:2900], queries, np.arange(2900))
    table = items.copy()
    table[7] = items[8]
    wider = index.extended(table, np.array([7]), np.arange(3000))
    assert wider.centres_LR is index.centres_LR
    assert wider.nprobe == index.nprobe
    np.testing.assert_array_equal(np.delete(wider.cell_N[:2900], 7), np.delete(index.cell_N, 7))
    assert wider.cell_N[7] == wider.cell_N[8]
    assert share_found(wider.search(queries, 20)[0], naive_search(queries, table, 20)) > 0.97


def test_a_search_sees_an_edit_whole_or_not_at_all():
    """The base stands for a slow search: the edit that happens meanwhile must not reach the lists that it merges."""
    items = np.array([[1.0], [2.0]], np.float32)

    class Slow(ExactIndex):
        def search(self, queries_BD, k, seen=None, allowed_N=None):
            live.upsert(np.array([0, 2]), np.array([[5.0], [6.0]], np.float32))
            return super().search(queries_BD, k, seen, allowed_N)

    live = LiveIndex(Slow(items), items)
    assert live.search(np.ones((1, 1), np.float32), 3)[0].tolist() == [[1, 0, -1]]
    assert live.num_items == 3


@pytest.mark.parametrize(
    ("item_idx", "vectors", "ties", "text"),
    [
        ([1, 1], 2, None, "an item_idx occurs twice"),
        ([4], 1, None, "expected known items 0 to 2, or new ones from 3 on without a gap"),
        ([-1], 1, None, "item_idx -1 ... -1"),
        ([1], 2, None, r"vectors of shape \(2, 2\); expected \(1, 2\)"),
        ([3], 1, [1, 2], "tie_order has 2 numbers for 1 new items of an index without a tie order"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_and_changes_nothing(item_idx, vectors, ties, text):
    items = np.ones((3, 2), np.float32)
    live = LiveIndex(ExactIndex(items), items)
    with pytest.raises(AvrecError, match=text):
        live.upsert(np.array(item_idx), np.ones((vectors, 2), np.float32), None if ties is None else np.array(ties))
    assert (live.num_items, live.num_edits) == (3, 0)


def test_new_items_of_an_index_with_ties_need_theirs():
    items = np.ones((3, 2), np.float32)
    live = LiveIndex(ExactIndex(items, np.array([2, 0, 1])), items)
    with pytest.raises(AvrecError, match="tie_order has 0 numbers for 1 new items of an index with a tie order"):
        live.upsert(np.array([3]), np.ones((1, 2), np.float32))
    live.upsert(np.array([3]), np.ones((1, 2), np.float32), np.array([-1]))
    assert live.search(np.ones((1, 2), np.float32), 4)[0].tolist() == [[3, 1, 2, 0]]
    with pytest.raises(AvrecError, match="vectors row 0 holds a value that is not finite"):
        live.upsert(np.array([3]), np.full((1, 2), np.nan, np.float32))


def test_other_refusals():
    items = np.ones((3, 2), np.float32)
    live = LiveIndex(ExactIndex(items), items)
    with pytest.raises(AvrecError, match=r"item_idx 1 ... 3; expected 0 to 2"):
        live.remove(np.array([1, 3]))
    with pytest.raises(AvrecError, match="2 vectors for an index of 3 items"):
        LiveIndex(ExactIndex(items), items[:2])
    with pytest.raises(AvrecError, match="0 shards; expected at least one"):
        ShardedIndex([], 2)
    with pytest.raises(AvrecError, match="all or none with tie_order"):
        ShardedIndex([ExactIndex(items), ExactIndex(items, np.arange(3))], 2)


def test_shards_on_disk_are_one_catalogue(tmp_path):
    items, queries = catalogue(900, 20)
    maps = []
    for number, rows in enumerate(np.array_split(items, 3)):
        np.save(tmp_path / f"{number}.npy", rows)
        maps.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    index = ShardedIndex([ExactIndex(rows) for rows in maps], items.shape[1])
    assert index.num_items == 900
    np.testing.assert_array_equal(index.search(queries, 15)[0], naive_search(queries, items, 15))
