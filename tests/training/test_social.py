"""Friends and communities against loops, on planted circles with known answers."""

import numpy as np
import pytest

from avrec.core.sparse import SparseRows
from avrec.training.social import Circles, communities


def rows(pairs, num_users, weight=None):
    row, column = np.array(pairs, np.int64).reshape(-1, 2).T
    weight = None if weight is None else np.array(weight, np.float32)
    return SparseRows.from_entries(row, column, num_users, num_users, weight)


def both_ways(pairs):
    return [*pairs, *((other, one) for one, other in pairs)]


def clique(members):
    return [(one, other) for one in members for other in members if one != other]


def random_world(seed=0, num_users=40):
    """Friends at random, a third of the users without a history, the last five without a friend."""
    draw = np.random.default_rng(seed)
    pairs = [(one, other) for one, other in draw.integers(0, num_users - 5, (60, 2)).tolist() if one != other]
    social = rows(pairs, num_users, draw.random(len(pairs)) + 0.1)
    active = draw.random(num_users) > 0.35
    return social, active, draw.standard_normal((num_users, 3)).astype(np.float32)


def test_means_equal_loops_over_friends_and_communities():
    social, active, vectors = random_world()
    circles = Circles(social, active)
    label, dense = communities(social), social.dense()
    found, ways = circles.means(vectors), set()
    for user in range(social.num_rows):
        friends = [other for other in range(social.num_rows) if dense[user, other] > 0 and active[other]]
        members = [
            other for other in range(social.num_rows) if label[other] == label[user] and active[other] and other != user
        ]
        if friends:
            share = np.array([dense[user, other] for other in friends])
            expected = (share[:, None] * vectors[friends]).sum(axis=0) / share.sum()
        else:
            expected = vectors[members].mean(axis=0) if members else np.zeros(3)
        ways.add("friends" if friends else "community" if members else "nobody")
        assert found[user] == pytest.approx(expected, abs=1e-5)
    assert ways == {"friends", "community", "nobody"}


def test_friendship_has_a_direction_and_closeness_weighs():
    circles = Circles(rows([(0, 1), (0, 2)], 3, [3.0, 1.0]), np.ones(3, np.bool_))
    vectors = np.array([[100.0], [1.0], [5.0]], np.float32)
    assert circles.means(vectors)[0] == pytest.approx(2.0)  # 1 and 2 named nobody: 0 does not lend to both as a friend
    assert np.diff(circles.friends.indptr).tolist() == [2, 0, 0]


def test_planted_circles_are_found_and_a_bridge_does_not_join_them():
    groups = [range(0, 8), range(8, 15), range(15, 21)]
    pairs = [pair for group in groups for pair in clique(group)]
    social = rows([*pairs, *both_ways([(0, 8), (9, 15), (1, 16)])], 22)
    label = communities(social)
    assert [len(set(label[list(group)])) for group in groups] == [1, 1, 1]
    assert len(set(label)) == 4 and label[21] == 21  # and one without friends


def test_communities_do_not_depend_on_the_direction_of_friendship():
    social, _, _ = random_world(3)
    assert np.array_equal(communities(social), communities(social.transposed()))


def test_two_friends_end_in_one_community():
    label = communities(rows(both_ways([(2 * pair, 2 * pair + 1) for pair in range(20)]), 40))
    assert np.array_equal(label[::2], label[1::2])
    assert len(set(label)) == 20


def test_no_community_swallows_a_loosely_connected_network():
    """Ten groups of 20 with 6 friends inside and 5 anywhere: votes that are merely counted end in one community of 200."""
    draw, user = np.random.default_rng(0), np.arange(200)
    inside = [np.stack([user, user // 20 * 20 + draw.integers(0, 20, 200)], axis=1) for _ in range(3)]
    pairs = np.concatenate([*inside, draw.integers(0, 200, (500, 2))])
    label = communities(rows(both_ways([pair for pair in pairs.tolist() if pair[0] != pair[1]]), 200))
    assert np.bincount(label).max() <= 20
    same = label[:, None] == label
    together = same & ~np.eye(200, dtype=bool)
    assert (user[:, None] // 20 == user // 20)[together].mean() > 0.85 and together.any(axis=1).mean() > 0.9


def test_who_has_no_history_lends_nothing():
    social = rows(clique(range(3)), 3)
    vectors = np.array([[1.0], [2.0], [4.0]], np.float32)
    found = Circles(social, np.array([True, False, True])).means(vectors)
    assert found.ravel() == pytest.approx([4.0, 2.5, 1.0])
    assert Circles(social, np.zeros(3, np.bool_)).means(vectors).ravel() == pytest.approx([0.0, 0.0, 0.0])
