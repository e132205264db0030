import numpy as np
import pytest

from avrec.core.errors import AvrecError, MissingExtraError
from avrec.retrieval import cell_lists, clusters
from avrec.retrieval.candidates import best_candidates
from avrec.retrieval.cell_lists import exact_scores
from avrec.retrieval.ivf import IVFIndex
from avrec.retrieval.projection import Projection
from avrec.retrieval.seen import is_seen, seen_among, seen_of_rows
from tests.retrieval.world import catalogue, naive_search, share_found


@pytest.fixture(scope="module")
def world():
    return catalogue(num_queries=400)


@pytest.fixture(scope="module")
def index(world):
    return IVFIndex.build(world[0], world[1][:300])


def scanned(index, monkeypatch):
    """The number of probed cells and candidates of each scan."""
    calls = []
    original = index._lists.scan

    def scan(queries, count, num_probes, filters=None):
        calls.append((len(queries), count, num_probes))
        return original(queries, count, num_probes, filters)

    monkeypatch.setattr(index._lists, "scan", scan)
    return calls


def test_the_projection_keeps_scores_up_to_a_constant_and_a_factor(world):
    items, queries = world
    projection = Projection.fit(items, queries[:300], kept=1.0)
    scores = queries[300:] @ (items - items.mean(axis=0)).T
    reduced = projection.queries(queries[300:]) @ projection.items(items).T
    assert projection.width == 32  # 20, in steps of 16
    factor = (scores * reduced).sum() / (reduced**2).sum()
    np.testing.assert_allclose(factor * reduced, scores, atol=2e-3 * scores.std())


def test_the_projection_drops_what_no_user_looks_at(world):
    """The four loudest coordinates hold nearly all variance of the items and none of the scores: 16 of 20 stay."""
    items, queries = world
    projection = Projection.fit(items, queries[:300], kept=0.998)
    assert projection.width == 16
    scores = queries[300:] @ (items - items.mean(axis=0)).T
    reduced = projection.queries(queries[300:]) @ projection.items(items).T
    for mine, true in zip(reduced, scores, strict=True):
        assert np.corrcoef(mine, true)[0, 1] > 0.998


def test_codes_suit_half_precision_whatever_the_scale_of_the_vectors(world):
    items, queries = world
    for scale in (1e-6, 1e6):
        index = IVFIndex.build(items * np.float32(scale), queries[:300]).probing(40)
        assert np.abs(index.projection.items(items * np.float32(scale))).max() < 100
        found, _ = index.search(queries[300:], 10)
        assert share_found(found, naive_search(queries[300:], items, 10)) > 0.97


def test_a_fraction_of_the_cells_finds_nearly_everything(world, index, monkeypatch):
    items, queries = world
    calls = scanned(index, monkeypatch)
    found, _ = index.probing(24).search(queries[300:], 10)
    assert calls == [(100, 20, 24)]  # one scan, 10 spare candidates, 24 of 219 cells
    assert index.num_cells == 219
    assert share_found(found, naive_search(queries[300:], items, 10)) > 0.97


def test_a_filter_probes_as_many_allowed_items_as_without_one_and_twice(world, index, monkeypatch):
    queries = world[1][300:]
    calls = scanned(index, monkeypatch)
    index.probing(10).search(queries, 10, None, np.arange(3000) % 2 == 0)
    assert calls[0][2] == pytest.approx(2 * 2 * 10, abs=2)
    calls.clear()
    cells = np.isin(index.cell_N, np.arange(100))  # cells that hold nothing allowed are not probed at all
    index.probing(10).search(queries, 10, None, cells)
    assert 15 < calls[0][2] < 30
    calls.clear()
    index.probing(10).search(queries, 10, None, np.arange(3000) < 60)
    assert calls == []  # exact


def test_cells_without_an_allowed_item_cost_no_probe(world, index, monkeypatch):
    """Only the cells that a user likes least hold what may be shown: the scan alone must fill the list."""
    _, queries = world
    away = np.argsort(index.centres_LR @ index.projection.queries(queries[300:301])[0])[:100]
    allowed = np.isin(index.cell_N, away)
    monkeypatch.setattr(index, "_complete", lambda *_: None)
    calls = scanned(index, monkeypatch)
    found, _ = index.probing(8).search(queries[300:301], 20, None, allowed)
    assert calls[0][2] < 50
    assert allowed[found].all()
    assert (found >= 0).all()


def test_long_lists_probe_more_and_the_longest_are_exact(world, index, monkeypatch):
    items, queries = world
    calls = scanned(index, monkeypatch)
    probing = index.probing(10)
    probing.search(queries[300:], 300)
    assert calls == [(100, 450, 30)]
    found, _ = probing.search(queries[300:], 2000)
    assert len(calls) == 1
    np.testing.assert_array_equal(found, naive_search(queries[300:], items, 2000))


def test_users_are_grouped_by_the_length_of_what_they_saw(world, index, monkeypatch):
    queries = world[1][300:304]
    calls = scanned(index, monkeypatch)
    seen = np.array([0, 0, 3, 20, 84]), np.concatenate([np.arange(3), np.arange(17), np.arange(64)])
    index.probing(10).search(queries, 10, seen)
    assert [(rows, count) for rows, count, _ in calls] == [(1, 20), (1, 36), (2, 84)]


