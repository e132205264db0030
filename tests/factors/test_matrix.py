import numpy as np

from avrec.core.interactions import Interactions
from avrec.core.query import UserQuery
from avrec.factors.matrix import history_matrix, interaction_matrix, row_normalised


def interactions() -> Interactions:
    # user 0: item 2 twice (weights 1 and 3), item 0; user 1: nothing; user 2: item 1
    return Interactions.from_events(
        np.array([0, 0, 0, 2]), np.array([2, 0, 2, 1]), 3, 4, np.array([1, 2, 3, 5], np.float32), np.array([1, 2, 3, 4])
    )


def test_weights_of_a_repeated_pair_are_added():
    matrix = interaction_matrix(interactions())
    assert matrix.dtype == np.float32
    assert matrix.toarray().tolist() == [[2, 0, 4, 0], [0, 0, 0, 0], [0, 5, 0, 0]]


def test_unweighted_is_one_wherever_there_is_an_event():
    assert interaction_matrix(interactions(), weighted=False).toarray().tolist() == [
        [1, 0, 1, 0],
        [0] * 4,
        [0, 1, 0, 0],
    ]


def test_the_interactions_are_left_as_they_were():
    source = interactions()
    before = source.item_idx.copy(), source.weight.copy()
    interaction_matrix(source)
    assert np.array_equal(source.item_idx, before[0]) and np.array_equal(source.weight, before[1])


def test_a_query_gives_the_rows_of_its_users():
    source = interactions()
    rows = history_matrix(UserQuery.of_users(np.array([2, 0]), source), 4).toarray()
    assert np.array_equal(rows, interaction_matrix(source).toarray()[[2, 0]])


def test_rows_are_divided_by_their_sums():
    normal = row_normalised(interaction_matrix(interactions()))
    assert np.allclose(normal.toarray(), [[1 / 3, 0, 2 / 3, 0], [0] * 4, [0, 1, 0, 0]])
