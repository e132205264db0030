"""Friends and communities as neighbours of a user: after training, not during it.

Axes: U users, D embedding of the ids, G communities.
"""

import numpy as np
from scipy.sparse import csr_array

from avrec.core.arrays import Bool, Float32, Int64
from avrec.core.sparse import SparseRows
from avrec.factors.matrix import Csr, row_normalised


class Circles:
    """Who stands around each user: his friends, and where none of them has a history, his community.

    Args:
        social: (U, U) friends as they were given, row = user; weights are closeness.
        active_U: users with a training event. Nobody else has anything to lend.
    """

    def __init__(self, social: SparseRows, active_U: Bool) -> None:
        self.active_U = active_U
        chosen = active_U[social.column]
        graph = SparseRows.from_entries(
            social.row[chosen], social.column[chosen], social.num_rows, social.num_columns, social.weight[chosen]
        )
        self.friends: Csr = row_normalised(_matrix(graph))
        self.community_U = communities(social)

    def means(self, vectors_UD: Float32) -> Float32:
        """(U, D) what each user's friends are like: their mean by closeness; else his community's, himself left out; else 0."""
        lent_UD = vectors_UD * self.active_U[:, None]
        found_UD = np.asarray(self.friends @ lent_UD, np.float32)
        alone_U = np.diff(self.friends.indptr) == 0
        found_UD[alone_U] = self._community_means(lent_UD)[alone_U]
        return found_UD

    def _community_means(self, lent_UD: Float32) -> Float32:
        member = _membership(self.community_U)
        total_UD = member @ (member.T @ lent_UD) - lent_UD
        count_U = np.bincount(self.community_U, self.active_U)[self.community_U] - self.active_U
        return np.asarray(total_UD / np.maximum(count_U, 1)[:, None], np.float32)


def communities(social: SparseRows, num_rounds: int = 20) -> Int64:
    """Communities by label propagation (Raghavan et al., 2007) over friendships in either direction.

    Every user takes the label with most votes among his friends, and keeps his own where it is among the best; other ties
    go to the label that comes first in a fixed shuffled order. Votes are divided by the square root of how many bear the
    label: without that one community swallowed 1,714 of the 1,892 users of Last.fm. Half of the users move at a time, drawn
    anew each time, since two friends who move at once swap labels. Somebody without friends is a community of his own.

    Args:
        social: (U, U) friends.
        num_rounds: how often everybody moves, at most; it ends where nobody would.

    Returns:
        (U,) the community of each user, named by one user's index.
    """
    directed = _matrix(social)
    graph: Csr = csr_array(directed + directed.T)
    num_users = social.num_rows
    draw = np.random.default_rng(0)
    rank_U = draw.permutation(num_users)
    label_U = np.arange(num_users)
    for _ in range(2 * num_rounds):
        voted_U = _most_voted(graph, label_U, rank_U)
        if np.array_equal(voted_U, label_U):
            break
        label_U = np.where(draw.random(num_users) < 0.5, voted_U, label_U)
    return label_U


def _most_voted(graph: Csr, label_U: Int64, rank_U: Int64) -> Int64:
    """(U,) the label that each user's friends would give him; his own where he has no friends."""
    num_users = len(label_U)
    votes: Csr = csr_array(graph @ _membership(label_U))
    bearers_U = np.bincount(label_U, minlength=num_users)
    row = np.repeat(np.arange(num_users), np.diff(votes.indptr))
    count = votes.data / np.sqrt(bearers_U[votes.indices])
    is_other = votes.indices != label_U[row]
    order = np.lexsort((rank_U[votes.indices], is_other, -count, row))
    first = order[votes.indptr[:-1][np.diff(votes.indptr) > 0]]
    found_U = label_U.copy()
    found_U[row[first]] = votes.indices[first]
    return found_U


def _membership(label_U: Int64) -> Csr:
    """(U, U) one in the column of each user's label."""
    num_users = len(label_U)
    ones, indptr = np.ones(num_users, np.float32), np.arange(num_users + 1)
    return csr_array((ones, label_U, indptr), shape=(num_users, num_users))


def _matrix(social: SparseRows) -> Csr:
    shape = (social.num_rows, social.num_columns)
    return csr_array((social.weight.astype(np.float32), social.column, social.indptr), shape=shape)