def test_other_probes_share_the_lists(index):
    assert index.probing(3)._lists is index._lists
    assert index.probing(3).nprobe == 3
    assert index.nprobe == 32


def test_memory_mapped_vectors_are_read_where_they_lie(world, index, tmp_path):
    items, queries = world
    np.save(tmp_path / "items.npy", items)
    mapped = np.load(tmp_path / "items.npy", mmap_mode="r")
    found = IVFIndex(mapped, None, index.projection, index.centres_LR, index.cell_N)
    assert np.shares_memory(found.item_vectors, mapped)
    for mine, theirs in zip(found.search(queries, 10), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_same_seed_builds_the_same_index(world, index):
    again = IVFIndex.build(world[0], world[1][:300])
    np.testing.assert_array_equal(again.cell_N, index.cell_N)
    np.testing.assert_array_equal(again.centres_LR, index.centres_LR)
    other = IVFIndex.build(world[0], world[1][:300], seed=1)
    assert (other.cell_N != index.cell_N).any()


@pytest.mark.parametrize("num_items", [1, 2, 17])
def test_tiny_catalogues_work(num_items):
    items, queries = catalogue(num_items, 12)
    found, _ = IVFIndex.build(items, queries).search(queries, 3)
    np.testing.assert_array_equal(found, naive_search(queries, items, 3))


def test_items_that_are_all_alike_come_in_the_order_of_ties():
    ties = np.random.default_rng(0).permutation(500)
    index = IVFIndex.build(np.ones((500, 4), np.float32), np.ones((9, 4), np.float32), ties)
    assert index.search(np.ones((1, 4), np.float32), 500)[0].tolist() == [np.argsort(ties).tolist()]


def test_vectors_that_are_not_finite_are_refused(world):
    items, queries = world[0].copy(), world[1].copy()
    items[77, 3] = np.inf
    with pytest.raises(AvrecError, match="row 77 holds a value that is not finite"):
        IVFIndex.build(items, queries)
    queries[5] = np.nan
    with pytest.raises(AvrecError, match="queries row 5"):
        IVFIndex.build(world[0], queries)
    with pytest.raises(AvrecError, match="3000 items, 0 queries"):
        IVFIndex.build(world[0], queries[:0])


def test_a_score_that_overflows_is_named():
    items, queries = np.full((2, 4), 1e38, np.float32), np.full((1, 4), 10, np.float32)
    with pytest.raises(AvrecError, match="query 0 for item 1 is inf; expected a finite number"):
        exact_scores(items, queries, np.array([[1, -1]]))


def test_without_faiss_the_extra_is_named(world, monkeypatch):
    def absent(module, extra):
        raise MissingExtraError(f"no {module}: avrec[{extra}]")

    monkeypatch.setattr(clusters, "require", absent)
    monkeypatch.setattr(cell_lists, "require", absent)
    with pytest.raises(MissingExtraError, match=r"avrec\[index\]"):
        IVFIndex.build(*world)


def test_exact_scores_are_inner_products_and_empty_places_are_below_all():
    items = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    queries = np.array([[1, 0], [1, 1]], np.float32)
    scores = exact_scores(items, queries, np.array([[2, 0], [-1, 1]]))
    assert scores.tolist() == [[5.0, 1.0], [-np.inf, 7.0]]


def test_best_candidates_by_hand():
    found = np.array([[7, 3, 5, -1], [1, 2, 3, 4]])
    scores = np.array([[1, 2, 1, -np.inf], [4, 4, 4, 4]], np.float32)
    assert best_candidates(found, scores, 2)[0].tolist() == [[3, 5], [1, 2]]
    ties = np.array([0, 9, 8, 7, 6, 5, 4, 3])
    assert best_candidates(found, scores, 2, ties)[0].tolist() == [[3, 7], [4, 3]]
    longer, values = best_candidates(found, scores, 6)
    assert longer.tolist() == [[3, 5, 7, -1, -1, -1], [1, 2, 3, 4, -1, -1]]
    assert values[0].tolist() == [2, 1, 1, -np.inf, -np.inf, -np.inf]


def test_lists_of_seen_items_by_hand():
    seen = np.array([0, 2, 2, 5]), np.array([4, 1, 9, 4, 0])
    rows = seen_of_rows(seen, np.array([2, 1, 0]))
    assert [part.tolist() for part in rows] == [[0, 3, 3, 5], [9, 4, 0, 4, 1]]
    among = seen_among(seen, np.array([1, 4, 8]))
    assert [part.tolist() for part in among] == [[0, 2, 2, 3], [1, 0, 1]]
    assert [part.tolist() for part in seen_among(seen, np.empty(0, np.int64))] == [[0, 0, 0, 0], []]
    candidates = np.array([[1, 9], [4, -1], [0, 4]])
    assert is_seen(seen, candidates).tolist() == [[True, False], [False, False], [True, True]]
    assert not is_seen((np.zeros(4, np.int64), np.empty(0, np.int64)), candidates).any()
