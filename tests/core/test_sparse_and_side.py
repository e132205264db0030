import numpy as np
import pyarrow as pa
import pytest

from avrec.core.dataset import Dataset
from avrec.core.ids import IdMap
from avrec.core.interactions import Interactions, run_starts
from avrec.core.side import CategoryField, Columns, Knowledge, Tags
from avrec.core.sparse import SparseRows


def naive(row, column, weight, shape):
    matrix = np.zeros(shape)
    for r, c, w in zip(row, column, weight, strict=True):
        matrix[r, c] += w
    return matrix


@pytest.mark.parametrize("size", [0, 1, 200])
def test_entries_are_packed_and_added(size):
    draw = np.random.default_rng(size)
    row, column = draw.integers(0, 9, size), draw.integers(0, 7, size)
    weight = draw.integers(1, 5, size).astype(np.float32)
    rows = SparseRows.from_entries(row, column, 9, 7, weight)
    dense = naive(row, column, weight, (9, 7))
    np.testing.assert_array_equal(rows.dense(), dense)
    np.testing.assert_array_equal(rows.transposed().dense(), dense.T)
    chosen = np.array([3, 0, 3, 8])
    np.testing.assert_array_equal(rows.taken(chosen).dense(), dense[chosen])
    assert rows.taken(np.zeros(0, np.int64)).dense().shape == (0, 7)
    assert rows.row_counts.tolist() == (dense > 0).sum(axis=1).tolist()
    assert rows.column_counts.tolist() == (dense > 0).sum(axis=0).tolist()
    assert len(rows) == (dense > 0).sum() and rows.weight.dtype == np.float32
    for r in range(9):
        assert (np.diff(rows.column[rows.indptr[r] : rows.indptr[r + 1]]) > 0).all()


def test_it_is_what_scipy_calls_csr():
    sparse = pytest.importorskip("scipy.sparse")
    rows = SparseRows.from_entries(np.array([2, 0, 2]), np.array([1, 3, 0]), 3, 4)
    same = sparse.csr_array((rows.weight, rows.column, rows.indptr), shape=(rows.num_rows, rows.num_columns))
    np.testing.assert_array_equal(same.toarray(), rows.dense())


def test_runs_of_sorted_keys():
    assert run_starts(np.array([0, 0, 0, 1, 1]), np.array([2, 2, 3, 3, 3])).tolist() == [0, 2, 3]
    assert run_starts(np.zeros(0, np.int64)).tolist() == []


@pytest.fixture
def graph():
    """b -by-> x, a -by-> x, x -likes-> b, a -in-> y, y -of-> z; items: a, none, b."""
    entities, relations = IdMap(["a", "b", "x", "y", "z"]), IdMap(["by", "in", "likes", "of"])
    head, relation, tail = np.array([0, 0, 1, 2, 3]), np.array([0, 1, 0, 2, 3]), np.array([2, 3, 2, 1, 4])
    return Knowledge(entities, relations, head, relation, tail, np.array([0, -1, 1]))


def test_links_of_items(graph):
    assert graph.links().dense().tolist() == [[0, 0, 1, 1, 0], [0] * 5, [0, 0, 1, 0, 0]]
    assert graph.links("by").dense().tolist() == [[0, 0, 1, 0, 0], [0] * 5, [0, 0, 1, 0, 0]]
    assert graph.links(inverse=True).dense().tolist() == [[0] * 5, [0] * 5, [0, 0, 1, 0, 0]]
    assert graph.links("in", inverse=True).dense().sum() == 0
    assert graph.neighbours().dense().tolist() == [[0, 0, 1, 1, 0], [0] * 5, [0, 0, 1, 0, 0]]
    proximity = graph.neighbours().dense() @ graph.neighbours().dense().T
    assert proximity.tolist() == [[2, 0, 1], [0, 0, 0], [1, 0, 1]]
    with pytest.raises(AssertionError, match="no relation 'near'"):
        graph.links("near")


def test_columns_are_made_once_when_asked_for():
    made = []

    def length(column):
        made.append(column.to_pylist())
        return len(column)

    columns = Columns(pa.table({"a": [1, 2], "b": [3, 4]}), {"a": length, "b": length})
    assert list(columns) == ["a", "b"] and len(columns) == 2 and "c" not in columns and not made
    assert columns["b"] == 2 and columns["b"] == 2 and made == [[3, 4]]
    with pytest.raises(KeyError):
        columns["c"]


def test_a_category_is_present_where_it_has_a_code():
    assert CategoryField(np.array([1, -1, 0]), IdMap(["x", "y"])).present.tolist() == [True, False, True]


def test_a_data_set_without_side_information():
    nothing = Interactions.from_events(np.zeros(0, int), np.zeros(0, int), 1, 1)
    dataset = Dataset("x", "y", IdMap(["u"]), IdMap(["i"]), nothing, nothing, nothing)
    assert (dataset.social, dataset.knowledge, dataset.item_tags, dataset.user_interests) == (None,) * 4
    assert (dataset.item_fields, dataset.user_fields, dataset.texts) == ({}, {}, {})
    tags = Tags(IdMap(["t"]), SparseRows.from_entries(np.array([0]), np.array([0]), 1, 1))
    assert Dataset(**{**vars(dataset), "item_tags": tags}).item_tags is tags


def test_last_times_travel_with_their_events():
    user, item = np.array([1, 0, 1]), np.array([0, 1, 1])
    log = Interactions.from_events(user, item, 2, 2, None, np.array([5, 6, 4]), np.array([9, 6, 8]))
    assert log.last_timestamp.tolist() == [6, 8, 9]
    assert log.select(np.array([False, True, True])).last_timestamp.tolist() == [8, 9]
    other = Interactions.from_events(np.array([0]), np.array([0]), 2, 2, None, np.array([1]), np.array([2]))
    assert log.merged(other).last_timestamp.tolist() == [2, 6, 8, 9]
    plain = Interactions.from_events(np.array([0]), np.array([0]), 2, 2, None, np.array([1]))
    assert log.merged(plain).last_timestamp is None
