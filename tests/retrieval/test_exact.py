import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avrec.core.errors import AvrecError
from avrec.retrieval.exact import _columns, top_k, top_of_scores


def naive_top(scores, k, order):
    """One row at a time: a full sort by (-score, order), -inf left out."""
    columns = np.full((len(scores), k), -1)
    for row, values in enumerate(scores):
        best = [column for column in np.lexsort((order, -values)) if values[column] > -np.inf][:k]
        columns[row, : len(best)] = best
    return columns


def scores_with_ties(seed, rows, columns, levels):
    """Random scores on a grid of 2 levels + 1 values (or without ties), both zeros among them, a fifth and one row hidden."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((rows, columns)).astype(np.float32)
    if levels:
        scores = (rng.integers(-levels, levels + 1, (rows, columns)) / 2).astype(np.float32)
        scores[scores == 0] *= np.where(rng.random((scores == 0).sum()) < 0.5, -1, 1)
    scores[rng.random(scores.shape) < 0.2] = -np.inf
    scores[rows // 2] = -np.inf
    return scores, rng.permutation(columns)


@pytest.mark.parametrize("columns", [1, 2, 17, 64, 401, 1000, 5003])
@pytest.mark.parametrize("k", [1, 3, 20, 50])
@pytest.mark.parametrize("levels", [0, 1, 30, 1000])
def test_equals_a_full_sort(columns, k, levels):
    scores, order = scores_with_ties(columns + k, 9, columns, levels)
    found, values = top_of_scores(scores, k, order)
    np.testing.assert_array_equal(found, naive_top(scores, k, order))
    np.testing.assert_array_equal(values, np.where(found < 0, -np.inf, np.take_along_axis(scores, found, axis=1)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 700), st.integers(1, 40), st.integers(0, 4))
def test_equals_a_full_sort_on_any_shape(seed, rows, columns, k, levels):
    scores, order = scores_with_ties(seed, rows, columns, levels)
    np.testing.assert_array_equal(top_of_scores(scores, k, order)[0], naive_top(scores, k, order))


def test_a_plateau_of_equal_scores_is_cut_by_the_tie_order():
    scores = np.zeros((2, 4000), np.float32)
    scores[1, 3999] = 1.0
    order = np.arange(4000)[::-1]
    found, _ = top_of_scores(scores, 3, order)
    assert found.tolist() == [[3999, 3998, 3997], [3999, 3998, 3997]]
    assert top_of_scores(scores, 3)[0].tolist() == [[0, 1, 2], [3999, 0, 1]]


def test_a_worked_example():
    users = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    items = np.array([[3.0, 0.0], [1.0, 5.0], [2.0, 4.0]], np.float32)
    found, scores = top_k(users, items, 2)
    assert found.tolist() == [[0, 2], [1, 2]]
    assert scores.tolist() == [[3.0, 2.0], [5.0, 4.0]]
    assert found.dtype == np.int64
    assert scores.dtype == np.float32


def test_seen_items_are_left_out_and_short_lists_are_padded():
    users = np.array([[1.0], [1.0], [1.0]], np.float32)
    items = np.array([[1.0], [2.0], [3.0]], np.float32)
    seen = (np.array([0, 1, 1, 4]), np.array([2, 0, 1, 2]))
    found, scores = top_k(users, items, 4, seen)
    assert found.tolist() == [[1, 0, -1, -1], [2, 1, 0, -1], [-1, -1, -1, -1]]
    assert np.isneginf(scores[found < 0]).all()


def test_only_allowed_items_are_shown_and_keep_their_index():
    users = np.ones((1, 1), np.float32)
    items = np.array([[1.0], [2.0], [3.0], [2.0]], np.float32)
    allowed = np.array([True, True, False, True])
    seen = (np.array([0, 2]), np.array([2, 0]))
    assert top_k(users, items, 3, seen, allowed)[0].tolist() == [[1, 3, -1]]
    assert top_k(users, items, 3, seen, allowed, tie_order=np.array([3, 2, 1, 0]))[0].tolist() == [[3, 1, -1]]
    assert top_k(users, items, 2, allowed=np.zeros(4, bool))[0].tolist() == [[-1, -1]]


@pytest.mark.parametrize("num_users", [1, 500])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_hidden_items_may_hold_anything(num_users, share):
    """Whether hidden rows are skipped or scored and blanked out depends on how many there are; the answer must not."""
    rng = np.random.default_rng(0)
    users, items = (
        rng.integers(-9, 9, (num_users, 4)).astype(np.float32),
        rng.integers(-9, 9, (400, 4)).astype(np.float32),
    )
    allowed = rng.random(400) < share
    items[~allowed] = np.nan
    found, scores = top_k(users, items, 20, allowed=allowed)
    true = np.where(allowed, users @ np.where(allowed[:, None], items, 0).T, -np.inf)
    np.testing.assert_array_equal(found, naive_top(true, 20, np.arange(400)))
    np.testing.assert_array_equal(scores, np.take_along_axis(true, found, axis=1))


def test_allowed_rows_are_copied_only_where_many_share_the_copy():
    half = np.arange(1000) % 2 == 0
    assert [len(part) for part in _columns(1, 1000, half)] == [1000, 500]
    assert [len(part) for part in _columns(100, 1000, half)] == [500, 0]
    assert [len(part) for part in _columns(1, 1000, np.arange(1000) < 100)] == [100, 0]
    assert [len(part) for part in _columns(1, 1000, None)] == [1000, 0]


def test_blocks_do_not_change_the_answer():
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((50, 8)).astype(np.float32), rng.standard_normal((300, 8)).astype(np.float32)
    seen = (np.arange(0, 151, 3), rng.integers(0, 300, 150))
    whole = top_k(users, items, 10, seen)
    small = top_k(users, items, 10, seen, block_bytes=8 * 300 * 7)
    np.testing.assert_array_equal(whole[0], small[0])
    np.testing.assert_allclose(whole[1], small[1], rtol=1e-5)
    scores = users @ items.T
    for row in range(50):
        scores[row, seen[1][3 * row : 3 * row + 3]] = -np.inf
    np.testing.assert_array_equal(whole[0], naive_top(scores, 10, np.arange(300)))


def test_memory_is_bounded_by_the_block():
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((4000, 4)).astype(np.float32), rng.standard_normal((5000, 4)).astype(np.float32)
    tracemalloc.start()
    top_k(users, items, 10, block_bytes=4 * 2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20  # all scores at once would be 80 MB


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_refused(bad):
    users, items = np.ones((3, 2), np.float32), np.ones((4, 2), np.float32)
    items[2, 1] = bad
    with pytest.raises(AvrecError, match=r"row 0 for item 2 is (nan|inf|-inf); expected a finite number"):
        top_k(users, items, 1)


def test_k_below_one_is_refused():
    with pytest.raises(AvrecError, match="k is 0; expected at least 1"):
        top_k(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32), 0)
